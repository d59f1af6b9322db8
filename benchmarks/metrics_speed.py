"""How long the metrics take on 1,000 clips of 196 frames, and the evaluator's embedding of as many motions.

python -m benchmarks.metrics_speed                 # JSON on stdout
python -m benchmarks.metrics_speed --check         # exit 1 where they take over 20 seconds
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.harness import command_line, missed, run, show, timed
from kinestream.checkpoints import load_evaluator
from kinestream.features import MOTION272
from kinestream.metrics import (
    beat_alignment,
    bootstrap,
    diversity,
    feature_scores,
    floating_share,
    foot_skating_ratio,
    frechet_distance,
    geometric_features,
    jitter_mps3,
    kinetic_features,
    motion_beats,
    mpjpe_mm,
    multimodal_distance,
    multimodality,
    peak_jerk_mps3,
    penetration_share,
    physical_foot_contact,
    r_precision,
    retrieval_recall,
    transition_jerk,
)

FPS = 30.0
LIMITS = {"total_wall_s": ("at most", 20.0)}
TOES = [10, 11]


def clips(count: int, frames: int) -> Tensor:
    """Bodies of 22 joints that wander smoothly."""
    generator = torch.Generator().manual_seed(0)
    rest = torch.rand(1, 1, 22, 3, generator=generator) * torch.tensor((0.6, 1.8, 0.4))
    steps = 0.01 * torch.randn(count, frames // 4 + 1, 22 * 3, generator=generator)
    smooth = torch.nn.functional.interpolate(steps.cumsum(1).mT, size=frames, mode="linear").mT
    return rest + smooth.reshape(count, frames, 22, 3)


def joint_metrics(joints: Tensor) -> dict[str, Callable[[], object]]:
    """Every metric on joints, over all clips."""
    other = joints + 0.01
    music = torch.arange(0.0, joints.shape[1] / FPS, 0.5)
    middle = joints.shape[1] // 2
    return {
        "mpjpe": lambda: mpjpe_mm(other, joints),
        "foot skating": lambda: foot_skating_ratio(joints[:, :, TOES], FPS),
        "jitter": lambda: jitter_mps3(joints, FPS),
        "peak jerk": lambda: peak_jerk_mps3(joints, FPS),
        "transition jerk": lambda: [transition_jerk(clip, middle, FPS) for clip in joints],
        "penetration and floating": lambda: (penetration_share(joints), floating_share(joints)),
        "physical foot contact": lambda: physical_foot_contact(joints, FPS),
        "beat alignment": lambda: [beat_alignment(motion_beats(clip, FPS), music) for clip in joints],
        "kinetic features": lambda: kinetic_features(joints, FPS),
        "geometric features": lambda: geometric_features(joints, FPS),
    }


def embedding_metrics(
    motion: Tensor, text: Tensor, kinetic: Tensor, geometric: Tensor
) -> dict[str, Callable[[], object]]:
    """Every metric on embeddings, and those on the dances' features."""
    half = len(motion) // 2
    return {
        "FID": lambda: frechet_distance(motion, text),
        "R-Precision": lambda: r_precision(text, motion),
        "multimodal distance": lambda: multimodal_distance(text, motion),
        "diversity": lambda: diversity(motion, min(300, len(motion))),
        "multimodality": lambda: multimodality(motion[: half // 10 * 10].unflatten(0, (-1, 10)), 5),
        "retrieval recall": lambda: retrieval_recall(text, motion),
        "FID_k, Div_k": lambda: feature_scores(kinetic[:half], kinetic[half:]),
        "FID_g, Div_g": lambda: feature_scores(geometric[:half], geometric[half:]),
        "bootstrap": lambda: bootstrap(motion[:, 0]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and check against the limit."""
    parser = command_line("metrics_speed", __doc__, threads=2)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=196)
    parser.add_argument("--width", type=int, default=256, help="width of the embeddings")
    parser.add_argument("--check", action="store_true", help="exit 1 where the limit is missed")
    return run(parser, _bench, arguments)


def _bench(given: argparse.Namespace) -> int:
    generator = torch.Generator().manual_seed(1)
    joints = clips(given.clips, given.frames)
    text = torch.randn(given.clips, given.width, generator=generator)
    motion = text + torch.randn(text.shape, generator=generator)
    kinetic, geometric = kinetic_features(joints[:2], FPS), geometric_features(joints[:2], FPS)
    repeats = given.clips // 2
    work = joint_metrics(joints) | embedding_metrics(
        motion,
        text,
        kinetic.repeat(repeats, 1) + torch.rand(2 * repeats, 66, generator=generator),
        geometric.repeat(repeats, 1) + torch.rand(2 * repeats, 32, generator=generator),
    )
    evaluator = load_evaluator()
    features = list(torch.randn(given.clips, given.frames, MOTION272.width, generator=generator))
    work["evaluator's embedding"] = lambda: evaluator.embed_motion(features)
    took = {name: timed(one) for name, one in work.items()}
    processor = {name: one.processor_s for name, one in took.items()}
    result = {
        "clips": given.clips,
        "frames": given.frames,
        "threads": given.threads,
        "total_wall_s": round(sum(one.wall_s for one in took.values()), 3),
        "total_processor_s": round(sum(processor.values()), 3),
        "processor_s": {name: round(value, 4) for name, value in processor.items()},
    }
    show(result)
    return int(bool(missed(result, LIMITS)) and given.check)


if __name__ == "__main__":
    sys.exit(main())
