"""A click on each beat of a window's song, so that a dance can be heard to be in time without the song at hand."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from kinestream.conditioning.music import Beats
from kinestream.io.soundtrack import Soundtrack

RATE_HZ = 44_100
_CLICK_S, _BEAT_HZ, _DOWNBEAT_HZ = 0.03, 1_000.0, 1_600.0
_NEAR_S = 0.01


def click_track(beats: Beats, start_s: float, seconds: float, path: Path) -> Soundtrack:
    """Write the beats from `start_s` on, `seconds` long, as a WAV file; those that begin a bar sound higher."""
    samples = np.zeros(round(seconds * RATE_HZ))
    t = np.arange(round(_CLICK_S * RATE_HZ)) / RATE_HZ
    for beat in beats.times_s[(beats.times_s >= start_s) & (beats.times_s < start_s + seconds)]:
        begins = len(beats.downbeats_s) > 0 and float(np.abs(beats.downbeats_s - beat).min()) < _NEAR_S
        click = 0.6 * np.sin(2.0 * np.pi * (_DOWNBEAT_HZ if begins else _BEAT_HZ) * t) * np.exp(-t / (0.25 * _CLICK_S))
        place = samples[round((beat - start_s) * RATE_HZ) :][: len(click)]
        place += click[: len(place)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(samples, -1.0, 1.0) * 32_767).astype("<i2").tobytes())
    return Soundtrack(path)
