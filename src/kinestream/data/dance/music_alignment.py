"""Where a dance's clock lies against its song's: a scale and an offset with which its movement fits the music best.

Movement: how strongly the limbs brake, moment by moment, which they do on beats. Music: bass, beats and bars. Both as
curves; the score is their correlation. The best score over a grid of scales and offsets is compared with the best
that the same search finds in other songs, because a search finds something everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinestream.conditioning.music import FEATURE_HZ, MUSIC_SLICES

Array = NDArray[np.float64]

RATE_HZ = 60.0
SCALES = np.round(np.arange(0.990, 1.0361, 0.002), 3)
MAX_OFFSET_S = 0.8
# What is expected before a dance is heard: over all recordings of Dance with Melody the mean score is highest at 1.012,
# and the songs' starts are right within half a second. A weight of 0.03 is what a minute of music is worth: a
# correlation higher by 0.03 makes a fit about e times as likely.
EXPECTED_SCALE, SCALE_SPREAD, OFFSET_SPREAD_S = 1.012, 0.005, 0.5
_PRIOR_WEIGHT = 0.03
_SMOOTHING_S = 0.05
_DETREND_S = 1.0
_FEET, _LIMBS = (7, 8, 10, 11), (7, 8, 10, 11, 20, 21)


@dataclass(frozen=True)
class Alignment:
    """Song time = music_start + offset_s + scale * dance time; `score` is a correlation.

    `other_mean` and `other_best`: of the best scores that other songs reach; `rank`: the song's place among all.
    """

    scale: float
    offset_s: float
    score: float
    other_mean: float
    other_best: float
    rank: int
    others: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest, with the gain over other songs."""
        return {
            "scale": self.scale,
            "offset_s": round(self.offset_s, 3),
            "score": round(self.score, 4),
            "other_songs_mean": round(self.other_mean, 4),
            "other_songs_best": round(self.other_best, 4),
            "gain": round(self.score - self.other_mean, 4),
            "rank": self.rank,
            "other_songs": self.others,
        }


def movement_curve(positions_m: Float[Tensor, "t j 3"], fps: float) -> Array:
    """How strongly hands and feet brake, feet above all [T], from joint positions of SMPL-22."""
    limbs = positions_m[:, list(_LIMBS)].double().numpy()
    speed = np.linalg.norm(np.gradient(limbs, axis=0), axis=-1) * fps
    speed = _smooth(speed, 0.04 * fps)
    braking = np.maximum(-np.gradient(speed, axis=0), 0.0) * fps
    return _standard(braking[:, : len(_FEET)].mean(axis=1)) + _standard(np.sqrt(braking).mean(axis=1))


def music_curve(features: NDArray[Any]) -> Array:
    """How strongly the music strikes [T] at 30 Hz, from music features [T, 44]: its bass, its beats, its bars."""
    bass = features[:, MUSIC_SLICES["band_onsets"]][:, 0]
    beats = features[:, MUSIC_SLICES["beat"]][:, 0] + features[:, MUSIC_SLICES["downbeat"]][:, 0]
    return np.asarray(bass + beats, dtype=np.float64)


def _standard(curve: Array) -> Array:
    return np.asarray((curve - curve.mean()) / max(float(curve.std()), 1e-9), dtype=np.float64)


def best_fit(movement: Array, fps: float, music: Array, start_s: float) -> tuple[float, float, float]:
    """(scale, offset in seconds, score) of the best fit to one song that the dance is said to begin at `start_s`."""
    best = (EXPECTED_SCALE, 0.0, -np.inf)
    best_value = -np.inf
    reach = int(MAX_OFFSET_S * RATE_HZ)
    offsets = np.arange(-reach, reach + 1) / RATE_HZ
    prior_offset = -0.5 * (offsets / OFFSET_SPREAD_S) ** 2
    for scale in SCALES.tolist():
        count = int((len(movement) - 1) / fps * scale * RATE_HZ)
        if count < 2 * reach:
            continue
        moved = _level(np.interp(np.arange(count) / RATE_HZ, np.arange(len(movement)) / fps * scale, movement))
        at = start_s + (np.arange(count + 2 * reach) - reach) / RATE_HZ
        heard = _level(np.interp(at, np.arange(len(music)) / FEATURE_HZ, music, left=0.0, right=0.0))
        size = 1 << (count + 2 * reach).bit_length()
        products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(moved, size)), size)[: 2 * reach + 1]
        squares = np.concatenate(([0.0], np.cumsum(heard**2)))
        energy = squares[count : count + 2 * reach + 1] - squares[: 2 * reach + 1]
        scores = products / np.sqrt(np.maximum(energy * (moved**2).sum(), 1e-12))
        values = scores + _PRIOR_WEIGHT * (prior_offset - 0.5 * ((scale - EXPECTED_SCALE) / SCALE_SPREAD) ** 2)
        k = int(values.argmax())
        if values[k] > best_value:
            best_value, best = float(values[k]), (float(scale), float(offsets[k]), float(scores[k]))
    return best


def align(movement: Array, fps: float, music: Array, start_s: float, other_songs: Sequence[Array] = ()) -> Alignment:
    """The best fit to the dance's song, and how other songs do in the same search.

    A song that ends before the dance does is entered earlier, so that it has music throughout.
    """
    scale, offset, score = best_fit(movement, fps, music, start_s)
    length_s = len(movement) / fps * 1.02
    others = []
    for other in other_songs:
        start = min(start_s, max(len(other) / FEATURE_HZ - length_s, 0.0))
        others.append(best_fit(movement, fps, other, start)[2])
    finite = [value for value in others if np.isfinite(value)]
    mean, best = (float(np.mean(finite)), float(np.max(finite))) if finite else (0.0, 0.0)
    rank = 1 + sum(value >= score for value in finite)
    return Alignment(scale, offset, score, mean, best, rank, len(finite))


def _level(curve: Array) -> Array:
    """Smoothed, without its slow changes, of zero mean."""
    fine = _smooth(curve[:, None], _SMOOTHING_S * RATE_HZ)[:, 0]
    slow = _smooth(curve[:, None], _DETREND_S * RATE_HZ)[:, 0]
    level = fine - slow
    return np.asarray(level - level.mean(), dtype=np.float64)


def _smooth(values: Array, sigma: float) -> Array:
    """Gaussian mean over time (first axis), ends held; by FFT, as windows are long."""
    reach = max(int(3 * sigma), 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate((np.repeat(values[:1], reach, 0), values, np.repeat(values[-1:], reach, 0)))
    size = 1 << (len(padded) + 2 * reach).bit_length()
    spectrum = np.fft.rfft(padded, size, axis=0) * np.fft.rfft(kernel, size)[:, None]
    return np.asarray(np.fft.irfft(spectrum, size, axis=0)[2 * reach : 2 * reach + len(values)], dtype=np.float64)
