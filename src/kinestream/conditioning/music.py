"""Music as a condition: onsets, beats, bars, tempo, loudness, harmony and timbre at 30 Hz, from a file or live.

`MusicStream` takes chunks of any size and gives features that depend on the past and on LOOK_AHEAD_S to come. The
whole-file forms run the same stream, so live features and file features are the same values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinestream.conditioning import Condition
from kinestream.conditioning.music_filters import cepstral_basis
from kinestream.conditioning.music_rhythm import Beat, BeatTracker, Onsets, OnsetStream
from kinestream.conditioning.music_spectra import (
    BANDS,
    FEATURE_HZ,
    LEVEL_STEPS,
    ONSET_HZ,
    STEP_FRAMES,
    STEP_ONSETS,
    STEP_S,
    Spectra,
    SpectrumStream,
)
from kinestream.errors import BadInputError
from kinestream.io.audio import Audio

__all__ = [
    "FEATURE_HZ",
    "LOOK_AHEAD_S",
    "MUSIC_SLICES",
    "MUSIC_WIDTH",
    "Beats",
    "MusicFeatures",
    "MusicStream",
    "at_rows",
    "beats_in",
    "features_at_tempo",
    "music_beats",
    "music_condition",
    "music_features",
]

Array = NDArray[np.float32]
_CEPSTRA = 20
_TEMPO_STEPS, _TRACE_STEPS = 1, 2
# A step, levelling, tempo, tracing back, half a window and the resampler's delay.
LOOK_AHEAD_S = (1 + LEVEL_STEPS + _TEMPO_STEPS + _TRACE_STEPS) * STEP_S + 0.15
# `music_beats` looks further ahead: tempo and beats are judged with five seconds of what follows.
_WIDE_TEMPO_STEPS, _WIDE_TRACE_STEPS = 6, 8
# Features lie near -1 to 1 by fixed scales; no statistics of a song are used.
_ONSET_SCALE, _CEPSTRUM_SCALE, _DECIBELS = 4.0, 16.0, 30.0
_TEMPO_CENTRE_BPM = 110.0
_SILENT_DB = -55.0

MUSIC_SLICES: Mapping[str, slice] = {
    "onset_strength": slice(0, 1),
    "band_onsets": slice(1, 4),
    "beat": slice(4, 5),
    "downbeat": slice(5, 6),
    "beat_phase": slice(6, 8),
    "bar_phase": slice(8, 10),
    "tempo": slice(10, 11),
    "loudness": slice(11, 12),
    "chroma": slice(12, 24),
    "mfcc": slice(24, 24 + _CEPSTRA),
}
MUSIC_WIDTH = MUSIC_SLICES["mfcc"].stop


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats of a piece: times in seconds [N], those that begin a bar [M], and the usual tempo (0: none was heard)."""

    times_s: NDArray[np.float64]
    downbeats_s: NDArray[np.float64]
    tempo_bpm: float

    @classmethod
    def of(cls, beats: Iterable[Beat]) -> Beats:
        """From tracked beats."""
        tracked = list(beats)
        times = np.array([beat.frame / ONSET_HZ for beat in tracked], dtype=np.float64)
        downbeats = np.array([beat.frame / ONSET_HZ for beat in tracked if beat.place == 0], dtype=np.float64)
        tempo = 60.0 / float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        return cls(times, downbeats, tempo)


@dataclass(frozen=True, eq=False)
class MusicFeatures:
    """Music at 30 Hz: `values` [T, 44] fp32 with the columns of MUSIC_SLICES, row k at k / 30 s; and the beats."""

    values: Float[Tensor, "t d"]
    beats: Beats

    def take(self, name: str) -> Float[Tensor, "t d"]:
        """The columns of that name."""
        return self.values[:, MUSIC_SLICES[name]]

    def condition(self) -> Condition:
        """The features as what a generator follows."""
        return Condition(self.values, torch.ones(len(self.values), dtype=torch.bool), float(FEATURE_HZ))


class _Step(NamedTuple):
    onsets: Onsets
    chroma: Array
    level_db: Array


class MusicStream:
    """Chunks of sound in, feature rows out, with bounded memory.

    A row for time t comes once the sound up to t + LOOK_AHEAD_S was pushed (longer for other `tempo_steps` and
    `trace_steps`); later sound does not change it. `beats` are those of the rows given so far.
    """

    def __init__(self, rate_hz: int, *, tempo_steps: int = _TEMPO_STEPS, trace_steps: int = _TRACE_STEPS) -> None:
        if not 4_000 <= rate_hz <= 384_000:
            raise BadInputError(f"expected 4000 to 384000 samples a second, got {rate_hz}")
        self._rate_hz = rate_hz
        self._spectra = SpectrumStream(rate_hz)
        self._onsets = OnsetStream()
        self._tracker = BeatTracker(tempo_steps, trace_steps)
        self._pending: list[_Step] = []
        self._emitted = 0
        self._pushed = 0
        self._finished = False
        self._recent: list[Beat] = []
        self._periods = 0.5 * ONSET_HZ
        self.beats: list[Beat] = []

    def push(self, samples: NDArray[Any]) -> Float[Tensor, "t d"]:
        """The rows that these mono samples [N] complete (often none).

        BadInputError for other shapes, NaN, or after `finish`.
        """
        if self._finished:
            raise BadInputError("the music stream is finished; make a new one for another song")
        self._pushed += len(samples)
        return self._rows(self._spectra.push(np.asarray(samples, dtype=np.float32)))

    def finish(self) -> Float[Tensor, "t d"]:
        """The rows that remain; the stream then takes no more sound. One row for each begun thirtieth of a second."""
        if self._finished:
            raise BadInputError("the music stream is finished already")
        self._finished = True
        total = math.ceil(self._pushed / self._rate_hz * FEATURE_HZ - 1e-6)
        parts = [self._rows(self._spectra.finish())]
        quiet = Spectra(
            np.zeros((STEP_ONSETS, BANDS), np.float32),
            np.zeros((STEP_FRAMES, 12), np.float32),
            np.full(STEP_FRAMES, _SILENT_DB, np.float32),
        )
        while self._emitted < total:
            parts.append(self._rows([quiet]))
        rows = torch.cat(parts)
        surplus = self._emitted - total
        self._emitted = total
        self.beats = [beat for beat in self.beats if beat.frame < total * ONSET_HZ // FEATURE_HZ]
        return rows[: max(len(rows) - surplus, 0)]

    def _rows(self, steps: list[Spectra]) -> Float[Tensor, "t d"]:
        rows: list[Array] = []
        for spectra in steps:
            onsets = self._onsets.push(spectra)
            self._pending.append(_Step(onsets, spectra.chroma, spectra.level_db))
            tracked = self._tracker.push(onsets, spectra.chroma)
            if tracked is None:
                continue
            self._recent += tracked.beats
            self.beats += tracked.beats
            # Beats are reported up to the smoothing's few frames before the trace's end: a step of margin is kept.
            while (self._emitted + STEP_FRAMES) * ONSET_HZ // FEATURE_HZ <= tracked.known_until:
                rows.append(self._row_block(self._pending.pop(0), tracked.period))
        return torch.from_numpy(np.concatenate(rows) if rows else np.zeros((0, MUSIC_WIDTH), np.float32))

    def _row_block(self, step: _Step, period: float) -> Array:
        frames = self._emitted + np.arange(STEP_FRAMES)
        self._emitted += STEP_FRAMES
        rows = np.zeros((STEP_FRAMES, MUSIC_WIDTH), np.float32)
        per_frame = STEP_ONSETS // STEP_FRAMES
        rows[:, 0] = step.onsets.strength.reshape(-1, per_frame).max(axis=1) / _ONSET_SCALE
        rows[:, 1:4] = step.onsets.bands.reshape(STEP_FRAMES, per_frame, 3).max(axis=1) / _ONSET_SCALE
        rows[:, 4:11] = self._rhythm(frames, period)
        audible = step.level_db > _SILENT_DB
        rows[:, 11] = np.maximum(step.level_db / _DECIBELS + 1.0, -1.0)
        total = step.chroma.sum(axis=1, keepdims=True)
        rows[:, 12:24] = np.where(audible[:, None], step.chroma / np.maximum(total, 1e-9), 0.0)
        logmel = step.onsets.logmel.reshape(STEP_FRAMES, per_frame, BANDS).mean(axis=1)
        rows[:, MUSIC_SLICES["mfcc"]] = logmel @ cepstral_basis(BANDS, _CEPSTRA).T / _CEPSTRUM_SCALE
        return rows

    def _rhythm(self, frames: NDArray[Any], period: float) -> Array:
        """[n, 7]: beat, downbeat, sine and cosine of the beat's and the bar's phase, tempo; zeros where no beat is."""
        values = np.zeros((len(frames), 7), np.float32)
        for row, frame in enumerate((frames * (ONSET_HZ // FEATURE_HZ)).tolist()):
            while len(self._recent) > 1 and self._recent[1].frame <= frame:
                self._recent.pop(0)
            if not self._recent:
                continue
            last = self._recent[0]
            following = self._recent[1] if len(self._recent) > 1 else None
            length = following.frame - last.frame if following is not None else period
            if frame < last.frame:  # before the first beat
                length, last = period, Beat(last.frame - math.ceil((last.frame - frame) / period) * period, -1, 4)
            if frame - last.frame > 2.0 * period or length > 3.0 * period:
                continue  # the beat has stopped
            values[row] = self._phases(frame, last, float(length), following)
        return values

    def _phases(self, frame: int, last: Beat, length: float, following: Beat | None) -> Array:
        share = (frame - last.frame) / length
        width = ONSET_HZ / FEATURE_HZ
        pulses = [math.exp(-0.5 * ((frame - beat) / width) ** 2) for beat in (last.frame, last.frame + length)]
        place = max(last.place, 0)
        bar = (place + share) / last.meter
        following_place = following.place if following is not None else (place + 1) % last.meter
        downs = [pulse for pulse, where in zip(pulses, (last.place, following_place), strict=True) if where == 0]
        turn = 2.0 * math.pi
        tempo = math.log2(60.0 * ONSET_HZ / length / _TEMPO_CENTRE_BPM)
        phases = (math.sin(turn * share), math.cos(turn * share), math.sin(turn * bar), math.cos(turn * bar))
        return np.array((max(pulses), max(downs, default=0.0), *phases, tempo), np.float32)


def beats_in(values: Float[Tensor, "t 44"]) -> Float[Tensor, "n"]:
    """Times in seconds at which beats fall, from the first row on, as the phases of feature rows tell."""
    phase = values[:, MUSIC_SLICES["beat_phase"]].double()
    share = (torch.atan2(phase[:, 0], phase[:, 1]) / (2.0 * math.pi)) % 1.0
    heard = phase.abs().sum(dim=1) > 0
    wraps = (share.diff() < -0.5) & heard[1:] & heard[:-1]
    before = torch.nonzero(wraps)[:, 0]
    left = 1.0 - share[before]
    times: Tensor = (before + left / (left + share[before + 1])) / FEATURE_HZ
    return times


def at_rows(values: Float[Tensor, "t d"], where: Float[Tensor, "u"]) -> Float[Tensor, "u d"]:
    """Linear interpolation of rows at fractions of rows; beyond the ends the rows there."""
    last = len(values) - 1
    where = where.double().clamp(0.0, last)
    low = where.floor().long()
    share = (where - low).to(values)[:, None]
    return values[low] * (1 - share) + values[(low + 1).clamp(max=last)] * share


def features_at_tempo(values: Float[Tensor, "t d"], tempo: float) -> Float[Tensor, "u d"]:
    """Feature rows of the same music played `tempo` times as fast, by linear interpolation: T rows become T / tempo."""
    count = int((len(values) - 1) / tempo + 1e-6) + 1
    rows = at_rows(values, torch.arange(count, dtype=torch.float64) * tempo)
    if values.shape[1] == MUSIC_WIDTH:
        column = MUSIC_SLICES["tempo"]
        heard = rows[:, MUSIC_SLICES["beat_phase"]].abs().sum(dim=1, keepdim=True) > 0
        rows[:, column] = torch.where(heard, rows[:, column] + math.log2(tempo), rows[:, column])
    return rows


def music_features(audio: Audio) -> MusicFeatures:
    """Features of a whole piece, [T, 44] at 30 Hz with T = 30 times its seconds, rounded up."""
    stream = MusicStream(audio.rate_hz)
    parts = [stream.push(block) for block in _blocks(audio)]
    parts.append(stream.finish())
    return MusicFeatures(torch.cat(parts), Beats.of(stream.beats))


def music_condition(audio: Audio) -> Condition:
    """The features of a whole piece as a condition at 30 Hz."""
    return music_features(audio).condition()


def music_beats(audio: Audio) -> Beats:
    """Beats, downbeats and tempo of a whole piece, judged with several seconds of what follows each."""
    stream = MusicStream(audio.rate_hz, tempo_steps=_WIDE_TEMPO_STEPS, trace_steps=_WIDE_TRACE_STEPS)
    for block in _blocks(audio):
        stream.push(block)
    stream.finish()
    return Beats.of(stream.beats)


def _blocks(audio: Audio) -> Iterable[Array]:
    """Half-minute blocks, so that a long piece is never held twice."""
    if len(audio.samples) == 0:
        raise BadInputError(f"{audio.name or 'the sound'}: expected at least one sample, got none")
    size = 30 * audio.rate_hz
    return (audio.samples[start : start + size] for start in range(0, len(audio.samples), size))
