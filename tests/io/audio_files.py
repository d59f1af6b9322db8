"""Small sound files of all kinds, made on the spot."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def tone(seconds: float, rate_hz: int, frequency_hz: float = 440.0, level: float = 0.5) -> NDArray[np.float32]:
    """A sine [N]."""
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2.0 * np.pi * frequency_hz * times)).astype(np.float32)


def clicks(
    seconds: float, rate_hz: int, tempo_bpm: float, accent: int = 0, start_s: float = 0.0
) -> NDArray[np.float32]:
    """A drum on every beat, with a bass drum on every `accent`-th, over faint noise."""
    rng = np.random.default_rng(7)
    sound = 1e-3 * rng.standard_normal(int(seconds * rate_hz)).astype(np.float32)
    length = int(0.06 * rate_hz)
    decay = np.exp(-np.arange(length) / (0.012 * rate_hz))
    hit = 0.3 * rng.standard_normal(length) * decay
    bass = (
        0.9
        * np.sin(2 * np.pi * 70.0 * np.arange(2 * length) / rate_hz)
        * np.exp(-np.arange(2 * length) / (0.04 * rate_hz))
    )
    for k, time in enumerate(np.arange(start_s, seconds, 60.0 / tempo_bpm)):
        first = int(time * rate_hz)
        for part in (hit, bass) if accent and k % accent == 0 else (hit,):
            piece = part[: max(len(sound) - first, 0)]
            sound[first : first + len(piece)] += piece.astype(np.float32)
    return sound


def write_wav(path: Path, samples: NDArray[np.float32], rate_hz: int, *, width: int = 2) -> Path:
    """PCM of 1 (unsigned) or 2 bytes; samples [N] or [N, C]."""
    channels = samples.reshape(len(samples), -1)
    scaled = np.clip(channels, -1.0, 1.0)
    data = (scaled * 127 + 128).astype(np.uint8) if width == 1 else (scaled * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(data.tobytes())
    return path


def write_encoded(path: Path, samples: NDArray[np.float32], rate_hz: int, codec: str) -> Path:
    """An encoded file by PyAV: mp3, flac, libvorbis, aac, libopus ..."""
    channels = samples.reshape(len(samples), -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono" if channels.shape[1] == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray((channels * 32767).astype("<i2").reshape(1, -1)),
            format="s16",
            layout=stream.layout.name,
        )
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(
            stream.codec_context.format, stream.layout.name, rate_hz, stream.frame_size or None
        )
        frames = [*resampler.resample(frame), *resampler.resample(None)]
        for part in frames:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path
