"""Foot locking: standing feet hold still on the floor, legs keep their length, and streams stay what streams are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import motion272_from_motion
from kinestream.metrics import floor_penetration_m, foot_skating_ratio, jitter_mps3, peak_jerk_mps3
from kinestream.motion import Motion
from kinestream.rotations import quat_about_axis
from kinestream.skeleton import forward_kinematics, smpl22
from kinestream.streaming import Engine, Session, SessionOptions
from kinestream.streaming.footlock import FLOOR_TOLERANCE_M, FootLock, FootLockState, Pose
from kinestream.streaming.frames import initial_feet, initial_root, locked_chunk, motion_chunk
from kinestream.streaming.stance import DRAWN_M, SOLE_M, Carriage, Leg, begin_foot, carried, followed

MakeEngine = Callable[..., Engine]
FPS = 30.0
JOINTS = {name: k for k, name in enumerate(smpl22().joint_names)}
TOES = [JOINTS["left_foot"], JOINTS["right_foot"]]


def standing(frames: int, *, sink_m: float = 0.0, bend_rad: float = 0.2) -> Pose:
    """A body that stands with bent knees, its lowest toe `sink_m` under the floor."""
    rotations = torch.zeros(1, frames, 22, 4)
    rotations[..., 0] = 1.0
    for side in ("left", "right"):
        for joint, share in (("hip", -0.5), ("knee", 1.0), ("ankle", -0.5)):
            rotations[:, :, JOINTS[f"{side}_{joint}"]] = quat_about_axis(torch.tensor(share * bend_rad), "X")
    root = torch.zeros(1, frames, 3)
    lowest = forward_kinematics(smpl22(), rotations, root)[0][..., 1].amin(dim=-1)
    root[..., 1] = -lowest - sink_m
    return Pose(rotations, root)


def walking(frames: int = 120, *, slide_mps: float = 0.0, seed: int = 0) -> Pose:
    """Legs that swing in turn under a travelling body; with `slide_mps` the feet slide. A little noise."""
    pose = standing(frames)
    rotations, root = pose.local_rotations.clone(), pose.root_position_m.clone()
    phase = 2.0 * math.pi * torch.arange(frames) / 32.0
    noise = torch.randn(2, frames, generator=torch.Generator().manual_seed(seed)) * 0.002
    for k, side in enumerate(("left", "right")):
        turn = phase + math.pi * k
        knee = 0.25 + 0.8 * torch.sin(turn).clamp(min=0.0) ** 2
        hip = -0.5 * knee - 0.35 * torch.cos(turn) + noise[k]
        rotations[0, :, JOINTS[f"{side}_hip"]] = quat_about_axis(hip, "X")
        rotations[0, :, JOINTS[f"{side}_knee"]] = quat_about_axis(knee, "X")
        rotations[0, :, JOINTS[f"{side}_ankle"]] = quat_about_axis(-0.5 * knee + 0.35 * torch.cos(turn), "X")
    positions = forward_kinematics(smpl22(), rotations, root)[0]
    low = positions[0, :, TOES, 1]
    stance = low.argmin(dim=1)
    travel = -positions[0, :, TOES, 2].diff(dim=0).gather(1, stance[1:, None])[:, 0] + slide_mps / FPS
    root[0, 1:, 2] += travel.cumsum(dim=0)
    root[0, :, 1] -= low.amin(dim=1)
    return Pose(rotations, root)


def joints(pose: Pose) -> Tensor:
    return forward_kinematics(smpl22(), *pose)[0][0]


def locked(pose: Pose, chunk: int | None = None) -> Pose:
    lock = FootLock()
    state = lock.init_state(pose.root_position_m.shape[0])
    frames = pose.root_position_m.shape[1]
    parts = []
    for start in range(0, frames, chunk or frames):
        stop = start + (chunk or frames)
        part, state = lock.step(Pose(pose.local_rotations[:, start:stop], pose.root_position_m[:, start:stop]), state)
        parts.append(part)
    return Pose(*(torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True)))


def toe_speeds(pose: Pose) -> Tensor:
    return joints(pose)[:, TOES].diff(dim=0)[..., [0, 2]].norm(dim=-1) * FPS


def test_a_body_that_stands_well_is_left_alone() -> None:
    pose = standing(30)
    assert float((joints(locked(pose)) - joints(pose)).abs().max()) < 0.003


def test_standing_feet_that_drift_hold_still() -> None:
    pose = standing(90)
    sway = 0.03 * torch.sin(torch.arange(90) / 6.0)
    pose.root_position_m[0, :, 0] += sway
    assert float(toe_speeds(pose).max()) > 0.1
    assert float(toe_speeds(locked(pose))[15:].max()) < 0.03


def test_a_body_that_sinks_stands_on_the_floor_from_the_first_frame() -> None:
    lowest = joints(locked(standing(40, sink_m=0.025)))[..., 1].amin(dim=-1)
    assert float(lowest.min()) > -0.001
    assert float(lowest.max()) < 0.002


def test_a_body_that_hovers_comes_down() -> None:
    lowest = joints(locked(standing(120, sink_m=-0.012)))[..., 1].amin(dim=-1)
    assert float(lowest[-1].abs()) < 0.003


def test_a_walk_keeps_its_shape_and_loses_its_slide() -> None:
    good, sliding = walking(), walking(slide_mps=0.25)
    assert float((joints(locked(good)) - joints(good)).norm(dim=-1).mean()) < 0.02
    shown = locked(sliding)
    low = joints(sliding)[1:, TOES, 1] < 0.01
    assert float(toe_speeds(shown)[low].median()) < 0.5 * float(toe_speeds(sliding)[low].median())
    assert float(foot_skating_ratio(joints(shown)[:, TOES], FPS)) <= float(
        foot_skating_ratio(joints(sliding)[:, TOES], FPS)
    )


@pytest.mark.parametrize("slide_mps", [0.0, 0.3, 0.6])
def test_neither_jitter_nor_peak_jerk_rises(slide_mps: float) -> None:
    before, after = (joints(pose) for pose in (walking(slide_mps=slide_mps), locked(walking(slide_mps=slide_mps))))
    assert float(jitter_mps3(after, FPS)) <= 1.02 * float(jitter_mps3(before, FPS))
    assert float(peak_jerk_mps3(after, FPS)) <= 1.1 * float(peak_jerk_mps3(before, FPS))


def test_a_planted_foot_never_sinks() -> None:
    pose = walking()
    pose.root_position_m[..., 1] -= 0.02
    assert float(floor_penetration_m(joints(locked(pose))).max()) <= -SOLE_M + 0.001


def test_a_leg_is_not_stretched() -> None:
    pose = standing(60)
    pose.root_position_m[0, :, 2] += torch.arange(60) * 0.01  # 0.3 m/s: slow enough to stand
    body = joints(locked(pose))
    hip, ankle = body[:, JOINTS["left_hip"]], body[:, JOINTS["left_ankle"]]
    given = joints(pose)
    longest = (given[:, JOINTS["left_hip"]] - given[:, JOINTS["left_ankle"]]).norm(dim=-1).max()
    length = smpl22().offsets_m[[JOINTS["left_knee"], JOINTS["left_ankle"]]].norm(dim=-1).sum()
    assert float((hip - ankle).norm(dim=-1).max()) <= max(0.991 * float(length), float(longest))


def test_a_foot_that_would_be_far_off_is_drawn_along_without_a_jump() -> None:
    leg, toe = Leg((0.0, 0.9, 0.0), (0.0, 0.05, -0.1), 0.95), (0.0, 0.0, 0.0)
    foot = begin_foot(toe, toe, 1 / FPS)
    off, moved = [], []
    for frame in range(60):
        toe = (0.0, 0.0, 0.3 * frame / FPS)
        away = leg._replace(hip=(0.0, 0.9, toe[2]), ankle=(0.0, 0.05, toe[2] - 0.1))
        before, foot = foot.shown, followed(foot, toe, away, 1 / FPS)
        off.append(toe[2] - foot.shown[2])
        moved.append(math.dist(foot.shown, before) * FPS)
    assert max(off) < DRAWN_M + 0.03
    assert max(moved) < 0.5


def test_a_body_that_was_carried_along_goes_back_when_it_walks() -> None:
    carriage, dt = Carriage((0.1, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0), 1 / FPS
    swinging = begin_foot((0.0, 0.2, 0.0), (0.0, 0.2, 0.1), dt)
    for _ in range(120):
        carriage = carried(carriage, [], [swinging, swinging], dt)
    assert abs(carriage.place[0]) < 0.01


def test_kneeling_bodies_stay_above_the_floor() -> None:
    pose = standing(30, bend_rad=2.2)
    root = pose.root_position_m - torch.tensor([0.0, 0.03, 0.0])
    for side in ("left", "right"):
        pose.local_rotations[:, :, JOINTS[f"{side}_hip"]] = quat_about_axis(torch.tensor(-0.1), "X")
    shown = locked(Pose(pose.local_rotations, root))
    assert float(floor_penetration_m(joints(shown)).max()) <= FLOOR_TOLERANCE_M + 1e-5


def test_feet_keep_their_orientation_and_other_joints_their_rotations() -> None:
    pose = walking(slide_mps=0.4)
    shown = locked(pose)
    legs = [JOINTS[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee", "ankle")]
    rest = [joint for joint in range(22) if joint not in legs]
    assert torch.equal(shown.local_rotations[:, :, rest], pose.local_rotations[:, :, rest])
    before, after = (forward_kinematics(smpl22(), *each)[1][0, :, TOES] for each in (pose, shown))
    assert float((before - after).abs().max()) < 1e-4


def test_a_straight_leg_does_not_break() -> None:
    shown = locked(standing(20, sink_m=0.004, bend_rad=0.0))
    assert bool(torch.isfinite(shown.local_rotations).all())
    knees = shown.local_rotations[0, :, [JOINTS["left_knee"], JOINTS["right_knee"]], 1]
    assert float(knees.min()) > -0.05  # knees bend forward or not at all


@pytest.mark.parametrize("chunk", [2, 4, 7])
def test_chunks_equal_the_whole(chunk: int) -> None:
    pose = walking(60, slide_mps=0.3)
    whole, parts = locked(pose), locked(pose, chunk)
    assert torch.allclose(joints(parts), joints(whole), atol=1e-5)


def test_what_comes_later_changes_nothing_before() -> None:
    pose = walking(60)
    other = Pose(pose.local_rotations.clone(), pose.root_position_m.clone())
    other.root_position_m[:, 40:] += 0.1
    assert torch.equal(locked(pose).local_rotations[:, :40], locked(other).local_rotations[:, :40])


def test_rows_equal_singles_and_inactive_rows_stay() -> None:
    singles = [walking(24, slide_mps=0.2 * k, seed=k) for k in range(3)]
    batch = Pose(*(torch.cat(tensors) for tensors in zip(*singles, strict=True)))
    lock = FootLock()
    together, state = lock.step(batch, lock.init_state(3))
    for row, single in enumerate(singles):
        assert torch.allclose(together.local_rotations[row], locked(single).local_rotations[0], atol=1e-6)
    active = torch.tensor([True, False, True])
    again, after = lock.step(batch, state, active)
    assert torch.equal(after.feet[1], state.feet[1])
    assert not torch.equal(after.feet[0], state.feet[0])
    assert float(again.root_position_m[1].abs().max()) == 0.0


def test_without_it_streams_show_what_the_model_made(engine: Engine) -> None:
    raw, shown = (engine.session(seed=4, options=SessionOptions(foot_lock=value)) for value in (False, True))
    for session in (raw, shown):
        session.prompt("walks")
    root, feet = initial_root(), initial_feet()
    other_root = initial_root()
    for _ in range(6):
        one, two = raw.step(), shown.step()
        assert torch.equal(one.tokens, two.tokens)
        assert torch.equal(one.features, two.features)
        motion, root = motion_chunk(one.features, root)
        assert torch.equal(one.motion.root_position_m, motion.root_position_m)
        motion, other_root, feet = locked_chunk(one.features, other_root, feet)
        assert torch.equal(two.motion.local_rotations, motion.local_rotations)
        assert float(floor_penetration_m(motion.joint_positions_m()).max()) <= FLOOR_TOLERANCE_M + 1e-5
    assert raw.feet is None
    assert isinstance(shown.feet, FootLockState)


def test_rewinding_branching_and_saving_bring_the_feet_back(
    engine: Engine, make_engine: MakeEngine, tmp_path: Path
) -> None:
    session = engine.session(seed=3)
    session.prompt("walks")
    for _ in range(12):
        session.step()
    branch = session.branch(frame=20)
    session.save(tmp_path / "stream.safetensors")
    before = session.motion()
    restored = Session.restore(tmp_path / "stream.safetensors", make_engine())
    for each in (session, restored):
        each.rewind(20)
    for each in (session, restored, branch):
        while each.index < 12:
            each.step()
        assert _same(each.motion(), before)
    assert session.feet is not None
    assert restored.feet is not None
    assert torch.equal(session.feet.feet, restored.feet.feet)


def test_a_session_without_foot_lock_is_saved_so(engine: Engine, tmp_path: Path) -> None:
    session = engine.session(options=SessionOptions(foot_lock=False))
    session.step()
    session.save(tmp_path / "raw.safetensors")
    restored = Session.restore(tmp_path / "raw.safetensors", engine)
    assert restored.feet is None
    assert _same(restored.step().motion, session.step().motion)


def test_the_option_is_checked() -> None:
    with pytest.raises(BadInputError, match="foot_lock"):
        SessionOptions(foot_lock="no")  # type: ignore[arg-type]


def test_shown_frames_can_be_written_as_features() -> None:
    shown = locked(walking(16))
    motion = Motion(smpl22(), shown.local_rotations[0], shown.root_position_m[0], FPS)
    assert bool(torch.isfinite(motion272_from_motion(motion)).all())


def _same(one: Motion, other: Motion) -> bool:
    return torch.equal(one.local_rotations, other.local_rotations) and torch.equal(
        one.root_position_m, other.root_position_m
    )
