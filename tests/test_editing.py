"""Cuts, speeds, loops and joins: what they keep and what they close."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.editing import between, in_place, joined, looped, mirrored, retimed
from kinestream.errors import BadInputError
from kinestream.motion import Motion, mirror, turned
from kinestream.rotations import (
    quat_about_axis,
    quat_angle_rad,
    quat_conjugate,
    quat_from_rotvec,
    quat_multiply,
    quat_rotate,
    quat_yaw,
)
from kinestream.skeleton import smpl22


def walking(seconds: float, fps: float, period_s: float, speed_mps: float, turn_rad_s: float, seed: int = 0) -> Motion:
    """A body whose joints swing with one period (and a little with another), on an arc."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(int(seconds * fps), dtype=torch.float64) / fps
    phase, size = torch.rand(2, 22, 3, generator=generator, dtype=torch.float64)
    drift = 0.05 * torch.sin(0.7 * t)[:, None, None]
    swing = 0.4 * size * torch.sin(2 * math.pi * (t[:, None, None] / period_s + phase)) + drift * phase
    rotations = quat_from_rotvec(swing)
    heading = quat_about_axis(turn_rad_s * t, "Y")
    rotations[:, 0] = quat_multiply(heading, rotations[:, 0])
    ahead = torch.tensor([0.0, 0.0, speed_mps / fps], dtype=torch.float64).expand(len(t), 3)
    root = torch.cumsum(quat_rotate(heading, ahead), dim=0)
    root[:, 1] = 0.9 + 0.03 * torch.sin(4 * math.pi * t / period_s)
    return Motion(smpl22(), rotations.float(), root.float(), fps, name="walk")


def played_twice(motion: Motion) -> Motion:
    """The cycle, and once more from where it ended; the closing frame stands once."""
    turn = quat_multiply(
        quat_yaw(motion.local_rotations[-1, 0]), quat_conjugate(quat_yaw(motion.local_rotations[0, 0]))
    )
    flat = torch.tensor([1.0, 0.0, 1.0])
    again = turned(motion, turn, (motion.root_position_m[-1] - quat_rotate(turn, motion.root_position_m[0])) * flat)
    return replace(
        motion,
        local_rotations=torch.cat((motion.local_rotations[:-1], again.local_rotations)),
        root_position_m=torch.cat((motion.root_position_m[:-1], again.root_position_m)),
    )


@settings(max_examples=10, deadline=None)
@given(
    period_s=st.floats(0.7, 1.4),
    speed_mps=st.floats(0.0, 1.5),
    turn_rad_s=st.floats(-0.5, 0.5),
    fps=st.sampled_from([24.0, 30.0, 60.0]),
    travels=st.sampled_from([None, True, False]),
    seed=st.integers(0, 1000),
)
def test_a_loop_closes_in_pose_and_velocity(
    period_s: float, speed_mps: float, turn_rad_s: float, fps: float, travels: bool | None, seed: int
) -> None:
    motion = walking(4.0, fps, period_s, speed_mps, turn_rad_s, seed)
    loop = looped(in_place(motion) if travels is False else motion, travels=travels)
    cycle = loop.motion
    assert cycle.num_frames == loop.stop - loop.start + 1
    if not loop.travels:
        torch.testing.assert_close(cycle.root_position_m[-1], cycle.root_position_m[0], atol=1e-5, rtol=0)
        assert float(quat_angle_rad(cycle.local_rotations[-1], cycle.local_rotations[0]).max()) < 1e-3
    twice = played_twice(cycle)
    seam = cycle.num_frames - 1
    positions = twice.joint_positions_m().double()
    bend = positions.diff(n=2, dim=0).norm(dim=-1)
    # Around the seam no joint is thrown more than anywhere else in the cycle.
    at_seam, elsewhere = bend[seam - 2 : seam + 1].max(), torch.cat((bend[: seam - 2], bend[seam + 1 :])).max()
    assert float(at_seam) < 1.5 * float(elsewhere) + 5e-4


def test_a_loop_of_a_walk_is_cut_at_whole_steps() -> None:
    loop = looped(walking(4.0, 30.0, 1.0, 1.2, 0.0))
    assert loop.travels
    assert (loop.stop - loop.start) % 30 in (0, 1, 29)
    assert loop.seam_m < 0.03


def test_a_standing_cycle_is_closed_on_the_spot_and_a_short_one_is_refused() -> None:
    assert not looped(walking(4.0, 30.0, 1.0, 0.0, 0.0)).travels
    with pytest.raises(BadInputError, match="longer piece"):
        looped(walking(0.2, 30.0, 1.0, 0.0, 0.0))


def test_in_place_takes_the_way_out_and_keeps_height_and_limbs() -> None:
    motion = walking(4.0, 30.0, 1.0, 1.2, 0.0)
    still = in_place(motion)
    reach = still.root_position_m[:, [0, 2]] - motion.root_position_m[0, [0, 2]]
    assert float(reach.norm(dim=-1).max()) < 0.02
    assert torch.equal(still.root_position_m[:, 1], motion.root_position_m[:, 1])
    assert torch.equal(still.local_rotations, motion.local_rotations)
    assert in_place(motion.slice(0, 1)).num_frames == 1


def test_twice_as_fast_takes_half_as_long_and_ends_at_the_end() -> None:
    motion = walking(4.0, 30.0, 1.0, 1.2, 0.0).slice(0, 101)
    fast = retimed(motion, 2.0)
    assert fast.num_frames == 51
    torch.testing.assert_close(fast.root_position_m[-1], motion.root_position_m[-1])
    with pytest.raises(BadInputError, match="above 0"):
        retimed(motion, 0.0)


def test_between_cuts_at_seconds_and_refuses_nothing() -> None:
    motion = walking(4.0, 30.0, 1.0, 1.2, 0.0)
    piece = between(motion, 1.0, 2.0)
    assert torch.equal(piece.root_position_m, motion.root_position_m[30:60])
    for start, end in ((4.0, None), (2.0, 1.0), (-1.0, None)):
        with pytest.raises(BadInputError, match="no frame"):
            between(motion, start, end)


@settings(max_examples=10, deadline=None)
@given(blend_s=st.floats(0.0, 1.0), turn=st.floats(-3.0, 3.0), seed=st.integers(0, 1000))
def test_joined_motions_go_on_where_the_one_before_is_headed(blend_s: float, turn: float, seed: int) -> None:
    first = walking(3.0, 30.0, 1.0, 1.2, 0.3)
    away = turned(first, quat_about_axis(torch.tensor(turn), "Y"), torch.tensor([5.0, 0.0, -7.0]))
    whole = joined([first, away], blend_s)
    assert whole.num_frames == 180 - round(blend_s * 30)
    step = whole.root_position_m[:, [0, 2]].diff(dim=0).norm(dim=-1) * 30
    assert float(step.max()) < 1.5
    assert float(step[:-1].min()) > (0.5 if blend_s > 0.1 else -1)


def test_what_cannot_be_joined_is_refused() -> None:
    motion = walking(1.0, 30.0, 1.0, 1.2, 0.0)
    with pytest.raises(BadInputError, match="too short"):
        joined([motion, motion, motion], 0.6)
    with pytest.raises(BadInputError, match="at least one"):
        joined([])
    assert joined([motion], 5.0).num_frames == 30


def test_a_rig_with_names_of_its_own_is_mirrored_by_its_rest_pose() -> None:
    motion = walking(1.0, 30.0, 1.0, 1.2, 0.5)
    own = replace(motion.skeleton, joint_names=tuple(f"bone{i}" for i in range(22)), end_sites={})
    named = mirror(motion)
    found = mirrored(replace(motion, skeleton=own))
    assert torch.equal(found.local_rotations, named.local_rotations)
    assert torch.equal(found.root_position_m, named.root_position_m)
    offsets = own.offsets_m.clone()
    offsets[motion.skeleton.index("left_knee")] += torch.tensor([0.3, 0.0, 0.0])
    with pytest.raises(BadInputError, match="no partner"):
        mirrored(replace(motion, skeleton=replace(own, offsets_m=offsets)))
