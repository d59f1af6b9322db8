"""Dances over a level floor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.data.dance.floor import on_level_floor
from kinestream.features import motion_from_motion272
from kinestream.motion import Motion

FEET = [10, 11]


@pytest.fixture(scope="module")
def walked(reference_dir: Path) -> Motion:
    features = np.load(reference_dir / "motion272" / "sample.npz")["representation"][:240]
    return motion_from_motion272(torch.from_numpy(features))


def test_feet_on_a_waving_floor_are_brought_to_one_height(walked: Motion) -> None:
    time = torch.arange(walked.num_frames) / walked.fps
    root = walked.root_position_m.clone()
    root[:, 1] += 0.2 + 0.05 * torch.sin(0.8 * time)
    levelled = on_level_floor(replace(walked, root_position_m=root))
    lowest = levelled.joint_positions_m()[:, FEET, 1].amin(dim=1)
    assert lowest.min() > -0.005
    assert lowest.quantile(0.6) < 0.035  # the rest are jumps
    change = (levelled.joint_positions_m() - walked.joint_positions_m())[:, 0, [0, 2]]
    assert change.abs().max() == 0.0


def test_toes_bend_where_the_floor_is(walked: Motion) -> None:
    """A foot pushed down on its toes: the toe joint takes up the slope, the tip stays above the floor."""
    pitched = walked.local_rotations.clone()
    half = torch.tensor(0.3)
    pitched[:, 7] = torch.stack((half.cos(), half.sin(), half * 0, half * 0))
    levelled = on_level_floor(replace(walked, local_rotations=pitched))
    world, positions = levelled.world_rotations(), levelled.joint_positions_m()
    tip = positions[:, 10, 1] + 0.05 * (2.0 * (world[:, 10, 2] * world[:, 10, 3] - world[:, 10, 0] * world[:, 10, 1]))
    assert tip.min() > -0.02
    assert float((levelled.local_rotations[:, 10, 1]).abs().max()) > 0.1


def test_two_frames_are_left_alone(walked: Motion) -> None:
    short = walked.slice(0, 2)
    assert on_level_floor(short) is short
