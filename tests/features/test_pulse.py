"""The pulse says how fast feet and hands move over the ground, whatever the heading and the side."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.features import motion272_from_motion
from kinestream.features.pulse import PULSE, pulse_from_motion272
from kinestream.motion import Motion, mirror
from kinestream.rotations import quat_from_rotvec, quat_multiply, quat_rotate
from kinestream.skeleton import smpl22


@pytest.fixture(scope="module")
def turning_walk() -> Motion:
    """A body that bends its limbs, turns and travels."""
    generator = torch.Generator().manual_seed(0)
    frames = 40
    time = torch.arange(frames)[:, None, None] / 30.0
    swing = torch.randn(1, 22, 3, generator=generator) * 0.4
    rotations = quat_from_rotvec(swing * torch.sin(6.0 * time + torch.randn(1, 22, 1, generator=generator)))
    heading = quat_from_rotvec(torch.stack((torch.zeros(frames), 2.0 * time[:, 0, 0], torch.zeros(frames)), dim=-1))
    rotations[:, 0] = heading
    root = torch.stack((time[:, 0, 0], 0.95 + 0.05 * torch.sin(5.0 * time[:, 0, 0]), 0.5 * time[:, 0, 0] ** 2), dim=-1)
    return Motion(smpl22(), rotations, root, 30.0)


def test_speeds_are_those_of_the_joints_in_the_world(turning_walk: Motion) -> None:
    pulse = pulse_from_motion272(motion272_from_motion(turning_walk))[1:]
    velocity = turning_walk.joint_positions_m().diff(dim=0) * 30.0
    speed = velocity.norm(dim=-1)
    expected = torch.stack((speed[:, 7] + speed[:, 8], (speed[:, 7] - speed[:, 8]).abs()), dim=-1)
    torch.testing.assert_close(PULSE.take(pulse, "ankle_speed"), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(PULSE.take(pulse, "mean_speed")[:, 0], speed.mean(dim=-1), rtol=0, atol=1e-3)
    torch.testing.assert_close(PULSE.take(pulse, "root_rise")[:, 0], velocity[:, 0, 1], rtol=0, atol=1e-3)
    torch.testing.assert_close(
        PULSE.take(pulse, "root_ground_speed")[:, 0], velocity[:, 0, ::2].norm(dim=-1), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(PULSE.take(pulse, "turning"), torch.full((39, 1), 2.0), rtol=0, atol=1e-3)


def test_a_turned_or_mirrored_dance_has_the_same_pulse(turning_walk: Motion) -> None:
    pulse = pulse_from_motion272(motion272_from_motion(turning_walk))
    yaw = quat_from_rotvec(torch.tensor([0.0, 1.3, 0.0]))
    rotations = turning_walk.local_rotations.clone()
    rotations[:, 0] = quat_multiply(yaw.expand(len(rotations), 4), rotations[:, 0])
    turned = Motion(smpl22(), rotations, quat_rotate(yaw.expand(len(rotations), 4), turning_walk.root_position_m), 30.0)
    torch.testing.assert_close(pulse_from_motion272(motion272_from_motion(turned)), pulse, rtol=0, atol=2e-3)
    mirrored = pulse_from_motion272(motion272_from_motion(mirror(turning_walk)))
    torch.testing.assert_close(mirrored, pulse, rtol=0, atol=0.1)  # bones of SMPL's left and right differ a little


def test_a_frame_needs_itself_alone(turning_walk: Motion) -> None:
    features = motion272_from_motion(turning_walk)
    assert torch.equal(pulse_from_motion272(features)[10:20], pulse_from_motion272(features[10:20]))
    assert pulse_from_motion272(features).shape == (40, PULSE.width)


def test_other_layouts_are_refused() -> None:
    with pytest.raises(BadInputError, match="width 272"):
        pulse_from_motion272(torch.zeros(3, 263))
