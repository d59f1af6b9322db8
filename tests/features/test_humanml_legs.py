"""Legs in the 259-value layout: columns, places from rotations and velocities, bodies carried."""

from __future__ import annotations

import torch

from kinestream.features import HUMANML259, humanml259_from_motion
from kinestream.features.humanml import positions_from_humanml
from kinestream.features.humanml_legs import (
    LEGS,
    carried,
    leg_columns,
    legs_from_rotations,
    local_positions,
    pelvis_orientation,
    world_steps,
)
from tests.io.walking import walking


def test_leg_columns_are_root_knees_and_feet_and_the_rotations_that_carry_them() -> None:
    chosen = leg_columns()
    sizes = {name: int(chosen[part].sum()) for name, part in HUMANML259.slices.items()}
    assert sizes == {
        "yaw_velocity": 1, "root_velocity": 2, "root_height": 1, "velocities": 21, "positions": 18,
        "rotations_rot6d": 48,
    }  # fmt: skip


def test_rotations_and_velocities_say_the_same_as_positions() -> None:
    features = humanml259_from_motion(walking(90))
    legs = local_positions(features)[:, LEGS]
    assert torch.allclose(legs_from_rotations(features, pelvis_orientation(features)), legs, atol=1e-5)
    places = positions_from_humanml(features, HUMANML259)
    assert torch.allclose(world_steps(features)[:-1], places.diff(dim=0), atol=1e-5)


def test_batches_recover_as_single_clips_do() -> None:
    clips = [humanml259_from_motion(walking(40, turn_radps=turn)) for turn in (0.2, -0.5)]
    together = positions_from_humanml(torch.stack(clips), HUMANML259)
    for row, clip in zip(together, clips, strict=True):
        assert torch.allclose(row, positions_from_humanml(clip, HUMANML259), atol=1e-6)


def test_a_carried_body_is_where_it_was_carried() -> None:
    features = humanml259_from_motion(walking(60))
    offset = 0.05 * torch.randn(len(features), 3)
    offset[0] = torch.tensor((0.0, 0.03, 0.0))
    moved = carried(features, offset)
    places = positions_from_humanml(moved, HUMANML259)
    assert torch.allclose(places, positions_from_humanml(features, HUMANML259) + offset[:, None], atol=1e-5)
    assert torch.allclose(world_steps(moved)[:-1], places.diff(dim=0), atol=1e-5)
