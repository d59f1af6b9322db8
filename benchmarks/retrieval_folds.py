"""Retrieval recall on songs left out of training, in folds over the training songs: for choosing a recipe's settings.

    python -m benchmarks.retrieval_folds configs/retrieval_default.toml data/dances --set loop.steps=200

Songs of `train` and `val` are dealt into folds genre by genre; each fold is searched by a network that was trained on
the others. The test split is not touched. Windows are laid three ways over each song, and figures averaged. JSON on
stdout: recall@10 over chance for each fold, and the means, for each length of windows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import KinestreamError
from kinestream.training.dance.retrieval import RECALL_AT, held_out_recall, train_retrieval

WAYS = 3


def deal(data: Path, folds: int) -> list[list[str]]:
    """Clips of each fold; all clips of a recording are in one, and genres are spread."""
    clips = [clip for split in ("train", "val") for clip in DanceClips.load([data], split).clips]
    recordings = sorted({(clip.genre, clip.recording) for clip in clips})
    fold = {recording: place % folds for place, (_, recording) in enumerate(recordings)}
    return [[clip.name for clip in clips if fold[clip.recording] == number] for number in range(folds)]


def fold_data_sets(data: Path, folds: int, folder: Path) -> Iterator[Path]:
    """Data sets that share the files of `data` and have a fold as `val`, the others as `train`."""
    dealt = deal(data, folds)
    for number, held_out in enumerate(dealt):
        root = folder / f"fold-{number}"
        (root / "split").mkdir(parents=True)
        for path in data.resolve().iterdir():
            if path.name != "split":
                (root / path.name).symlink_to(path)
        train = [name for other in dealt if other is not held_out for name in other]
        (root / "split" / "train.txt").write_text("\n".join(train))
        (root / "split" / "val.txt").write_text("\n".join(held_out))
        yield root


def recall_over_chance(model: Path, data: Path, frames: int) -> dict[str, float]:
    """Recall@k and its factor over chance for windows of `frames`, averaged over both directions and three layings."""
    retrieval = replace(load_retrieval(model), window_frames=frames)
    clips = DanceClips.load([data], "val", min_frames=2 * frames)
    found = [
        recall for way in range(WAYS) for recall in held_out_recall(retrieval, clips, way * frames // WAYS).values()
    ]
    values = {f"recall@{k}": float(np.mean([recall.recall[k] for recall in found])) for k in RECALL_AT}
    return values | {"times_chance": float(np.mean([recall.recall[10] / recall.chance[10] for recall in found]))}


def measure(config: Path, data: Path, folds: int, frames: Sequence[int], overrides: Sequence[str]) -> dict[str, Any]:
    """Train on each fold's complement and search the fold."""
    results: dict[int, list[dict[str, float]]] = {length: [] for length in frames}
    with tempfile.TemporaryDirectory() as folder:
        for root in fold_data_sets(data, folds, Path(folder)):
            out = root / "run"
            train_retrieval(config, out, overrides=[*overrides, f'data=["{root}"]'])
            for length in frames:
                results[length].append(recall_over_chance(out / "model", root, length))
    return {
        str(length): {
            "folds": [round(fold["times_chance"], 3) for fold in of_length],
            **{name: round(float(np.mean([fold[name] for fold in of_length])), 4) for name in of_length[0]},
        }
        for length, of_length in results.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 0 where they could be measured, whatever they are."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("config", type=Path, help="a retrieval network's training configuration")
    options.add_argument("data", type=Path, help="a dance data set")
    options.add_argument("--folds", type=int, default=4)
    options.add_argument("--frames", type=int, nargs="+", default=[150, 240], help="lengths of windows to search with")
    options.add_argument("--set", action="append", default=[], help="replace a setting, as in `kinestream train`")
    given = options.parse_args(arguments)
    try:
        print(json.dumps(measure(given.config, given.data, given.folds, given.frames, given.set), indent=1))
    except KinestreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
