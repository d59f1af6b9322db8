"""Whether a body changes from one prompt to the next as smoothly as bodies move inside recordings."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.quality.estimates import estimate, ratio
from benchmarks.quality.takes import FPS, Take
from kinestream.evaluation.text.generation import Wish
from kinestream.metrics import peak_jerk_mps3
from kinestream.metrics.estimates import Statistic

# Frames on each side of a switch; a window of twice that is looked at, inside recordings too.
HALF_WINDOW = 15
STRIDE = 15
# Two pieces of recordings that together hold the 27 third differences of one window, none of them across the cut.
PIECES = (16, 17)
# Pairs of pieces drawn for each generated switch.
DRAWS = 25

Label = tuple[str, str]
Pair = tuple[Label, Label]

STATISTICS: tuple[Statistic, ...] = ("median", "mean")


def window_peaks(joints_m: Float[Tensor, "t j 3"]) -> list[float]:
    """Peak jerk of every window of 30 frames, one each 15 frames; none for a shorter clip."""
    last = len(joints_m) - 2 * HALF_WINDOW
    return [float(peak_jerk_mps3(joints_m[k : k + 2 * HALF_WINDOW], FPS)) for k in range(0, last + 1, STRIDE)]


def real_peaks(takes: Sequence[Take]) -> tuple[Tensor, Tensor]:
    """Peak jerk of all windows inside real clips, and weights with which every content counts alike."""
    by_content: dict[str, list[float]] = defaultdict(list)
    for take in takes:
        by_content[take.content].extend(window_peaks(take.joints_m))
    peaks = [peak for own in by_content.values() for peak in own]
    weights = [1.0 / len(own) for own in by_content.values() for _ in own]
    return torch.tensor(peaks, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)


def matched_peaks(takes: Sequence[Take], pairs: Sequence[Pair], seed: int) -> Tensor:
    """Peak jerk of real windows in which the body does what each pair says, one half each, with nothing between.

    A switch from walking to bowing shows half a window of walking and half of bowing; the larger of the two peaks is
    what a perfect switch would have. `DRAWS` random pieces of recordings with the labels of each pair.
    """
    rng = random.Random(seed)
    labelled: dict[Label, list[Take]] = defaultdict(list)
    for take in takes:
        if take.num_frames >= max(PIECES):
            labelled[take.content, take.style].append(take)
    peaks = []
    for pair in pairs:
        for _ in range(DRAWS):
            pieces = [
                _piece(rng.choice(labelled[label]), frames, rng) for label, frames in zip(pair, PIECES, strict=True)
            ]
            peaks.append(max(float(peak_jerk_mps3(piece, FPS)) for piece in pieces))
    return torch.tensor(peaks, dtype=torch.float64)


def _piece(take: Take, frames: int, rng: random.Random) -> Tensor:
    start = rng.randint(0, take.num_frames - frames)
    return take.joints_m[start : start + frames]


def transitions(
    real: Sequence[Take], wishes: Sequence[Wish], takes: Sequence[Take], switch_frames: Sequence[int], seed: int
) -> dict[str, Any]:
    """Peak jerk around the switches of generated streams beside that inside real clips, by median and by mean.

    "matched" compares with real windows of the same labels (see `matched_peaks`); "any_window" with all windows of
    real clips, contents counting alike, where a mixture of still and quick contents puts even a perfect switch above 1:
    "any_window_of_perfect" says where. Streams without a full window around their switch are counted and left out.
    """
    peaks: dict[str, list[float]] = {"queued": [], "interrupted": []}
    pairs, skipped = [], 0
    for wish, take, frame in zip(wishes, takes, switch_frames, strict=True):
        window = take.joints_m[max(frame - HALF_WINDOW, 0) : frame + HALF_WINDOW]
        if frame < HALF_WINDOW or len(window) < 2 * HALF_WINDOW:
            skipped += 1
            continue
        peaks[wish.kind].append(float(peak_jerk_mps3(window, FPS)))
        pairs.append(((wish.content, wish.style), (wish.then_content, wish.then_style)))
    anywhere, weights = real_peaks(real)
    matched = matched_peaks(real, pairs, seed)
    groups = {"all": torch.tensor(peaks["queued"] + peaks["interrupted"], dtype=torch.float64)}
    groups |= {kind: torch.tensor(own, dtype=torch.float64) for kind, own in peaks.items()}
    groups = {name: own for name, own in groups.items() if len(own)}
    return {
        "window_frames": 2 * HALF_WINDOW,
        "pairs_left_out": skipped,
        "peak_jerk_mps3": {
            "real_matched": {kind: estimate(matched, kind) for kind in STATISTICS},
            "real_any_window": {kind: estimate(anywhere, kind, weights) for kind in STATISTICS},
            "generated": {name: {kind: estimate(own, kind) for kind in STATISTICS} for name, own in groups.items()},
        },
        "matched": {name: {kind: ratio(own, matched, kind) for kind in STATISTICS} for name, own in groups.items()},
        "any_window": {
            name: {kind: ratio(own, anywhere, kind, real_weights=weights) for kind in STATISTICS}
            for name, own in groups.items()
        },
        "any_window_of_perfect": {
            kind: ratio(matched, anywhere, kind, real_weights=weights)["value"] for kind in STATISTICS
        },
    }
