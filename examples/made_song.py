"""A song for the examples that need one: eight bars of a waltz, bass on one and chords on two and three."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 22_050
BEAT_S = 60.0 / 87.0
CHORDS = ((262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294))


def samples(bars: int = 8) -> NDArray[np.float32]:
    """Sound [N] between -1 and 1 at RATE_HZ."""
    sound = np.zeros(int((3 * bars * BEAT_S + 0.5) * RATE_HZ))
    time = np.arange(int(0.45 * RATE_HZ)) / RATE_HZ
    for beat in range(3 * bars):
        chord = CHORDS[(beat // 3) % len(CHORDS)]
        tones = (chord[0] / 2,) if beat % 3 == 0 else chord
        note = sum(np.sin(2 * np.pi * tone * time) for tone in tones) * np.exp(-6.0 * time) / len(tones)
        first = int(beat * BEAT_S * RATE_HZ)
        sound[first : first + len(note)] += (0.8 if beat % 3 == 0 else 0.4) * note
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)


def write(path: Path, bars: int = 8) -> Path:
    """The same as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples(bars) * 32767).astype("<i2").tobytes())
    return path
