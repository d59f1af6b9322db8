"""A dance over a level floor: standing feet stand on y = 0, and feet that brush over it do not go through.

For SMPL-22 motions whose floor drifts by centimetres. Standing feet say where the floor is; legs follow by two-bone
inverse kinematics, and toes bend where the floor bends them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.dance.standing_root import filled
from kinestream.motion import Motion
from kinestream.rotations import (
    matrix_from_quat,
    quat_about_axis,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
)
from kinestream.skeleton.foot_placement import shift_ankles
from kinestream.skeleton.position_ik import level_floor, smoothed

SIDES = ("left", "right")
# The heel is behind the ankle and the tip ahead of the toe joint by this much, both at the toe joint's height.
_HEEL_BACK_M, _TIP_AHEAD_M = 0.045, 0.05
# Points that move slower than this stand, when they are not higher than this above the lowest around them.
_STANDS_MPS = 0.2
_STANDS_BELOW_M = 0.07
_FLOOR_SMOOTHING_S = 0.2
# Toes bend by so much at most.
_TOE_BEND_RAD = 1.1


def on_level_floor(motion: Motion) -> Motion:
    """The SMPL-22 motion with its standing feet on y = 0."""
    if motion.num_frames < 3:
        return motion
    index = motion.skeleton.index
    lowest = motion.joint_positions_m()[:, [index(f"{side}_foot") for side in SIDES], 1].amin(dim=1)
    motion = _lowered(motion, level_floor(lowest.double(), motion.fps).float())
    soles = _soles_m(motion)
    speed = torch.gradient(soles, dim=0)[0].norm(dim=-1) * motion.fps
    height = soles[..., 1]
    stands = (speed < _STANDS_MPS) & (height < _STANDS_BELOW_M)
    floor = torch.where(stands, height, torch.full_like(height, torch.inf)).amin(dim=1)
    known = stands.any(dim=1)
    floor = torch.where(known, floor, torch.zeros_like(floor))[:, None]
    return _feet_above(_lowered(motion, smoothed(filled(floor, known), _FLOOR_SMOOTHING_S * motion.fps)[:, 0]))


def _lowered(motion: Motion, by_m: Float[Tensor, " t"]) -> Motion:
    root = motion.root_position_m.clone()
    root[:, 1] -= by_m
    return replace(motion, root_position_m=root)


def _soles_m(motion: Motion) -> Float[Tensor, "t 4 3"]:
    """Left heel, left ball, right heel, right ball."""
    positions, world = motion.joint_positions_m(), motion.world_rotations()
    points = []
    for side in SIDES:
        ankle, foot = motion.skeleton.index(f"{side}_ankle"), motion.skeleton.index(f"{side}_foot")
        heel = torch.tensor((0.0, float(motion.skeleton.offsets_m[foot, 1]), -_HEEL_BACK_M))
        points += [
            positions[:, ankle] + quat_rotate(world[:, ankle], heel.expand(len(world), 3)),
            positions[:, foot],
        ]
    return torch.stack(points, dim=1)


def _feet_above(motion: Motion) -> Motion:
    """Feet lifted where they would sink, and toes bent up where their tips would."""
    skeleton, soles = motion.skeleton, _soles_m(motion)
    positions, world = motion.joint_positions_m(), motion.world_rotations().clone()
    joints = [[skeleton.index(f"{side}_{part}") for side in SIDES] for part in ("hip", "knee", "ankle", "foot")]
    hips, knees, ankles, feet = joints
    lift = (-soles[..., 1].unflatten(1, (2, 2)).amin(dim=-1)).clamp_min(0.0)
    shift = torch.zeros_like(positions[:, ankles])
    shift[..., 1] = lift
    ahead = quat_rotate(world[:, hips], torch.tensor((0.0, 0.0, 1.0)).expand_as(shift))
    upper, lower = positions[:, knees] - positions[:, hips], positions[:, ankles] - positions[:, knees]
    world[:, hips], world[:, knees] = shift_ankles(world[:, hips], world[:, knees], upper, lower, shift, ahead)
    ball = positions[:, feet, 1] + lift
    slope = torch.asin(matrix_from_quat(world[:, feet])[..., 1, 2].clamp(-1.0, 1.0))
    steepest = -torch.asin((ball / _TIP_AHEAD_M).clamp(0.0, 1.0))
    bend = (steepest - slope).clamp(0.0, _TOE_BEND_RAD)
    world[:, feet] = quat_multiply(world[:, feet], quat_about_axis(-bend, "X"))
    rotations = motion.local_rotations.clone()
    for joint in (*hips, *knees, *ankles, *feet):
        above = world[:, skeleton.parents[joint]]
        rotations[:, joint] = quat_multiply(quat_conjugate(above), world[:, joint])
    return replace(motion, local_rotations=rotations)
