"""What a protocol hands to the report, and how figures get their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.evaluation.result import Better, Curve, Figure, Sample
from kinestream.evaluation.settings import Update
from kinestream.metrics import Estimate, bootstrap, frechet_distance, over_repeats, repeat_generators

OVER_CLIPS = "bootstrap over clips, 95 %"
OVER_SONGS = "bootstrap over songs, 95 %"
HALVINGS = 20

# Figures of single clips: label, unit, which way is better, what it says.
CLIP_FIGURES: Mapping[str, tuple[str, str, Better, str]] = {
    "foot_skating_ratio": ("Foot skating", "", "near real", "share of foot contacts in which the foot slides"),
    "jitter_mps3": ("Jitter", "m/s³", "near real", "mean jerk of all joints"),
    "share_below_floor_2cm": ("Below the floor", "", "lower", "share of frames with a joint 2 cm under the floor"),
    "worst_depth_m": ("Deepest joint", "m", "lower", "greatest depth under the floor, mean over clips"),
    "share_floating_5cm": ("Floating", "", "near real", "share of frames with no joint within 5 cm of the floor"),
    "length_s": ("Length", "s", "near real", "mean length"),
    "mm_distance": ("MM-Dist", "", "lower", "distance of a motion's embedding from its caption's"),
    "multimodality": ("Multimodality", "", "near real", "distance between samples of one caption"),
    "r_precision_1": ("R-Precision top 1", "", "higher", "share of captions whose motion is the nearest of a batch"),
    "r_precision_2": ("R-Precision top 2", "", "higher", "... among the 2 nearest"),
    "r_precision_3": ("R-Precision top 3", "", "higher", "... among the 3 nearest"),
    "mpjpe_mm": ("MPJPE", "mm", "lower", "mean joint error, root aligned"),
    "pa_mpjpe_mm": ("PA-MPJPE", "mm", "lower", "mean joint error, each frame turned, scaled and moved to fit best"),
    "world_mpjpe_mm": ("World MPJPE", "mm", "lower", "mean joint error in the world, nothing aligned"),
    "foot_error_mm": ("Foot error", "mm", "lower", "mean error of ankles and toes in the world"),
    "drift_share": ("World drift", "", "lower", "mean distance of the root from its path, per metre travelled"),
    "self_penetration_share": ("Self-penetration", "", "lower", "share of frames with a limb 3 cm inside the body"),
    "peak_jerk_mps3": ("Peak jerk", "m/s³", "near real", "largest jerk in the 30 frames around a switch"),
    "beat_alignment": ("Beat alignment", "", "higher", "as published: rests of all joints near beats of the own song"),
    "beat_alignment_others": ("Beat alignment, other songs", "", "near real", "the same dances with other songs"),
    "beat_alignment_beats_per_s": ("Rests", "1/s", "near real", "rests of the body that the score is made of"),
    "step_alignment": ("Step alignment", "", "higher", "feet and hands braking near beats of the own song"),
    "step_alignment_others": ("Step alignment, other songs", "", "near real", "the same dances with other songs"),
    "step_alignment_beats_per_s": ("Steps", "1/s", "near real", "brakings that the score is made of"),
    "still_share": (
        "Standing still",
        "",
        "near real",
        "seconds with music in which joints average below 0.1 m/s",
    ),
    "jerk_area_mps2": ("Area under the jerk", "m/s²", "near real", "around the recordings' mean jerk, 30 frames"),
}


@dataclass(frozen=True)
class Findings:
    """What was measured; `embeddings` are kept so that reports can be compared clip by clip."""

    figures: tuple[Figure, ...]
    samples: tuple[Sample, ...]
    repeats: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    curves: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)


def clip_figure(
    name: str, generated: Sequence[float], real: Sequence[float] | None, songs: Sequence[str] | None = None
) -> Figure:
    """A figure of single clips: the mean over clips with its bootstrap interval, beside that of the recordings.

    Clips to one of the `songs` are drawn together.
    """
    label, unit, better, says = CLIP_FIGURES[name]
    ours, theirs = over_clips(generated, songs), None if real is None else over_clips(real, songs)
    return Figure(name, label, unit, better, says, OVER_CLIPS if songs is None else OVER_SONGS, ours, theirs)


def over_clips(values: Sequence[float], songs: Sequence[str] | None = None) -> Estimate:
    """Mean over clips with its bootstrap interval; clips to one of the `songs` are drawn together."""
    return bootstrap(torch.tensor(values, dtype=torch.float64), groups=songs)


def of_repeats(values: Sequence[float]) -> Estimate:
    """Mean over repeats with its interval; without one for a single repeat."""
    if len(values) == 1:
        return without_interval(values[0], 1)
    return over_repeats(torch.tensor(values, dtype=torch.float64))


def without_interval(value: float, count: int) -> Estimate:
    """A figure whose interval is not known."""
    return Estimate(value, math.nan, math.nan, count)


def fid_figures(
    real: Float[Tensor, "n d"],
    generated: Sequence[Float[Tensor, "n d"]],
    over: str,
    halves: Sequence[tuple[Tensor, Tensor]],
    space: tuple[str, str] = ("", "recordings"),
) -> tuple[list[Figure], tuple[float, ...]]:
    """FID of all clips, FID between halves beside that of the recordings themselves, and FID by repeat.

    All generated clips against all recordings is what is published; it depends on the number of clips, and nothing real
    can stand beside it. A half of the recordings against the other half's prompts as they were generated, and as they
    were recorded, compares like with like: equal figures say that generated clips are as near as other recordings.
    `halves`: places of the two, way by way; `space`: an ending of the names, and what the recordings are called.
    """
    values = tuple(float(frechet_distance(real, own)) for own in generated)
    ours = [sum(float(frechet_distance(real[a], own[b])) for own in generated) / len(generated) for a, b in halves]
    theirs = [float(frechet_distance(real[a], real[b])) for a, b in halves]
    end, whole = space
    figures = [
        Figure(f"fid{end}", f"FID{end}", "", "lower", f"Fréchet distance from the {whole}", over,
               of_repeats(values)),
        Figure(f"fid{end}_halves", f"FID{end} between halves", "", "lower",
               f"one half of the {whole} against the other half, generated or recorded",
               f"{len(halves)} ways to halve, 95 %", of_repeats(ours), of_repeats(theirs)),
    ]  # fmt: skip
    return figures, values


def random_halves(count: int, seed: int, ways: int = HALVINGS) -> list[tuple[Tensor, Tensor]]:
    """Several ways to cut `count` places into two equal halves."""
    orders = [torch.randperm(count, generator=generator) for generator in repeat_generators(seed, ways)]
    return [(order[: count // 2], order[count // 2 :][: count // 2]) for order in orders]


def repeat_curves(repeats: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[Curve, ...]]:
    """Figures by repeat as lines to draw, where there are several repeats."""
    return {
        name: (Curve("generated", tuple(float(k + 1) for k in range(len(values))), values),)
        for name, values in repeats.items()
        if len(values) > 1
    }


def further(update: Update, before: int, total: int) -> Callable[[int, int], None]:
    """Progress of a part that begins when `before` of `total` are done."""
    return lambda done, _: update(before + done, total)


def mean_values(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each figure over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(own) / len(own) for name in names if (own := [row[name] for row in rows if name in row])}
