"""How good the evaluator itself is, on real test recordings that it never saw: what the best generator could reach.

python -m benchmarks.evaluator --data data/built -o docs/results/evaluator.json

R-Precision and multimodal distance of real motions and their captions, beside the same with captions exchanged; FID
between halves of the real test set, beside the same recordings after damage. 20 repeats, each with other captions and
batches. The same evaluator, data and seed give the same figures (seconds excepted).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import command_line, command_of, run, save, timed
from kinestream.checkpoints import TextMotionEvaluator, load_evaluator
from kinestream.checkpoints.evaluator import DEFAULT_EVALUATOR_DIR, EVALUATOR
from kinestream.checkpoints.folder import read_model_info
from kinestream.data.clips import MotionClips
from kinestream.data.manifest import load_manifest
from kinestream.data.text.captions import paraphrases
from kinestream.errors import BadInputError
from kinestream.features import held
from kinestream.metrics import (
    Estimate,
    frechet_distance,
    multimodal_distance,
    over_repeats,
    r_precision,
    repeat_generators,
)
from kinestream.training.text.evaluator import RETRIEVAL_BATCH, distinct_captions

COMMAND = "python -m benchmarks.evaluator --data data/built -o docs/results/evaluator.json"
TARGET_R3 = 0.75
TOP = 3
SPEED_CLIPS, SPEED_FRAMES = 1000, 196


class Recording(NamedTuple):
    """A real test recording: features, what is said of it, what it shows (content and style), held-out sentences."""

    features: Tensor
    captions: tuple[str, ...]
    label: str
    paraphrases: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 where it measured, whatever the figures are."""
    options = command_line("evaluator", __doc__, threads=2)
    options.add_argument("--data", type=Path, required=True, help="folder that `kinestream data build` wrote")
    options.add_argument("--evaluator", type=Path, help="model folder; the packaged evaluator without it")
    options.add_argument("--repeats", type=int, default=20, help="repeats (default 20)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write")

    def bench(given: argparse.Namespace) -> None:
        results = measure(given, command_of(options, given, COMMAND))
        save(results, given.out)
        print(table(results))

    return run(options, bench, arguments)


def measure(given: argparse.Namespace, command: str) -> dict[str, Any]:
    """All figures, as they go into the JSON file."""
    if given.repeats < 2 or given.seed < 0:
        raise BadInputError("expected --repeats of at least 2 and --seed of at least 0")
    evaluator = load_evaluator(given.evaluator)
    recordings = test_recordings(given.data)
    motion = evaluator.embed_motion([recording.features for recording in recordings])
    embed = _remembering(evaluator, [text for one in recordings for text in (*one.captions, *one.paraphrases)])
    said, held_out = ([one.captions for one in recordings], [one.paraphrases for one in recordings])
    labels = [recording.label for recording in recordings]
    repeats = (given.repeats, given.seed)
    results = {
        "format": "kinestream-evaluator-quality",
        "version": 1,
        "command": command,
        "evaluator": _facts(given.evaluator or DEFAULT_EVALUATOR_DIR, evaluator),
        "test_recordings": len(recordings),
        "labels": len(set(labels)),
        "repeats": given.repeats,
        "seed": given.seed,
        "batch": RETRIEVAL_BATCH,
        "matching": {
            "captions": matching(motion, said, embed, repeats),
            "captions, contents and styles distinct": matching(motion, said, embed, repeats, labels),
            "held-out sentences": matching(motion, held_out, embed, repeats),
            "captions exchanged": matching(motion.roll(len(motion) // 2, 0), said, embed, repeats),
        },
        "fid": {
            "halves of the real recordings": _json(
                over_repeats(torch.tensor([_halves(motion, one) for one in _generators(repeats)]))
            ),
            **{name: float(frechet_distance(broken, motion)) for name, broken in _broken(evaluator, recordings)},
        },
        "speed": speed(evaluator, given.threads),
    }
    reached = results["matching"]["captions"]["r_precision"][TOP - 1]["value"]
    return {"target": {"r_precision_3": TARGET_R3, "met": reached >= TARGET_R3}, **results}


def test_recordings(root: Path) -> list[Recording]:
    """All recordings of the test split, mirrored copies not counted."""
    manifest = load_manifest(root)
    known = {clip.name: clip for clip in manifest.split_clips("test", mirrored=False)}
    clips = MotionClips.load([root], "test")
    found = [
        Recording(
            clips.features(index),
            part.captions,
            f"{known[part.name].content}, {known[part.name].style}",
            tuple(paraphrases(known[part.name].content, known[part.name].style)),
        )
        for index, part in enumerate(clips.parts)
        if part.name in known
    ]
    if not found:
        raise BadInputError(f"{root}: the manifest has no test recordings; build the data set again")
    return found


def matching(
    motion: Tensor,
    texts: Sequence[Sequence[str]],
    embed: Callable[[Sequence[str]], Tensor],
    repeats: tuple[int, int],
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """R-Precision and multimodal distance: in each repeat one text a recording; in a batch no text (or label) twice."""
    precision, distance = [], []
    for number, generator in enumerate(_generators(repeats)):
        chosen = distinct_captions(texts, seed=repeats[1] * 100_003 + number) if labels is None else None
        if chosen is None or len(chosen) < len(texts):  # few sentences: they repeat, but never within a batch
            picks = torch.Generator().manual_seed(repeats[1] * 100_003 + number)
            chosen = [
                (index, own[int(torch.randint(len(own), (1,), generator=picks))])
                for index, own in enumerate(texts)
                if own
            ]
        rows = [index for index, _ in chosen]
        sentences = [text for _, text in chosen]
        within = sentences if labels is None else [labels[row] for row in rows]
        text = embed(sentences)
        precision.append(r_precision(text, motion[rows], RETRIEVAL_BATCH, TOP, generator, within))
        distance.append(multimodal_distance(text, motion[rows]))
    return {
        "r_precision": [_json(over_repeats(column)) for column in torch.stack(precision).T],
        "multimodal_distance": _json(over_repeats(torch.stack(distance))),
    }


def _broken(evaluator: TextMotionEvaluator, recordings: Sequence[Recording]) -> Iterator[tuple[str, Tensor]]:
    """Embeddings of the recordings after damage, which says what the space can see."""
    clips = [recording.features for recording in recordings]
    generator, std = torch.Generator().manual_seed(0), evaluator.statistics.std
    yield "standing still in their first pose", evaluator.embed_motion([held(clip[:1], len(clip)) for clip in clips])
    yield "frames in reverse order", evaluator.embed_motion([clip.flip(0) for clip in clips])
    for share in (0.1, 1.0):
        noisy = [clip + share * std * torch.randn(clip.shape, generator=generator) for clip in clips]
        yield f"with noise of {share:g} standard deviations", evaluator.embed_motion(noisy)


def speed(evaluator: TextMotionEvaluator, threads: int) -> dict[str, Any]:
    """Seconds to embed 1,000 motions of 196 frames, once warm."""
    mean, std = evaluator.statistics.mean, evaluator.statistics.std
    noise = torch.randn(SPEED_CLIPS, SPEED_FRAMES, len(mean), generator=torch.Generator().manual_seed(0))
    motions = list(mean + std * noise)
    evaluator.embed_motion(motions[:RETRIEVAL_BATCH])
    took = timed(lambda: evaluator.embed_motion(motions))
    return {
        "clips": SPEED_CLIPS,
        "frames": SPEED_FRAMES,
        "threads": threads,
        "seconds": round(took.wall_s, 2),
        "processor_seconds": round(took.processor_s, 2),
    }


def table(results: dict[str, Any]) -> str:
    """The figures as they are printed."""
    lines = [f"{results['test_recordings']} real test recordings, batches of {results['batch']}"]
    for name, figures in results["matching"].items():
        ranks = " / ".join(f"{one['value']:.3f}" for one in figures["r_precision"])
        lines.append(f"{name}: R@1/2/3 {ranks}, multimodal distance {figures['multimodal_distance']['value']:.3f}")
    halves = results["fid"]["halves of the real recordings"]
    lines.append(f"FID: halves {halves['value']:.4f} [{halves['low']:.4f}, {halves['high']:.4f}]")
    lines += [f"FID: {name} {value:.4f}" for name, value in results["fid"].items() if isinstance(value, float)]
    took = results["speed"]
    lines.append(
        f"{took['clips']} motions of {took['frames']} frames on {took['threads']} threads: {took['seconds']} s, "
        f"{took['processor_seconds']} s of processor time"
    )
    return "\n".join(lines)


def _generators(repeats: tuple[int, int]) -> list[torch.Generator]:
    return list(repeat_generators(repeats[1], repeats[0]))


def _halves(motion: Tensor, generator: torch.Generator) -> float:
    order = torch.randperm(len(motion), generator=generator)
    half = len(motion) // 2
    return float(frechet_distance(motion[order[:half]], motion[order[half : 2 * half]]))


def _remembering(evaluator: TextMotionEvaluator, texts: Sequence[str]) -> Callable[[Sequence[str]], Tensor]:
    """Every text's embedding, made once."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    embeddings = evaluator.embed_text(list(row_of))
    return lambda wanted: embeddings[[row_of[text] for text in wanted]]


def _json(estimate: Estimate) -> dict[str, Any]:
    return {name: round(value, 6) for name, value in asdict(estimate).items()}


def _facts(folder: Path, evaluator: TextMotionEvaluator) -> dict[str, Any]:
    info = read_model_info(folder, EVALUATOR)
    files = [path for path in folder.iterdir() if path.suffix == ".safetensors"]
    return {
        "sha256": info.sha256[f"{EVALUATOR}.safetensors"],
        "parameters": sum(parameter.numel() for parameter in evaluator.model.parameters()),
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 2),
        "text_encoder": evaluator.text_encoder,
        "dim": evaluator.dim,
        "max_frames": evaluator.max_frames,
        "provenance": dict(evaluator.provenance),
    }


if __name__ == "__main__":
    sys.exit(main())
