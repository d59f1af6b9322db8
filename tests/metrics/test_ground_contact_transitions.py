"""Floor, contact and transitions against cases solved by hand; what does not fit is one clear error."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.metrics import (
    floating_share,
    floor_clearance_m,
    floor_penetration_m,
    foot_skating_ratio,
    jerk_mps3,
    jitter_mps3,
    joints_and_rate,
    mean_transition_jerk,
    mpjpe_mm,
    peak_jerk_mps3,
    penetration_share,
    physical_foot_contact,
    transition_curve,
    transition_jerk,
)
from kinestream.motion import Motion, resample
from kinestream.skeleton import smpl22


def standing(frames: int) -> torch.Tensor:
    joints = torch.ones(frames, 22, 3)
    joints[:, [7, 8, 10, 11], 1] = 0.03
    return joints


def test_lowest_joints_below_and_above_the_floor() -> None:
    joints = standing(4)
    joints[1, 3, 1], joints[2, :, 1] = -0.03, 0.4
    assert floor_penetration_m(joints).tolist() == pytest.approx([0.0, 0.03, 0.0, 0.0])
    assert floor_clearance_m(joints).tolist() == pytest.approx([0.03, 0.0, 0.4, 0.03])
    assert float(penetration_share(joints)) == float(floating_share(joints)) == 0.25


def walking_on_ice(fps: float) -> torch.Tensor:
    """The root speeds up evenly; left foot 3 m/s, right foot 6 m/s sideways, the ankles faster."""
    t = torch.arange(6, dtype=torch.float64) / fps
    joints = standing(6).double()
    joints[:, 0, 2] = 2.0 * t.square()
    for joint, speed in ((7, 4.0), (10, 3.0), (8, 7.0), (11, 6.0)):
        joints[:, joint, 0] = speed * t
    return joints


def test_contact_score_is_the_product_of_the_slower_ends_steps_at_any_rate() -> None:
    assert float(physical_foot_contact(walking_on_ice(30.0), 30.0)) == pytest.approx(10_000 * 0.1 * 0.2)
    assert float(physical_foot_contact(walking_on_ice(60.0), 60.0)) == pytest.approx(10_000 * 0.1 * 0.2)


def test_contact_score_asks_for_no_foot_while_falling_or_at_rest() -> None:
    falling = walking_on_ice(30.0)
    falling[:, 0, 2] = 0.0
    falling[:, 0, 1] = -5.0 * (torch.arange(6) / 30.0).square()
    assert float(physical_foot_contact(falling, 30.0)) == 0.0
    one_foot_stands = walking_on_ice(30.0)
    one_foot_stands[:, 7, 0] = 0.0
    assert float(physical_foot_contact(one_foot_stands, 30.0)) == 0.0


def test_a_step_of_one_joint_has_the_jerk_of_its_third_differences() -> None:
    joints = standing(40).double()
    joints[20:, 5, 0] += 0.1
    # Third differences of a step: 1, -2, 1.
    found = transition_jerk(joints, 20, 30.0)
    assert float(found.peak) == pytest.approx(0.2 * 30**3)
    assert float(found.area) == pytest.approx(0.4 * 30**2)
    curve = transition_curve(joints, 20, 30.0)
    assert len(curve) == 27
    over = transition_jerk(joints, 20, 30.0, baseline_mps3=10.0)
    assert float(over.area) == pytest.approx(0.4 * 30**2 + (24 - 3) * 10.0 / 30)
    both = mean_transition_jerk(torch.stack([curve, torch.zeros_like(curve)]), 0.0, 30.0)
    assert float(both.peak) == pytest.approx(0.1 * 30**3)
    assert float(both.area) == pytest.approx(0.2 * 30**2)


def test_published_peak_jerk_and_auj_add_the_coordinates_up() -> None:
    joints = standing(40).double()
    joints[20:, 5] += torch.tensor([0.1, 0.0, -0.2])
    joints[20:, 8] += torch.tensor([0.0, 0.25, 0.0])  # longer than joint 5 by Euclid, shorter by its coordinates' sum
    other = standing(40).double()
    # By frame joint 5 has 0.3, 0.6, 0.3 where it jumps, the other switch has nothing: 0.15, 0.3, 0.15 in the mean.
    curves = torch.stack([transition_curve(one, 20, 30.0, compat=True) for one in (joints, other)])
    real = 0.02
    peak, area = mean_transition_jerk(curves, real * 30**3, 30.0).per_frame(30.0)
    assert float(peak) == pytest.approx(0.3)
    assert float(area) == pytest.approx(0.13 + 0.28 + 0.13 + 24 * real)
    assert float(peak_jerk_mps3(joints, 30.0, compat=True)) == pytest.approx(0.6 * 30**3)
    assert float(peak_jerk_mps3(joints, 30.0)) == pytest.approx(0.5 * 30**3)


def test_many_clips_at_once_are_each_clip_alone() -> None:
    clips = torch.rand(5, 12, 22, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    other = clips.flip(0)
    for together, alone in (
        (mpjpe_mm(clips, other), lambda k: mpjpe_mm(clips[k], other[k])),
        (foot_skating_ratio(clips[..., [10, 11], :], 30.0), lambda k: foot_skating_ratio(clips[k][:, [10, 11]], 30.0)),
        (jitter_mps3(clips, 30.0), lambda k: jitter_mps3(clips[k], 30.0)),
        (peak_jerk_mps3(clips, 30.0), lambda k: peak_jerk_mps3(clips[k], 30.0)),
        (physical_foot_contact(clips, 30.0), lambda k: physical_foot_contact(clips[k], 30.0)),
        (floating_share(clips), lambda k: floating_share(clips[k])),
        (floor_penetration_m(clips - 0.1), lambda k: floor_penetration_m(clips[k] - 0.1)),
    ):
        torch.testing.assert_close(together, torch.stack([alone(k) for k in range(5)]))


def test_what_does_not_fit_is_one_clear_error() -> None:
    joints = standing(40)
    broken = joints.clone()
    broken[3, 4, 1] = torch.nan
    for call, says in (
        (lambda: jitter_mps3(broken, 30.0), "1 NaN or infinite of 2640"),
        (lambda: jitter_mps3(joints, 0.0), "positive frame rate, got 0"),
        (lambda: jitter_mps3(joints[..., :2], 30.0), "in metres"),
        (lambda: jerk_mps3(joints[:3], 30.0), "at least 4 frames, got 3"),
        (lambda: foot_skating_ratio(joints, float("nan")), "positive frame rate"),
        (
            lambda: physical_foot_contact(joints[:, :10], 30.0),
            "at least 12 joints in the order of the SMPL-22 skeleton",
        ),
        (lambda: physical_foot_contact(joints[:2], 30.0), "at least 3 frames"),
        (lambda: mpjpe_mm(joints, joints[:, :20]), "equal shapes"),
        (lambda: transition_jerk(joints, 10, 30.0), "30 frames around the switch, got frame 10"),
        (lambda: transition_jerk(joints[None], 20, 30.0), "one clip"),
        (lambda: floor_penetration_m(joints[:0]), "at least 1 frames"),
        (lambda: joints_and_rate([]), "at least one motion"),
    ):
        with pytest.raises(BadInputError, match=says):
            call()


def test_motions_at_two_rates_or_on_two_skeletons_do_not_mix() -> None:
    rotations = torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(10, 22, 4)
    motion = Motion(smpl22(), rotations, torch.zeros(10, 3), 30.0, name="walk")
    joints, fps = joints_and_rate([motion, motion])
    assert fps == 30.0
    assert [one.shape for one in joints] == [(10, 22, 3)] * 2
    with pytest.raises(BadInputError, match="'walk' has 30 frames per second, 'walk' 60; resample"):
        joints_and_rate([motion, resample(motion, 60.0)])
    smaller = smpl22()
    smaller = type(smaller)("smaller", smaller.joint_names[:20], smaller.parents[:20], smaller.offsets_m[:20])
    other = Motion(smaller, rotations[:, :20], torch.zeros(10, 3), 30.0)
    with pytest.raises(BadInputError, match="retarget"):
        joints_and_rate([motion, other])
