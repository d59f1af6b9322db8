"""Onsets, tempo, beats and bars from levelled spectra, step by step with a fixed look-ahead.

Onsets are rises of the log spectrum (spectral flux over a maximum-filtered past). The tempo is a filtered belief over
beat periods, fed by autocorrelations of the last seconds of onsets. Beats are the path through the onsets that best
keeps to that period (dynamic programming as in Ellis, Beat Tracking by Dynamic Programming, 2007), traced back from a
fixed time ahead. Bars are counted in three or four by where low onsets and changes of harmony fall.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinestream.conditioning.music_filters import mel_spaced_hz
from kinestream.conditioning.music_spectra import (
    BANDS,
    FEATURE_HZ,
    HIGHEST_HZ,
    LOWEST_HZ,
    ONSET_HZ,
    STEP_FRAMES,
    STEP_ONSETS,
    STEP_S,
    Spectra,
)

Array = NDArray[np.float32]

COMPRESSION = 1e4
_FLUX_LAG = 3  # onset frames between the spectra that are compared: 25 ms
_BAND_EDGES_HZ = (200.0, 2000.0)
_MEMORY_S = 4.0  # of the running loudness of onsets
_QUIETEST_ONSET = 0.04  # onsets are not raised beyond this running loudness
_STRONGEST_ONSET = 4.0  # times the running loudness; stronger ones are bent below it

_SHORTEST, _LONGEST = 36, 120  # beat periods in onset frames: 200 to 60 beats a minute
_TEMPO_WINDOW = 8 * ONSET_HZ
_TEMPO_CENTRE_S, _TEMPO_OCTAVES = 0.55, 0.6
_TEMPO_WEIGHT = 3.0  # how much half a second of music changes the belief
_TEMPO_PRIOR = 0.3  # the prior's exponent in every step
_TEMPO_DRIFT = 0.02  # relative change of the period that a step may bring
_TEMPO_JUMP = 1e-5  # share of the belief that starts anew in a step

_TIGHTNESS = 200.0
_SMOOTHING = 4  # onset frames on both sides
_BLOCK = 15  # onset frames at once; less than half the shortest period
_METERS = (3, 4)
_METER_MEMORY = 0.97  # a beat; about half a minute
_METER_MARGIN = 0.15
SILENT_ONSET = 0.012  # a running loudness of onsets below this is no music


class Onsets(NamedTuple):
    """One step: `strength` [60] over its running loudness, `bands` [60, 3] likewise, `logmel` [60, 64], `loudness`."""

    strength: Array
    bands: Array
    logmel: Array
    loudness: float


class OnsetStream:
    """Steps of spectra to steps of onsets; no look-ahead of its own."""

    def __init__(self) -> None:
        self._before = np.zeros((_FLUX_LAG, BANDS), np.float32)
        self._started = False
        self._square, self._weight = 0.0, 0.0
        centres = mel_spaced_hz(LOWEST_HZ, HIGHEST_HZ, BANDS + 2)[1:-1]
        edges = (0.0, *_BAND_EDGES_HZ, math.inf)
        self._parts = [(centres >= low) & (centres < high) for low, high in pairwise(edges)]

    def push(self, spectra: Spectra) -> Onsets:
        """The onsets of a step."""
        logmel = np.log1p(COMPRESSION * spectra.mel)
        if not self._started:  # a song that begins loud does not begin with an onset of everything
            self._before[:] = logmel[:1]
            self._started = True
        joined = np.concatenate((self._before, logmel))
        self._before = joined[-_FLUX_LAG:]
        past = joined[:-_FLUX_LAG]
        reference = past.copy()
        np.maximum(reference[:, 1:], past[:, :-1], out=reference[:, 1:])
        np.maximum(reference[:, :-1], past[:, 1:], out=reference[:, :-1])
        rise = np.maximum(joined[_FLUX_LAG:] - reference, 0.0)
        strength = rise.mean(axis=1)
        keep = math.exp(-STEP_S / _MEMORY_S)
        self._square = keep * self._square + (1.0 - keep) * float(np.mean(strength**2))
        self._weight = keep * self._weight + (1.0 - keep)
        loudness = math.sqrt(self._square / self._weight)
        scale = 1.0 / max(loudness, _QUIETEST_ONSET)
        bands = np.stack([rise[:, part].mean(axis=1) for part in self._parts], axis=1)
        return Onsets(_bent(strength * scale), _bent(bands * scale), logmel, loudness)


def _bent(strength: NDArray[Any]) -> Array:
    return np.asarray(_STRONGEST_ONSET * np.tanh(strength / _STRONGEST_ONSET), dtype=np.float32)


class Beat(NamedTuple):
    """A beat: its onset frame, its place in the bar (0: downbeat) and the bar's length in beats."""

    frame: int
    place: int
    meter: int


class TrackedStep(NamedTuple):
    """What is known when a step is done: all beats before `known_until` (an onset frame), and the period there."""

    beats: list[Beat]
    known_until: int
    period: float


class TempoBelief:
    """A belief over beat periods, moved on by half a second of onsets at a time."""

    def __init__(self) -> None:
        self._lags = np.arange(_SHORTEST, _LONGEST + 1)
        distance = np.log2(self._lags / ONSET_HZ / _TEMPO_CENTRE_S) / _TEMPO_OCTAVES
        self._prior = _normalised(np.exp(-0.5 * distance**2))
        self._belief = self._prior.copy()
        ratio = np.log(self._lags[:, None] / self._lags[None])
        moves = np.exp(-0.5 * (ratio / _TEMPO_DRIFT) ** 2)
        self._moves = moves / moves.sum(axis=0, keepdims=True)
        self._window = np.zeros(_TEMPO_WINDOW)

    def push(self, strength: Array, heard: bool) -> float:
        """The period in onset frames after these onsets; silence leaves the belief to drift."""
        self._window = np.concatenate((self._window[len(strength) :], strength))
        moved = (1.0 - _TEMPO_JUMP) * (self._moves @ self._belief) + _TEMPO_JUMP * self._prior
        if heard:
            moved = moved * np.exp(_TEMPO_WEIGHT * self._support()) * self._prior**_TEMPO_PRIOR
        self._belief = _normalised(moved)
        best = int(self._belief.argmax())
        near = slice(max(0, best - 2), best + 3)
        return float((self._lags[near] * self._belief[near]).sum() / self._belief[near].sum())

    def _support(self) -> NDArray[np.float64]:
        """How well each period explains the last seconds: its autocorrelation and that of its multiples."""
        heard = self._window != 0.0
        centred = np.where(heard, self._window - self._window.sum() / max(int(heard.sum()), 1), 0.0)
        power = np.abs(np.fft.rfft(centred, 2 * _TEMPO_WINDOW)) ** 2
        correlation = np.fft.irfft(power)[:_TEMPO_WINDOW]
        correlation /= max(correlation[0], 1e-9)
        spread = np.maximum(np.maximum(correlation, np.roll(correlation, 1)), np.roll(correlation, -1))
        own = correlation[self._lags]
        support = own.copy()
        for multiple, weight in ((2, 0.5), (3, 0.33), (4, 0.25)):
            # A multiple counts no more than the period itself: three half-beats repeat where six do.
            support += weight * np.minimum(np.maximum(own, 0.0), spread[multiple * self._lags])
        return np.asarray(support, dtype=np.float64)


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(weights / weights.sum(), dtype=np.float64)


class BeatTracker:
    """Steps of onsets to beats. A beat is fixed when `tempo_steps` + `trace_steps` more steps have been heard."""

    def __init__(self, tempo_steps: int = 1, trace_steps: int = 2) -> None:
        self._tempo_steps, self._trace = tempo_steps, trace_steps * STEP_ONSETS
        self._tempo, self._bars = TempoBelief(), BarCounter()
        self._waiting: list[Onsets] = []
        self._tail = np.zeros(2 * _SMOOTHING, np.float32)
        kernel = np.exp(-0.5 * (np.arange(-_SMOOTHING, _SMOOTHING + 1) / 2.0) ** 2)
        self._kernel = (kernel / kernel.sum()).astype(np.float64)
        self._scores = np.zeros(2 * _LONGEST)  # cumulative scores of the last frames
        self._links: list[int] = []  # predecessors of frames from `_first` on
        self._first = 0
        self._front = 0
        self._last_beat = -_LONGEST

    def push(self, onsets: Onsets, chroma: Array) -> TrackedStep | None:
        """The beats that became certain; None while the first steps are gathered."""
        period = self._tempo.push(onsets.strength, onsets.loudness > SILENT_ONSET)
        self._bars.hear(onsets, chroma)
        self._waiting.append(onsets)
        if len(self._waiting) <= self._tempo_steps:
            return None
        due = self._waiting.pop(0)
        self._advance(due.strength, period)
        until = self._front - self._trace
        beats = self._trace_back(until, period) if due.loudness > SILENT_ONSET else []
        return TrackedStep([self._bars.place(frame) for frame in beats], max(until, 0), period)

    def _advance(self, strength: Array, period: float) -> None:
        padded = np.concatenate((self._tail, strength))
        self._tail = padded[-2 * _SMOOTHING :]
        smooth = np.convolve(padded, self._kernel, mode="valid")
        lags = np.arange(max(_BLOCK + 1, int(period * 0.5)), min(int(2.0 * period), 2 * _LONGEST - _BLOCK) + 1)
        cost = _TIGHTNESS * np.log(lags / period) ** 2
        reach = len(self._scores)
        rows = np.arange(_BLOCK)[:, None]
        for start in range(0, STEP_ONSETS, _BLOCK):
            earlier = self._scores[reach + rows - lags[None]] - cost[None]
            best = earlier.argmax(axis=1)
            gained = earlier[rows[:, 0], best]
            scores = smooth[start : start + _BLOCK] + np.maximum(gained, 0.0)
            linked = np.where(gained > 0.0, self._front + rows[:, 0] - lags[best], -1)
            self._links.extend(linked.tolist())
            self._scores = np.concatenate((self._scores[_BLOCK:], scores))
            self._front += _BLOCK
        self._scores -= max(float(self._scores.max()) - 1000.0, 0.0)
        surplus = len(self._links) - self._trace - 8 * _LONGEST
        if surplus > 0:
            del self._links[:surplus]
            self._first += surplus

    def _trace_back(self, until: int, period: float) -> list[int]:
        """Beats after the last one, up to `until`, from the best end of the path; smoothing's delay is taken out."""
        frame = self._front - 1 - int(self._scores[-max(int(period), 1) :][::-1].argmax())
        path = []
        while frame >= self._first and frame >= 0 and frame > self._last_beat + 0.5 * period:
            path.append(frame)
            frame = self._links[frame - self._first]
        beats = [frame for frame in reversed(path) if frame <= until]
        if beats:
            self._last_beat = beats[-1]
        return [max(frame - _SMOOTHING, 0) for frame in beats]


class BarCounter:
    """Which beats begin bars: running accents of each place in bars of three and of four."""

    def __init__(self) -> None:
        self._low: list[float] = []
        self._chroma: list[Array] = []
        self._first_frame = 0  # of the lists, in feature frames
        self._beats = 0
        self._sums = {meter: np.zeros(meter) for meter in _METERS}
        self._weights = {meter: np.zeros(meter) for meter in _METERS}
        self._meter, self._phase = 4, 0

    def hear(self, onsets: Onsets, chroma: Array) -> None:
        """Note a step's low onsets and harmony (up to ten seconds are kept)."""
        strength = 0.6 * onsets.bands[:, 0] + 0.4 * onsets.strength
        self._low.extend(strength.reshape(STEP_FRAMES, -1).max(axis=1).tolist())
        self._chroma.extend(np.log1p(100.0 * chroma))
        surplus = len(self._low) - 10 * FEATURE_HZ
        if surplus > 0:
            del self._low[:surplus], self._chroma[:surplus]
            self._first_frame += surplus

    def place(self, onset_frame: int) -> Beat:
        """The beat with its place in the bar; counts it."""
        accent = self._accent(round(onset_frame * FEATURE_HZ / ONSET_HZ) - self._first_frame)
        best: tuple[float, int, int] = (-math.inf, self._meter, self._phase)
        current = -math.inf
        for meter in _METERS:
            sums, weights = self._sums[meter], self._weights[meter]
            sums *= _METER_MEMORY
            weights *= _METER_MEMORY
            place = self._beats % meter
            sums[place] += accent
            weights[place] += 1.0
            means = sums / np.maximum(weights, 1e-3)
            for phase in range(meter):
                others = np.delete(means, phase)
                contrast = float(means[phase] - others.mean() - 0.5 * others.std())
                if (meter, phase) == (self._meter, self._phase):
                    current = contrast
                best = max(best, (contrast, meter, phase))
        if best[0] > current + _METER_MARGIN and self._beats >= 2 * max(_METERS):
            self._meter, self._phase = best[1], best[2]
        place = (self._beats - self._phase) % self._meter
        self._beats += 1
        return Beat(onset_frame, place, self._meter)

    def _accent(self, frame: int) -> float:
        if not 0 <= frame < len(self._low):
            return 0.0
        low = max(self._low[max(0, frame - 1) : frame + 2])
        before = np.asarray(self._chroma[max(0, frame - 9) : max(frame - 1, 1)]).mean(axis=0)
        after = np.asarray(self._chroma[frame + 1 : frame + 9] or self._chroma[-1:]).mean(axis=0)
        norm = float(np.linalg.norm(before) * np.linalg.norm(after))
        change = 1.0 - float(before @ after) / norm if norm > 1e-6 else 0.0
        return math.tanh(0.3 * low) + 1.5 * change
