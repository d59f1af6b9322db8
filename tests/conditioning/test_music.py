"""Music features: the stream is the file, beats are on the beat, and nothing that can be heard breaks it."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinestream.conditioning.music import (
    FEATURE_HZ,
    LOOK_AHEAD_S,
    MUSIC_SLICES,
    MUSIC_WIDTH,
    MusicFeatures,
    MusicStream,
    music_beats,
    music_condition,
    music_features,
)
from kinestream.conditioning.music_filters import cepstral_basis, chroma_filters, mel_filters
from kinestream.errors import BadInputError
from kinestream.io.audio import Audio, read_audio
from tests.io.audio_files import clicks, tone

RATE = 16_000


def heard(sound: NDArray[np.float32], rate_hz: int = RATE) -> MusicFeatures:
    return music_features(Audio.from_samples(sound, rate_hz))


@pytest.fixture(scope="module")
def song(shared_dir: Path) -> Audio:
    """Twenty seconds of a real tango from its middle on."""
    return read_audio(shared_dir / "data" / "dance-with-melody" / "audio" / "T_5.ogg", start_s=40.0, end_s=60.0)


@pytest.fixture(scope="module")
def song_features(song: Audio) -> MusicFeatures:
    return music_features(song)


def test_slices_tile_the_features(song: Audio, song_features: MusicFeatures) -> None:
    stops = [0, *(part.stop for part in MUSIC_SLICES.values())]
    assert [part.start for part in MUSIC_SLICES.values()] == stops[:-1]
    assert song_features.values.shape == (round(song.duration_s * FEATURE_HZ), MUSIC_WIDTH)
    assert song_features.values.abs().max() < 8.0
    condition = music_condition(song)
    assert torch.equal(condition.values, song_features.values)
    assert condition.rate_hz == 30.0


def test_chunks_of_any_size_equal_the_whole(song: Audio, song_features: MusicFeatures) -> None:
    stream, rng, parts, start = MusicStream(song.rate_hz), np.random.default_rng(3), [], 0
    while start < len(song.samples):
        size = int(rng.integers(1, 40_000))
        parts.append(stream.push(song.samples[start : start + size]))
        start += size
    parts.append(stream.finish())
    assert torch.equal(torch.cat(parts), song_features.values)
    assert [beat.frame / 120 for beat in stream.beats] == song_features.beats.times_s.tolist()


def test_rows_need_the_past_and_the_stated_look_ahead_only(song: Audio, song_features: MusicFeatures) -> None:
    """After t seconds of sound, all rows up to t less the look-ahead are there, and what follows never changes them."""
    for seconds in (4.1, 7.77, 13.0):
        stream = MusicStream(song.rate_hz)
        rows = stream.push(song.samples[: int(seconds * song.rate_hz)])
        due = int((seconds - LOOK_AHEAD_S) * FEATURE_HZ)
        assert len(rows) >= due
        noise = np.random.default_rng(0).standard_normal(song.rate_hz * 6).astype(np.float32)
        rows = torch.cat((rows, stream.push(noise)))[:due]
        assert torch.equal(rows, song_features.values[:due])


def test_beats_bars_and_tempo_of_a_drum_are_found() -> None:
    for tempo_bpm, accent in ((120.0, 4), (90.0, 3)):
        sound = clicks(24.0, RATE, tempo_bpm, accent, start_s=0.3)
        features = heard(sound)
        beats = features.beats
        assert abs(beats.tempo_bpm - tempo_bpm) < 2.0
        late = beats.times_s[beats.times_s > 6.0]
        true = np.arange(0.3, 24.0, 60.0 / tempo_bpm)
        assert np.abs(late[:, None] - true).min(axis=1).max() < 0.03
        bars = beats.downbeats_s[beats.downbeats_s > 14.0]
        assert np.abs(bars[:, None] - true[::accent]).min(axis=1).max() < 0.05
        assert len(bars) >= 2
        phase = features.take("beat_phase")[240:]
        pulse = features.take("beat")[240:, 0]
        assert (phase.norm(dim=-1) - 1.0).abs().max() < 1e-3
        assert phase[pulse > 0.8][:, 1].min() > 0.7
        assert abs(float(2.0 ** features.take("tempo")[300:].median()) * 110.0 - tempo_bpm) < 4.0


def test_beats_of_real_music_agree_with_librosa(shared_dir: Path) -> None:
    """Reference: librosa 0.11, `beat.beat_track` of the first 40 s at 22,050 Hz."""
    reference = {
        "T_5": (129.2, 84),
        "R_2": (86.1, 57),
        "W_1": (86.1, 58),
    }
    for name, (tempo_bpm, _) in reference.items():
        audio = read_audio(shared_dir / "data" / "dance-with-melody" / "audio" / f"{name}.ogg", end_s=24.0)
        beats = music_beats(audio)
        assert abs(beats.tempo_bpm - tempo_bpm) < 3.0, name
        gaps = np.diff(beats.times_s[beats.times_s > 10.0])
        assert np.abs(gaps / np.median(gaps) - 1.0).max() < 0.2, name


def test_level_does_not_matter(song: Audio, song_features: MusicFeatures) -> None:
    quiet = heard(0.05 * song.samples, song.rate_hz)
    assert (quiet.values - song_features.values).abs().max() < 0.02
    assert np.array_equal(quiet.beats.times_s, song_features.beats.times_s)


def test_harmony_and_loudness_are_heard() -> None:
    sound = np.concatenate((tone(4.0, RATE, 440.0), tone(4.0, RATE, 261.63, level=0.05)))
    features = heard(sound)
    chroma = features.take("chroma")
    assert chroma[30:90].mean(0).argmax() == 9  # A
    assert chroma[150:210].mean(0).argmax() == 0  # C
    loudness = features.take("loudness")[:, 0]
    assert loudness[60] > loudness[180] + 0.4


@pytest.mark.parametrize("kind", ["silence", "noise", "short", "one sample", "constant", "loud", "speech", "pulse"])
def test_whatever_sounds_gives_sensible_features(kind: str) -> None:
    rng = np.random.default_rng(1)
    burst = rng.standard_normal(RATE * 6) * (np.sin(np.arange(RATE * 6) / 2600.0) > rng.random(RATE * 6) * 0.7)
    sounds = {
        "silence": np.zeros(RATE * 8),
        "noise": 0.3 * rng.standard_normal(RATE * 8),
        "short": tone(0.02, RATE),
        "one sample": np.ones(1),
        "constant": np.full(RATE * 3, 0.5),
        "loud": 1e6 * rng.standard_normal(RATE * 2),
        "speech": 0.2 * burst,
        "pulse": np.eye(1, RATE * 5, 1000)[0],
    }
    sound = sounds[kind].astype(np.float32)
    features = heard(sound)
    assert len(features.values) == int(np.ceil(len(sound) / RATE * FEATURE_HZ - 1e-6))
    assert torch.isfinite(features.values).all()
    assert features.values.abs().max() < 8.0
    assert all(a < b for a, b in pairwise(features.beats.times_s))
    if kind == "silence":
        assert len(features.beats.times_s) == 0
        assert features.beats.tempo_bpm == 0.0
        assert not features.values[:, : MUSIC_SLICES["tempo"].stop].any()


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(BadInputError, match="samples a second"):
        MusicStream(100)
    for samples in (np.full(10, np.nan), np.zeros((10, 2))):
        with pytest.raises(BadInputError):
            MusicStream(RATE).push(samples)
    stream = MusicStream(RATE)
    stream.push(np.zeros(10))
    stream.finish()
    for call in (lambda: stream.push(np.zeros(10)), stream.finish):
        with pytest.raises(BadInputError, match="finished"):
            call()
    with pytest.raises(BadInputError, match="at least one sample"):
        music_features(Audio.from_samples(np.zeros(0), RATE))


def test_memory_does_not_grow_with_the_song() -> None:
    stream, sound = MusicStream(8000), clicks(4.0, 8000, 120.0)
    sizes = []
    for _ in range(24):
        stream.push(sound)
        tracker, spectra = stream._tracker, stream._spectra
        held = len(tracker._links) + len(tracker._bars._low) + len(stream._pending) + len(stream._recent)
        sizes.append(held + sum(map(len, spectra._waiting)))
    assert max(sizes[15:]) < max(sizes[10:15]) + 500


def test_mel_filters_are_librosas() -> None:
    """Reference: librosa 0.11, filters.mel(sr=24000, n_fft=1024, n_mels=64, fmin=30, fmax=11000): peak, bin, sum."""
    filters = mel_filters(24_000, 1024, 64, 30.0, 11_000.0)
    reference = (
        (0, 3, 0.0156859, 0.042424), (7, 19, 0.0159309, 0.042424), (20, 47, 0.0170618, 0.04408),
        (41, 141, 0.0057733, 0.042805), (63, 445, 0.0017969, 0.042664),
    )  # fmt: skip
    for band, peak, height, area in reference:
        assert filters[band].argmax() == peak
        assert abs(filters[band].max() - height) < 1e-6
        assert abs(filters[band].sum() - area) < 2e-6
    assert abs(filters.sum() - 2.73045) < 1e-4


def test_cepstra_are_orthonormal() -> None:
    basis = cepstral_basis(64, 20)
    assert np.abs(basis @ basis.T - np.eye(20)).max() < 1e-5
    assert np.abs(basis[0] - 0.125).max() < 1e-6


def test_every_pitch_has_its_class() -> None:
    filters = chroma_filters(24_000, 4096)
    bins = np.fft.rfftfreq(4096, 1 / 24_000)
    for midi in range(48, 96):
        frequency = 440.0 * 2 ** ((midi - 69) / 12)
        assert filters[:, np.abs(bins - frequency).argmin()].argmax() == midi % 12


@pytest.mark.perf
def test_three_minutes_take_seconds() -> None:
    sound = clicks(180.0, 44_100, 120.0)
    start = time.perf_counter()
    music_features(Audio.from_samples(sound, 44_100))
    assert time.perf_counter() - start < 5.0
