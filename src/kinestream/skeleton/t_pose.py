"""SMPL-22 movements on a humanoid in a T-pose whose joints' axes are the world's: what VRM and Unity call normalised.

SMPL's own rest pose is nearly one: its arms and legs are up to 12 degrees off the axes. Bone lengths stay, and every
limb keeps its direction, so that all joints are where they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.rotations import quat_between, quat_conjugate, quat_multiply
from kinestream.skeleton.skeleton import Skeleton, forward_kinematics, smpl22

# Which way the bone from a joint to its next one lies in the T-pose, and what moves along with it at its end.
_DOWN, _LEFT, _RIGHT = (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_STRAIGHT = {
    "left_hip": ("left_knee", _DOWN),
    "left_knee": ("left_ankle", _DOWN),
    "right_hip": ("right_knee", _DOWN),
    "right_knee": ("right_ankle", _DOWN),
    "left_shoulder": ("left_elbow", _LEFT),
    "left_elbow": ("left_wrist", _LEFT),
    "right_shoulder": ("right_elbow", _RIGHT),
    "right_elbow": ("right_wrist", _RIGHT),
}
_STRAIGHT_ENDS = {"left_wrist": "left_elbow", "right_wrist": "right_elbow"}


class TPoseFrames(NamedTuple):
    """Frames of a body, Y up, metres, quaternions wxyz: turns away from the T-pose, each relative to its parent and in
    the world, and where the joints are in the world."""

    local_rotations: Float[Tensor, "t 22 4"]
    world_rotations: Float[Tensor, "t 22 4"]
    positions_m: Float[Tensor, "t 22 3"]


@dataclass(frozen=True, eq=False)
class TPose:
    """The skeleton in its T-pose, and the way from SMPL-22's rotations to it."""

    skeleton: Skeleton
    corrections: Float[Tensor, "22 4"]

    def __call__(self, local_rotations: Float[Tensor, "t 22 4"], root_position_m: Float[Tensor, "t 3"]) -> TPoseFrames:
        """Frames of SMPL-22 rotations on this skeleton."""
        positions, world = forward_kinematics(smpl22(), local_rotations, root_position_m)
        turned = quat_multiply(world, self.corrections)
        local = turned.clone()
        joints, parents = list(range(1, self.skeleton.num_joints)), list(self.skeleton.parents[1:])
        local[:, joints] = quat_multiply(quat_conjugate(turned[:, parents]), turned[:, joints])
        return TPoseFrames(local, turned, positions)


@lru_cache(maxsize=1)
def smpl22_t_pose() -> TPose:
    """SMPL-22 in its T-pose."""
    rest = smpl22()
    offsets = rest.offsets_m.clone()
    corrections = torch.zeros(rest.num_joints, 4)
    corrections[:, 0] = 1.0
    for joint, (tip, direction) in _STRAIGHT.items():
        straight = torch.tensor(direction)
        bone = rest.offsets_m[rest.index(tip)]
        offsets[rest.index(tip)] = straight * bone.norm()
        corrections[rest.index(joint)] = quat_between(straight, bone)
    for end, joint in _STRAIGHT_ENDS.items():
        corrections[rest.index(end)] = corrections[rest.index(joint)]
    return TPose(replace(rest, name="smpl22 in a T-pose", offsets_m=offsets), corrections)
