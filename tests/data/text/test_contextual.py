"""Joined clips: the history stays as it is, nothing jumps at the seam, planted feet stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinestream.data.text.contextual import FRAMES_A_LATENT, find_cut, join
from kinestream.data.text.footwork import planted
from kinestream.errors import BadInputError
from kinestream.features import motion272_from_motion
from kinestream.motion import Motion, ground
from kinestream.rotations import quat_about_axis
from kinestream.skeleton import smpl22


def standing(frames: int, *, arm: float = 0.0, turn: float = 0.0, spread: float = 0.0) -> Motion:
    """SMPL-22 standing; one arm lowered by `arm`, the whole turned, the left leg spread (radians)."""
    rotations = torch.zeros(frames, 22, 4)
    rotations[..., 0] = 1.0
    sway = 0.05 * torch.sin(torch.arange(frames) / 8.0)
    rotations[:, 16] = quat_about_axis(-arm + sway, "Z")
    rotations[:, 0] = quat_about_axis(torch.full((frames,), turn), "Y")
    rotations[:, 1] = quat_about_axis(torch.full((frames,), spread), "Z")
    return ground(Motion(smpl22(), rotations, torch.zeros(frames, 3), 30.0))


def walking(frames: int, speed: float = 1.2) -> Motion:
    """Sliding forward: what matters here is the root's speed."""
    motion = standing(frames)
    root = motion.root_position_m.clone()
    root[:, 2] += torch.arange(frames) * speed / 30.0
    return replace(motion, root_position_m=root)


def test_the_first_clip_stays_as_it_is_and_the_second_arrives_at_its_own_pose() -> None:
    first, second = standing(40), standing(60, arm=1.2)
    joined = join(first, second, 5)
    assert joined.num_frames == 40 + 55
    assert torch.equal(joined.root_position_m[:40], first.root_position_m)
    assert torch.equal(joined.local_rotations[:40].abs(), first.local_rotations.abs())
    assert torch.allclose(joined.local_rotations[-1, 16].abs(), second.local_rotations[-1, 16].abs(), atol=1e-5)


def test_pose_and_velocity_do_not_jump_at_the_seam() -> None:
    joined = join(standing(40, turn=2.0), walking(60), 4)
    positions = joined.joint_positions_m()
    steps = positions.diff(dim=0).norm(dim=-1) * 30.0
    assert float(steps[38:46].max()) < 2.0
    assert float(steps.diff(dim=0)[36:48].abs().max()) < 0.7


def test_the_second_clip_goes_on_in_the_firsts_heading() -> None:
    joined = join(standing(40, turn=torch.pi / 2), walking(90), 4)
    way = joined.root_position_m[-1] - joined.root_position_m[39]
    assert float(way[0]) > 2.0
    assert abs(float(way[2])) < 0.2


def test_a_foot_that_stands_elsewhere_afterwards_takes_a_step_instead_of_sliding() -> None:
    joined = join(standing(40), standing(80, spread=0.25), 4)
    ankle = joined.joint_positions_m()[:, 7]
    speed = ankle.diff(dim=0)[:, [0, 2]].norm(dim=-1) * 30.0
    moving = speed > 0.3
    assert bool(moving.any())
    height = ankle[1:, 1] - ankle[-1, 1]
    assert float(height[moving].max()) > 0.02
    # The other foot stands all the time.
    other = joined.joint_positions_m()[:, 8]
    assert float((other[40:] - other[39]).norm(dim=-1).max()) < 0.05


def test_standing_feet_are_planted_and_sliding_ones_are_not() -> None:
    assert bool(planted(standing(30)).all())
    assert not bool(planted(walking(30, speed=2.0)).any())


def test_the_cut_is_on_the_latent_grid_where_the_bodies_are_alike() -> None:
    features = motion272_from_motion(standing(80))
    arm = standing(80).local_rotations.clone()
    arm[60:, 16] = quat_about_axis(torch.full((20,), -1.2), "Z")
    first = motion272_from_motion(replace(standing(80), local_rotations=arm))
    end, start, cost = find_cut(first, features, earliest=30, latest_start=10)
    assert end % FRAMES_A_LATENT == 0
    assert 30 <= end <= 60
    assert 2 <= start <= 10
    assert cost < 0.05


def test_too_short_clips_are_refused() -> None:
    with pytest.raises(BadInputError, match="cannot join"):
        join(standing(10), standing(10), 1)
    with pytest.raises(BadInputError, match="too short"):
        find_cut(motion272_from_motion(standing(10)), motion272_from_motion(standing(3)), earliest=4, latest_start=2)
