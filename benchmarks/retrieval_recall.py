"""How often music finds its own dance among held-out windows, and the other way round, beside chance.

    python -m benchmarks.retrieval_recall runs/retrieval/model data/dance --split test

Windows don't overlap and none of their songs was trained on. Results are JSON on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import command_line, run, show
from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.data.dance.windows import DanceClips
from kinestream.training.dance.retrieval import held_out_recall


def measure(model: Path, data: Path, split: str, frames: int | None = None) -> dict[str, Any]:
    """Recall@1, 5 and 10 in both directions, chance, and the factor between them."""
    retrieval = load_retrieval(model)
    if frames is not None:
        retrieval = replace(retrieval, window_frames=frames)
    clips = DanceClips.load([data], split, min_frames=retrieval.window_frames)
    found = held_out_recall(retrieval, clips)
    return {
        "split": split,
        "songs": len({clip.recording for clip in clips.clips}),
        "window_s": retrieval.window_frames / 30.0,
        "fingerprint": retrieval.fingerprint,
        **{
            direction: {
                **asdict(recall),
                "times_chance": {k: round(value / recall.chance[k], 3) for k, value in recall.recall.items()},
            }
            for direction, recall in found.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 0 where they could be measured, whatever they are."""
    options = command_line("retrieval_recall", __doc__)
    options.add_argument("model", type=Path, help="a retrieval network's folder")
    options.add_argument("data", type=Path, help="a dance data set")
    options.add_argument("--split", default="test")
    options.add_argument("--frames", type=int, help="frames of a window (default: those the network searches with)")
    return run(options, lambda given: show(measure(given.model, given.data, given.split, given.frames)), arguments)


if __name__ == "__main__":
    sys.exit(main())
