"""Changed sides and lost pictures are mended; bodies that really turn are left alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.consistency import MIRRORED, lost, unflipped
from tests.capture.scripted import Figure, figure_points

TIMES = np.arange(60) / 30.0


def rows_of(turns_rad: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """A standing figure that turns about its axis; elbows and knees a little to the front."""
    flat = figure_points(Figure(0.0, 0.0, 1.0, (0, 0, 0)))
    depth = np.zeros(33)
    depth[[13, 14, 15, 16, 25, 26]] = -0.15
    world = np.zeros((len(turns_rad), 33, 3), np.float32)
    for t, turn in enumerate(turns_rad):
        c, s = np.cos(turn), np.sin(turn)
        world[t] = np.stack((c * flat[:, 0] - s * depth, flat[:, 1], s * flat[:, 0] + c * depth), axis=-1)
    return {
        "points_px": 100.0 * world[..., :2] + 200.0,
        "depth_px": 100.0 * world[..., 2],
        "world_m": world,
        "confidence": np.full((len(turns_rad), 33), 0.9, np.float32),
    }


def flipped(rows: dict[str, NDArray[np.float32]], first: int, last: int) -> dict[str, NDArray[np.float32]]:
    """The network's mistake: left and right exchanged, depth mirrored."""
    out = {name: values.copy() for name, values in rows.items()}
    part = slice(first, last)
    for name in ("points_px", "confidence", "world_m", "depth_px"):
        out[name][part] = rows[name][part][:, MIRRORED]
    out["world_m"][part, :, 2] *= -1.0
    out["depth_px"][part] *= -1.0
    return out


def test_sides_that_change_for_a_moment_are_changed_back() -> None:
    rows = rows_of(np.linspace(0.1, 0.6, 60))
    mended = unflipped(flipped(rows, 20, 31), TIMES)
    for name, values in rows.items():
        assert np.allclose(mended[name], values, atol=1e-5), name


def test_a_body_that_turns_round_is_left_as_it_is() -> None:
    rows = rows_of(np.linspace(0.0, 2.0 * np.pi, 60))
    kept = unflipped(rows, TIMES)
    for name, values in rows.items():
        assert np.array_equal(kept[name], values), name


def test_a_picture_in_which_the_landmarks_jump_away_is_lost_and_a_fast_one_is_not() -> None:
    points = rows_of(np.zeros(60))["points_px"]
    points[:, :, 0] += 8.0 * np.arange(60)[:, None]
    assert not lost(points).any()
    points[30:32] = 0.3 * points[30:32] + 60.0
    assert list(np.flatnonzero(lost(points))) == [30, 31]
    assert not lost(points[:2]).any()
