"""Sound in, loudness-levelled spectra out, in steps of half a second: the first stage of music analysis.

Everything works on fixed steps of the absolute clock, so how the sound was cut into chunks changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinestream.conditioning.music_filters import chroma_filters, mel_filters
from kinestream.errors import BadInputError, MissingExtraError

Array = NDArray[np.float32]

RATE_HZ = 24_000  # what is analysed; also the rate of MuQ
FEATURE_HZ = 30
ONSET_HZ = 120
STEP_S = 0.5
STEP_FRAMES = int(STEP_S * FEATURE_HZ)  # 15
STEP_ONSETS = int(STEP_S * ONSET_HZ)  # 60
BANDS = 64
LOWEST_HZ, HIGHEST_HZ = 30.0, 11_000.0

_STEP_SAMPLES = int(STEP_S * RATE_HZ)
_ONSET_HOP = RATE_HZ // ONSET_HZ
_FRAME_HOP = RATE_HZ // FEATURE_HZ
_ONSET_WINDOW, _CHROMA_WINDOW = 1024, 4096
_MARGIN = _CHROMA_WINDOW // 2
# Levelling: the loudest frame of the past and of the next half second counts as full level; it is forgotten at this
# pace, and nothing below the floor is raised to it.
_RELEASE_DB_PER_S = 1.0
_FLOOR_POWER = 1e-6  # 60 dB below a full-scale sine
LEVEL_STEPS = 1  # steps of look-ahead that levelling needs
# Sound beyond full scale (float files may hold anything) is taken for full scale.
_LOUDEST = 8.0


class Spectra(NamedTuple):
    """One step: `mel` [60, 64] and `chroma` [15, 12] power over the running full level; `level_db` [15] below it."""

    mel: Array
    chroma: Array
    level_db: Array


class _Raw(NamedTuple):
    mel: Array
    chroma: Array
    power: Array


class SpectrumStream:
    """Chunks of mono samples to steps of `Spectra`; a step needs one more step and 0.09 s of sound beyond its own."""

    def __init__(self, rate_hz: int) -> None:
        self._resampler = None if rate_hz == RATE_HZ else _resampler(rate_hz)
        self._waiting: list[Array] = [np.zeros(_MARGIN, np.float32)]
        self._count = _MARGIN
        self._steps: list[_Raw] = []
        self._full_power = _FLOOR_POWER
        self.num_samples = 0  # at RATE_HZ, of what was pushed

    def push(self, samples: Array) -> list[Spectra]:
        """The steps that these samples complete."""
        if samples.ndim != 1:
            raise BadInputError(f"expected mono samples [N], got shape {samples.shape}")
        chunk = np.ascontiguousarray(samples, dtype=np.float32)
        if not np.isfinite(chunk).all():
            raise BadInputError("the samples hold NaN or infinity")
        return self._take(chunk if self._resampler is None else self._resampler.resample_chunk(chunk))

    def finish(self) -> list[Spectra]:
        """The steps that remain, as if silence followed."""
        last = [] if self._resampler is None else self._take(self._resampler.resample_chunk(_NOTHING, last=True))
        number = self.num_samples
        steps = last + self._take(np.zeros((LEVEL_STEPS + 2) * _STEP_SAMPLES + _MARGIN, np.float32))
        self.num_samples = number
        return steps

    def _take(self, samples: Array) -> list[Spectra]:
        self.num_samples += len(samples)
        self._waiting.append(np.clip(samples, -_LOUDEST, _LOUDEST))
        self._count += len(samples)
        needed = _STEP_SAMPLES + 2 * _MARGIN
        if self._count < needed:
            return []
        buffer = np.concatenate(self._waiting)
        levelled = []
        while len(buffer) >= needed:
            self._steps.append(_raw_step(buffer[:needed]))
            buffer = buffer[_STEP_SAMPLES:]
            if len(self._steps) > LEVEL_STEPS:
                levelled.append(self._level())
        self._waiting, self._count = [buffer.copy()], len(buffer)
        return levelled

    def _level(self) -> Spectra:
        step, following = self._steps.pop(0), self._steps[0]
        release = 10.0 ** (-_RELEASE_DB_PER_S / FEATURE_HZ / 10.0)
        around = np.concatenate((step.power, following.power))
        ahead = np.lib.stride_tricks.sliding_window_view(around, STEP_FRAMES + 1)[:STEP_FRAMES].max(axis=1)
        full = np.empty(STEP_FRAMES, np.float32)
        for k, power in enumerate(ahead.tolist()):
            self._full_power = max(power, self._full_power * release, _FLOOR_POWER)
            full[k] = self._full_power
        level_db = 10.0 * np.log10(np.maximum(step.power / full, 1e-6))
        repeated = np.repeat(full, STEP_ONSETS // STEP_FRAMES)[:, None]
        return Spectra(step.mel / repeated, step.chroma / full[:, None], level_db.astype(np.float32))


_NOTHING = np.zeros(0, np.float32)


def _resampler(rate_hz: int):  # type: ignore[no-untyped-def]
    try:
        import soxr
    except ImportError:
        raise MissingExtraError("analysing music", "dance") from None
    return soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")


def _hann(window: int) -> Array:
    """Scaled so that a full-scale sine has the power 1 in its bin."""
    shape = np.hanning(window + 1)[:-1]
    return np.asarray(shape * (2.0 / shape.sum()), dtype=np.float32)


_ONSET_HANN, _CHROMA_HANN = _hann(_ONSET_WINDOW), _hann(_CHROMA_WINDOW)


def _raw_step(buffer: Array) -> _Raw:
    """Spectra of one step from its samples and half a chroma window on both sides."""
    mel = _powers(buffer[_MARGIN - _ONSET_WINDOW // 2 :], _ONSET_HANN, _ONSET_HOP, STEP_ONSETS)
    mel = mel @ mel_filters(RATE_HZ, _ONSET_WINDOW, BANDS, LOWEST_HZ, HIGHEST_HZ).T * (RATE_HZ / _ONSET_WINDOW)
    chroma = _powers(buffer, _CHROMA_HANN, _FRAME_HOP, STEP_FRAMES) @ chroma_filters(RATE_HZ, _CHROMA_WINDOW).T
    power = mel.reshape(STEP_FRAMES, -1, BANDS).mean(axis=1).sum(axis=1)
    return _Raw(mel, chroma, power)


def _powers(samples: Array, hann: Array, hop: int, count: int) -> Array:
    """Power spectra [count, bins] of windows that start every `hop` samples."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, len(hann))[: count * hop : hop]
    spectrum = np.fft.rfft(windows * hann, axis=1)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
