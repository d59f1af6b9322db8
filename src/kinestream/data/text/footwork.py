"""Feet in a blended transition: planted feet stay where they are, and a foot that has to move takes a step.

A blend of two clips drags standing feet over the floor. Here each foot that stands at the cut is held until the second
clip lifts it; where the second clip stands too, but elsewhere, the foot is lifted and set over. The legs follow by
two-bone inverse kinematics; everything else stays as blended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.motion import Motion
from kinestream.rotations import quat_between, quat_conjugate, quat_from_rotvec, quat_multiply, quat_rotate

LEGS = (("left_hip", "left_knee", "left_ankle", "left_foot"), ("right_hip", "right_knee", "right_ankle", "right_foot"))
PLANT_SPEED_MPS = 0.35
PLANT_HEIGHT_M = 0.05
# A foot that would stand off by less keeps its place for good instead of stepping.
KEEP_WITHIN_M = 0.04
STEP_FRAMES = 11
STEP_HEIGHT_M = 0.05
SWING_FRAMES = 10
# A leg stretched further than this share of its length lets its foot go.
STRETCH = 0.975
_LONG_STANCE = 24


def planted(motion: Motion) -> Bool[Tensor, "t 2"]:
    """Whether the left and the right foot stands: its ankle is slow and low, measured from its usual lowest height."""
    positions = motion.joint_positions_m()
    feet = []
    for _, _, ankle, toe in LEGS:
        ankle_m, toe_m = positions[:, motion.skeleton.index(ankle)], positions[:, motion.skeleton.index(toe)]
        speed = torch.gradient(ankle_m, dim=0)[0].norm(dim=-1) * motion.fps
        low = toe_m[:, 1] < toe_m[:, 1].quantile(0.05) + PLANT_HEIGHT_M
        feet.append((speed < PLANT_SPEED_MPS) & low)
    return torch.stack(feet, dim=1)


def settle_feet(joined: Motion, cut: int, stands_at_cut: list[bool], stands: Bool[Tensor, "n 2"]) -> Motion:
    """The joined motion with its feet settled after frame `cut`.

    `stands_at_cut`: whether each foot is planted in the first clip's last frame; `stands` [T - cut, 2]: whether the
    second clip plants it in its own recording, frame by frame from the cut on.
    """
    offsets = [_offset(_leg_paths(joined, leg, cut), stands_at_cut[k], stands[:, k], 0) for k, leg in enumerate(LEGS)]
    # Two feet that both have to step do it one after the other, the farther one first.
    moving = [_step_length(offset) for offset in offsets]
    if min(moving) > 0.0:
        later = int(moving[1] <= moving[0])
        paths = _leg_paths(joined, LEGS[later], cut)
        offsets[later] = _offset(paths, stands_at_cut[later], stands[:, later], STEP_FRAMES)
    for leg, offset in zip(LEGS, offsets, strict=True):
        joined = _reach(joined, leg, cut, offset)
    return joined


@dataclass(frozen=True, eq=False)
class _LegPaths:
    """Ankle and hip from one frame before the cut on, and the leg's length."""

    ankle_m: Float[Tensor, "m 3"]
    hip_m: Float[Tensor, "m 3"]
    length_m: float


def _leg_paths(motion: Motion, leg: tuple[str, str, str, str], cut: int) -> _LegPaths:
    skeleton, positions = motion.skeleton, motion.slice(cut - 1).joint_positions_m()
    hip, knee, ankle = (skeleton.index(name) for name in leg[:3])
    length = float(skeleton.offsets_m[knee].norm() + skeleton.offsets_m[ankle].norm())
    return _LegPaths(positions[:, ankle], positions[:, hip], length)


def _offset(paths: _LegPaths, stands_at_cut: bool, stands: Bool[Tensor, "n"], delay: int) -> Float[Tensor, "n 3"]:
    """How far to move one ankle in each frame after the cut."""
    count = len(stands)
    if not stands_at_cut:
        return torch.zeros(count, 3)
    to_place = paths.ankle_m[0] - paths.ankle_m[1:]
    stretched = (paths.ankle_m[1:] + to_place - paths.hip_m[1:]).norm(dim=-1) > STRETCH * paths.length_m
    lifted, strained = _first(~stands), _first(stretched)
    if lifted < min(_LONG_STANCE, count):
        return _held(to_place, min(lifted, max(strained, 1)))
    if float(to_place[min(_LONG_STANCE, count) - 1, [0, 2]].norm()) <= KEEP_WITHIN_M:
        return _held(to_place, lifted)
    return _step(to_place, start=min(2 + delay, strained))


def _step_length(offset: Float[Tensor, "n 3"]) -> float:
    """How far a foot steps on the ground; 0 for one that is only held."""
    steps = float(offset[:, 1].max()) > STEP_HEIGHT_M / 2
    return float(offset[:, [0, 2]].norm(dim=-1).max()) if steps else 0.0


def _first(flags: Bool[Tensor, "n"]) -> int:
    """Index of the first true flag; the number of flags when there is none."""
    found = torch.nonzero(flags)
    return int(found[0]) if len(found) else len(flags)


def _held(to_place: Float[Tensor, "n 3"], hold: int) -> Float[Tensor, "n 3"]:
    """Held in place, then released within a swing."""
    release = _smooth(((torch.arange(len(to_place)) - hold + 1) / SWING_FRAMES).clamp(0.0, 1.0))[:, None]
    return to_place * (1.0 - release)


def _step(to_place: Float[Tensor, "n 3"], start: int) -> Float[Tensor, "n 3"]:
    """Held in place, then lifted and set down where the second clip stands; never dragged through the floor."""
    frames = torch.arange(len(to_place))
    share = ((frames - start) / STEP_FRAMES).clamp(0.0, 1.0)
    offset = to_place * (1.0 - _smooth(share))[:, None]
    # The height goes from the old stand's to the new one's, whatever the blend does in between.
    new_stand = to_place[min(_LONG_STANCE, len(to_place)) - 1, 1]
    settled = _smooth(((frames - _LONG_STANCE) / SWING_FRAMES).clamp(0.0, 1.0))
    offset[:, 1] = (to_place[:, 1] - new_stand * _smooth(share)) * (1.0 - settled)
    offset[:, 1] += STEP_HEIGHT_M * torch.sin(torch.pi * share).square()
    return offset


def _smooth(share: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def _reach(motion: Motion, leg: tuple[str, str, str, str], cut: int, offset: Float[Tensor, "n 3"]) -> Motion:
    """Bend hip and knee so that the ankle moves by `offset` from frame `cut` on; the foot keeps its orientation."""
    if not bool(offset.any()):
        return motion
    skeleton = motion.skeleton
    hip, knee, ankle = (skeleton.index(name) for name in leg[:3])
    tail = motion.slice(cut)
    positions, world = tail.joint_positions_m(), tail.world_rotations()
    hip_m, knee_m, ankle_m = positions[:, hip], positions[:, knee], positions[:, ankle]
    upper, lower = (knee_m - hip_m).norm(dim=-1), (ankle_m - knee_m).norm(dim=-1)
    target = ankle_m + offset
    reach = (target - hip_m).norm(dim=-1)
    now = (ankle_m - hip_m).norm(dim=-1)
    # Towards a straight leg it gets harder and harder: a locked knee snaps.
    room = (0.99 * (upper + lower) - now).clamp_min(1e-4)
    reach = torch.where(reach > now, now + room * (1.0 - torch.exp(-(reach - now) / room)), reach)
    bend = _angle(upper, lower, reach) - _angle(upper, lower, now)
    # The knee bends about the thigh's x axis; the axis between the bones is no use where the leg is straight.
    along = (ankle_m - hip_m) / now.clamp_min(1e-6)[:, None]
    axis = quat_rotate(world[:, hip], torch.tensor((1.0, 0.0, 0.0)).expand_as(along))
    axis = axis - (axis * along).sum(dim=-1, keepdim=True) * along
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    fold = quat_from_rotvec(axis * -bend[:, None])
    folded = knee_m + quat_rotate(fold, ankle_m - knee_m)
    swing = quat_between(folded - hip_m, target - hip_m)
    hip_world = quat_multiply(swing, world[:, hip])
    knee_world = quat_multiply(swing, quat_multiply(fold, world[:, knee]))
    rotations = motion.local_rotations.clone()
    above = world[:, skeleton.parents[hip]]
    rotations[cut:, hip] = quat_multiply(quat_conjugate(above), hip_world)
    rotations[cut:, knee] = quat_multiply(quat_conjugate(hip_world), knee_world)
    rotations[cut:, ankle] = quat_multiply(quat_conjugate(knee_world), world[:, ankle])
    return replace(motion, local_rotations=rotations)


def _angle(upper: Tensor, lower: Tensor, reach: Tensor) -> Tensor:
    """The angle at the knee between the two bones when hip and ankle are `reach` apart."""
    cosine = (upper**2 + lower**2 - reach**2) / (2.0 * upper * lower)
    return torch.arccos(cosine.clamp(-1.0, 1.0))
