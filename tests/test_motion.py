"""What can be done to a motion keeps what it should keep."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.motion import (
    Motion,
    concatenate,
    face_forward,
    foot_contacts,
    ground,
    in_joint_order,
    mirror,
    resample,
    turned,
)
from kinestream.rotations import quat_about_axis, quat_from_rotvec, quat_rotate, quat_yaw
from kinestream.skeleton import Skeleton, smpl22


def swaying(frames: int = 40, fps: float = 30.0) -> Motion:
    """A body that walks in an arc and sways, all joints moving smoothly."""
    t = torch.arange(frames, dtype=torch.float32)[:, None, None] / fps
    phase = torch.linspace(0, 3, 22)[None, :, None]
    rotations = quat_from_rotvec(0.3 * torch.sin(3 * t + phase + torch.tensor([0.0, 1.0, 2.0])))
    root = torch.stack((torch.sin(t[:, 0, 0]), 0.9 + 0.02 * torch.cos(5 * t[:, 0, 0]), t[:, 0, 0]), dim=-1)
    return Motion(smpl22(), rotations, root, fps, name="sway")


def test_resampling_up_and_down_comes_back() -> None:
    motion = swaying()
    back = resample(resample(motion, 120.0), 30.0)
    assert back.num_frames == motion.num_frames
    assert (back.joint_positions_m() - motion.joint_positions_m()).norm(dim=-1).max() < 1e-4


def test_resampling_keeps_duration_within_a_frame() -> None:
    motion = swaying(frames=61, fps=60.0)
    for fps in (24.0, 30.0, 50.0, 120.0):
        assert resample(motion, fps).duration_s == pytest.approx(motion.duration_s, abs=1.0 / 24 + 1.0 / 60)


def test_mirroring_twice_gives_the_motion_back_and_once_swaps_sides() -> None:
    motion = swaying()
    torch.testing.assert_close(mirror(mirror(motion)).local_rotations, motion.local_rotations)
    flipped = mirror(motion).joint_positions_m()
    left, right = (motion.skeleton.index(f"{side}_wrist") for side in ("left", "right"))
    expected = motion.joint_positions_m()[:, left] * torch.tensor([-1.0, 1.0, 1.0])
    assert (flipped[:, right] - expected).norm(dim=-1).max() < 0.03  # SMPL's rest offsets are a little asymmetric


def test_grounded_motion_touches_the_floor_and_never_goes_below() -> None:
    lowest = ground(swaying()).joint_positions_m()[..., 1].min()
    assert abs(float(lowest)) < 1e-6


def test_facing_forward_starts_at_the_origin_along_z_and_keeps_the_shape() -> None:
    turn = quat_about_axis(torch.tensor(2.0), "Y")
    moved = turned(swaying(), turn, torch.tensor([3.0, 0.0, -2.0]))
    a, b = face_forward(moved), face_forward(swaying())
    assert (a.joint_positions_m() - b.joint_positions_m()).norm(dim=-1).max() < 1e-5
    forward = quat_rotate(quat_yaw(a.local_rotations[0, 0]), torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(forward, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(a.root_position_m[0, [0, 2]], torch.zeros(2), atol=1e-5, rtol=0)


def test_standing_feet_are_in_contact_and_flying_ones_are_not() -> None:
    still = torch.zeros(30, 22, 4)
    still[..., 0] = 1.0
    root = torch.zeros(30, 3)
    assert bool(foot_contacts(Motion(smpl22(), still, root, 30.0)).all())
    flying = root.clone()
    flying[:, 2] = torch.arange(30) * 0.1
    assert not bool(foot_contacts(Motion(smpl22(), still, flying, 30.0)).any())


def test_parts_concatenate_to_the_whole() -> None:
    motion = swaying()
    again = concatenate([motion.slice(0, 10), motion.slice(10)])
    torch.testing.assert_close(again.local_rotations, motion.local_rotations)


@pytest.mark.parametrize("broken", ["nan", "shape", "fps", "empty"])
def test_unsound_motions_are_refused(broken: str) -> None:
    motion = swaying()
    rotations, root, fps = motion.local_rotations.clone(), motion.root_position_m.clone(), 30.0
    if broken == "nan":
        rotations[3, 4, 1] = float("nan")
    elif broken == "shape":
        rotations = rotations[:, :21]
    elif broken == "fps":
        fps = 0.0
    else:
        rotations, root = rotations[:0], root[:0]
    with pytest.raises(BadInputError):
        Motion(smpl22(), rotations, root, fps)


def test_joints_in_another_order_are_put_in_order_and_other_bodies_are_not() -> None:
    motion = swaying()
    names = motion.skeleton.joint_names
    order = [0, 3, 1, 2, *range(4, 22)]  # the spine before the hips
    shuffled = Skeleton(
        "shuffled",
        tuple(names[i] for i in order),
        tuple(-1 if motion.skeleton.parents[i] < 0 else order.index(motion.skeleton.parents[i]) for i in order),
        motion.skeleton.offsets_m[order],
    )
    other = Motion(shuffled, motion.local_rotations[:, order], motion.root_position_m, 30.0)
    back = in_joint_order(other, smpl22())
    assert back is not None
    torch.testing.assert_close(back.joint_positions_m(), motion.joint_positions_m())
    taller = Skeleton("taller", names, motion.skeleton.parents, motion.skeleton.offsets_m * 1.1)
    assert in_joint_order(motion, taller) is None
