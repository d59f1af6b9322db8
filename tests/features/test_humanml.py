"""HumanML3D's family of layouts: widths, definitions, the published recovery, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.features import (
    HUMANML259,
    HUMANML263,
    HUMANML264,
    FeatureLayout,
    humanml259_from_motion,
    humanml263_from_motion,
    humanml264_from_motion,
    motion_from_humanml259,
    motion_from_humanml263,
    motion_from_humanml264,
    motion_from_motion272,
)
from kinestream.features.humanml import positions_from_humanml
from kinestream.features.layout import layout_by_name
from kinestream.motion import Motion, resample
from kinestream.rotations import matrix_from_quat, quat_about_axis, quat_angle_rad, quat_multiply, quat_rotate, quat_yaw

Forth = Callable[[Motion], torch.Tensor]
Back = Callable[[torch.Tensor], Motion]
ALL: list[tuple[FeatureLayout, Forth, Back]] = [
    (HUMANML259, humanml259_from_motion, motion_from_humanml259),
    (HUMANML263, humanml263_from_motion, motion_from_humanml263),
    (HUMANML264, humanml264_from_motion, motion_from_humanml264),
]


@pytest.fixture(scope="module")
def walking(reference_dir: Path) -> Motion:
    """Ten seconds of a real recording that turns."""
    features = np.load(reference_dir / "motion272" / "sample.npz")["representation"][200:500]
    return motion_from_motion272(torch.from_numpy(features))


def in_its_own_frame(motion: Motion) -> torch.Tensor:
    """Positions from the first frame's heading and place, by hips and shoulders."""
    positions = motion.joint_positions_m()
    across = positions[0, 1] - positions[0, 2] + positions[0, 16] - positions[0, 17]
    turn = quat_about_axis(torch.atan2(across[2], across[0]), "Y")
    return quat_rotate(turn, positions - positions[0, 0] * torch.tensor((1.0, 0.0, 1.0)))


@pytest.mark.parametrize(("layout", "forth", "back"), ALL, ids=lambda value: getattr(value, "name", ""))
def test_positions_come_back_within_a_millimetre(
    layout: FeatureLayout, forth: Forth, back: Back, walking: Motion
) -> None:
    motion = resample(walking, layout.fps)
    features = forth(motion)
    assert features.shape == (motion.num_frames - 1, layout.width)
    expected = in_its_own_frame(motion)[:-1]
    assert (positions_from_humanml(features, layout) - expected).norm(dim=-1).max() < 1e-3
    assert (back(features).joint_positions_m() - expected).norm(dim=-1).max() < 1e-3
    assert back(features).fps == layout.fps


def test_layouts_have_the_papers_parts() -> None:
    joints = 22
    sizes = {name: part.stop - part.start for name, part in HUMANML259.slices.items()}
    assert sizes == {
        "yaw_velocity": 1, "root_velocity": 2, "root_height": 1,
        "velocities": 3 * joints, "positions": 3 * (joints - 1), "rotations_rot6d": 6 * (joints - 1),
    }  # fmt: skip
    for layout in (HUMANML259, HUMANML263, HUMANML264):
        stops = [0, *(part.stop for part in layout.slices.values())]
        assert [part.start for part in layout.slices.values()] == stops[:-1]
        assert layout_by_name(layout.name) is layout


def test_local_rotations_come_back_from_259(walking: Motion) -> None:
    back = motion_from_humanml259(humanml259_from_motion(walking))
    assert quat_angle_rad(back.local_rotations[:, 1:], walking.local_rotations[:-1, 1:]).max() < 2e-3
    other = motion_from_humanml259(humanml259_from_motion(walking), source="positions")
    assert (other.joint_positions_m() - back.joint_positions_m()).norm(dim=-1).max() < 1e-3


def test_recovery_of_264_agrees_with_the_release(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "metrics_infinitedance.npz")
    joints = positions_from_humanml(torch.from_numpy(golden["feat264"]), HUMANML264)
    assert np.abs(joints.numpy() - golden["feat264_joints22"]).max() < 1e-4


def test_yaw_velocity_is_half_of_the_turn_and_steps_are_in_the_next_heading(walking: Motion) -> None:
    """A body that stands on a turntable and slides along +X of the world."""
    frames, turn_rad = 200, 0.02
    pose = walking.local_rotations[:1].expand(frames, -1, -1).clone()
    heading = quat_about_axis(torch.arange(frames) * turn_rad, "Y")
    upright = quat_multiply(quat_about_axis(torch.zeros(()), "Y"), pose[0, 0])
    pose[:, 0] = quat_multiply(heading, upright)
    root = torch.zeros(frames, 3)
    root[:, 0], root[:, 1] = torch.arange(frames) * 0.01, 1.0
    features = humanml264_from_motion(Motion(walking.skeleton, pose, root, 30.0))
    middle = slice(90, 110)  # away from the ends, where smoothing holds the heading back
    velocity = HUMANML264.take(features, "yaw_velocity")[middle]
    assert (velocity + 0.5 * turn_rad).abs().max() < 1e-4
    assert torch.allclose(
        HUMANML264.take(features, "yaw")[1:], HUMANML264.take(features, "yaw_velocity")[:-1].cumsum(0)
    )
    step = HUMANML264.take(features, "root_velocity")[middle]
    assert (step.norm(dim=-1) - 0.01).abs().max() < 1e-5


def test_contacts_are_slow_feet(walking: Motion) -> None:
    motion = resample(walking, 20.0)
    contacts = HUMANML263.take(humanml263_from_motion(motion), "contacts")
    feet = motion.joint_positions_m()[:, [7, 10, 8, 11]]
    assert torch.equal(contacts.bool(), feet.diff(dim=0).square().sum(-1) < 0.002)


def test_published_rotations_lead_along_their_chains(walking: Motion) -> None:
    """Multiplied up from the *inverse* heading, as the published code does, they turn rest axes to bones in the world.

    A left forearm rests along -Y there.
    """
    features = humanml263_from_motion(resample(walking, 20.0))
    columns = HUMANML263.take(features, "rotations_rot6d").unflatten(-1, (21, 2, 3))
    third = torch.linalg.cross(columns[:, :, 0], columns[:, :, 1], dim=-1)
    matrices = torch.stack((columns[:, :, 0], columns[:, :, 1], third), dim=-1)
    half_yaw = torch.cat((torch.zeros(1), HUMANML263.take(features, "yaw_velocity")[:-1, 0].cumsum(0)))
    chain = matrices[:, 12] @ matrices[:, 15] @ matrices[:, 17]  # left collar, shoulder, elbow
    seen = quat_rotate(quat_about_axis(2.0 * half_yaw, "Y"), chain @ torch.tensor((0.0, -1.0, 0.0)))
    positions = positions_from_humanml(features, HUMANML263)
    bone = torch.nn.functional.normalize(positions[:, 18] - positions[:, 16], dim=-1)
    assert (seen - bone).norm(dim=-1).max() < 1e-3


def test_the_heading_that_is_left_is_small(walking: Motion) -> None:
    """Features face +Z: what the pelvis turns away from the smoothed heading of the body is not whole turns."""
    back = motion_from_humanml264(humanml264_from_motion(walking))
    ahead = quat_rotate(quat_yaw(back.local_rotations[:1, 0]), torch.tensor((0.0, 0.0, 1.0)))[0]
    assert ahead[2] > 0.9
    assert torch.isfinite(matrix_from_quat(back.local_rotations)).all()


@pytest.mark.parametrize(("layout", "forth", "back"), ALL, ids=lambda value: getattr(value, "name", ""))
def test_other_rates_widths_and_lengths_are_refused(
    layout: FeatureLayout, forth: Forth, back: Back, walking: Motion
) -> None:
    with pytest.raises(BadInputError, match="resample"):
        forth(resample(walking, 25.0))
    with pytest.raises(BadInputError, match="two frames"):
        forth(resample(walking, layout.fps).slice(0, 1))
    with pytest.raises(BadInputError, match=str(layout.width)):
        back(torch.zeros(4, 272))
