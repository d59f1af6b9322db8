"""The clock of a dance against its song's: found where it is known, and measured against other songs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinestream.conditioning.music import MUSIC_SLICES, MUSIC_WIDTH, music_features
from kinestream.data.dance.music_alignment import Alignment, align, movement_curve, music_curve
from kinestream.io.audio import Audio
from tests.io.audio_files import clicks

FPS = 25.0


def song_of(tempo_bpm: float, seed: int, seconds: float = 70.0) -> np.ndarray:
    """A made-up curve: strokes on the beats, some left out, as no song strikes on each."""
    rng = np.random.default_rng(seed)
    times, curve = np.arange(int(seconds * 30)) / 30, np.zeros(int(seconds * 30))
    for beat in np.arange(0.4, seconds, 60 / tempo_bpm):
        if rng.random() < 0.6:
            curve += rng.uniform(0.5, 1.0) * np.exp(-0.5 * ((times - beat) / 0.03) ** 2)
    return curve


def dance_to(song: np.ndarray, start_s: float, scale: float, seconds: float = 45.0) -> np.ndarray:
    """Movement that follows a song, on a clock that runs at 1 / scale from `start_s` on, with noise."""
    at = start_s + np.arange(int(seconds * FPS)) / FPS * scale
    noise = np.random.default_rng(9).standard_normal(len(at))
    return np.interp(at, np.arange(len(song)) / 30, song) + 0.3 * noise


@pytest.mark.parametrize(("scale", "offset"), [(1.012, 0.3), (1.004, -0.45), (1.02, 0.0)])
def test_scale_and_offset_are_found(scale: float, offset: float) -> None:
    song = song_of(90.0, 1)
    found = align(dance_to(song, 10.0 + offset, scale), FPS, song, 10.0, [song_of(90.0, k) for k in range(2, 5)])
    assert abs(found.scale - scale) <= 0.002
    assert abs(found.offset_s - offset) < 0.06
    assert found.rank == 1
    assert found.to_dict()["gain"] > 0.1


def test_a_dance_to_nothing_gains_nothing() -> None:
    songs = [song_of(100.0, k, seconds=40.0) for k in range(5)]
    movement = np.random.default_rng(4).standard_normal(600)
    gains = [align(movement, FPS, songs[k], 10.0, songs[:k] + songs[k + 1 :]).to_dict()["gain"] for k in range(5)]
    assert abs(float(np.mean(gains))) < 0.03


def test_short_songs_and_no_other_songs_do_no_harm() -> None:
    song = song_of(90.0, 1)
    alone = align(dance_to(song, 10.0, 1.012), FPS, song, 10.0)
    assert alone.others == 0
    assert alone.rank == 1
    short = align(dance_to(song, 10.0, 1.012), FPS, song, 10.0, [song_of(90.0, 2, seconds=20.0)])
    assert isinstance(short, Alignment)
    assert np.isfinite(short.to_dict()["gain"])
    assert np.isfinite(align(np.zeros(1000), FPS, np.zeros(900), 0.0).score)


def test_curves_rise_where_feet_stop_and_where_music_strikes() -> None:
    frames = torch.arange(500, dtype=torch.float32) / FPS
    stepped = torch.floor(frames) + ((frames % 1.0) / 0.4).clamp(max=1.0)  # moves for 0.4 s, then stands
    positions = torch.zeros(500, 22, 3)
    positions[..., 2] = stepped[:, None]
    curve = movement_curve(positions, FPS)
    stops = curve[25:475].reshape(-1, 25).mean(axis=0)
    assert abs(int(stops.argmax()) - 10) <= 1
    features = music_features(Audio.from_samples(clicks(12.0, 8000, 120.0, 4), 8000)).values.numpy()
    assert features.shape[1] == MUSIC_WIDTH
    strokes = music_curve(features)[180:345].reshape(-1, 15).mean(axis=0)
    assert strokes.argmax() in (0, 1, 14)
    assert strokes.max() > 2.0 * np.median(strokes)
    assert MUSIC_SLICES["beat"].stop - MUSIC_SLICES["beat"].start == 1
