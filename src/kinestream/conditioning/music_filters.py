"""Matrices that turn power spectra into mel bands, pitch classes and cepstra; pure functions of sizes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# The mel scale of Slaney's Auditory Toolbox: linear up to 1 kHz, then 27 mels to a factor of 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0
# Pitch classes hear mostly the octaves around this one, two octaves wide, as chords are written there.
_CHROMA_CENTRE_HZ = 440.0
_CHROMA_OCTAVES = 2.0
_CHROMA_RANGE_HZ = (60.0, 5000.0)
_SEMITONE_WIDTH = 0.5


def mel_from_hz(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mels (Slaney) of frequencies."""
    linear = frequency_hz / _LINEAR_HZ_PER_MEL
    log = _BREAK_HZ / _LINEAR_HZ_PER_MEL + np.log(np.maximum(frequency_hz, 1e-9) / _BREAK_HZ) / _LOG_STEP
    return np.where(frequency_hz < _BREAK_HZ, linear, log)


def hz_from_mel(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies of mels (Slaney)."""
    start = _BREAK_HZ / _LINEAR_HZ_PER_MEL
    return np.where(mels < start, mels * _LINEAR_HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mels - start)))


def mel_spaced_hz(low_hz: float, high_hz: float, count: int) -> NDArray[np.float64]:
    """`count` frequencies from the lowest to the highest, evenly spaced in mels."""
    low, high = mel_from_hz(np.array([low_hz, high_hz])).tolist()
    return hz_from_mel(np.linspace(low, high, count))


@lru_cache(maxsize=4)
def mel_filters(rate_hz: int, window: int, bands: int, low_hz: float, high_hz: float) -> Array:
    """[bands, window // 2 + 1]: triangles evenly spaced in mels, each of unit area over frequency."""
    edges = mel_spaced_hz(low_hz, high_hz, bands + 2)
    bins = np.fft.rfftfreq(window, 1.0 / rate_hz)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


@lru_cache(maxsize=4)
def chroma_filters(rate_hz: int, window: int) -> Array:
    """[12, window // 2 + 1]: how much of each bin belongs to the pitch classes C, C#, ..., B (A is 440 Hz)."""
    bins = np.fft.rfftfreq(window, 1.0 / rate_hz)
    audible = (bins >= _CHROMA_RANGE_HZ[0]) & (bins <= _CHROMA_RANGE_HZ[1])
    octaves = np.log2(np.maximum(bins, 1.0) / _CHROMA_CENTRE_HZ)
    pitch = 12.0 * octaves + 9.0
    distance = (pitch[None] - np.arange(12)[:, None] + 6.0) % 12.0 - 6.0
    # A bin is as wide as several semitones in the bass: its energy goes to those it covers.
    width = np.maximum(_SEMITONE_WIDTH, 0.5 * 12.0 * (rate_hz / window) / (np.log(2.0) * np.maximum(bins, 1.0)))
    weights = np.exp(-0.5 * (distance / width) ** 2)
    weights /= weights.sum(axis=0, keepdims=True)
    weights *= np.exp(-0.5 * (octaves / _CHROMA_OCTAVES) ** 2) * audible
    return np.asarray(weights, dtype=np.float32)


@lru_cache(maxsize=4)
def cepstral_basis(bands: int, coefficients: int) -> Array:
    """[coefficients, bands]: the first rows of the orthonormal DCT-II."""
    k, n = np.arange(coefficients)[:, None], np.arange(bands)[None]
    basis = np.sqrt(2.0 / bands) * np.cos(np.pi * k * (2 * n + 1) / (2 * bands))
    basis[0] /= np.sqrt(2.0)
    return np.asarray(basis, dtype=np.float32)
