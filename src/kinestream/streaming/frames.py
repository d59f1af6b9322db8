"""Features of one latent -> the frames that leave: a motion chunk on the floor, the root and the feet carried along."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features import MOTION272, RootIntegrator, RootState
from kinestream.features.motion272 import pose_from_features
from kinestream.motion import Motion
from kinestream.skeleton import smpl22
from kinestream.streaming.footlock import FLOOR_TOLERANCE_M, FootLock, FootLockState, Pose

IDENTITY_ROT6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_integrator = RootIntegrator()
_foot_lock = FootLock()


def initial_root() -> RootState:
    """The root before the first frame: at the origin, facing +Z."""
    return _integrator.init_state()


def initial_feet() -> FootLockState:
    """The feet of one stream before the first frame."""
    return _foot_lock.init_state(1)


def damp_root(features: Float[Tensor, "t 272"], keep: Float[Tensor, " t"]) -> Float[Tensor, "t 272"]:
    """The same frames with the root's travel and turning scaled by `keep` (0 stands, 1 leaves them as they are)."""
    damped = features.clone()
    weight = keep.to(features)[:, None]
    damped[:, MOTION272.slices["root_velocity"]] *= weight
    turning = MOTION272.slices["heading_change_rot6d"]
    still = features.new_tensor(IDENTITY_ROT6D)
    damped[:, turning] = still + weight * (features[:, turning] - still)
    return damped


def motion_chunk(features: Float[Tensor, "t 272"], root: RootState) -> tuple[Motion, RootState]:
    """The frames' motion, continued from `root`, and the root after them.

    Where the lowest joint would be more than a centimetre under the floor (y = 0), the body is lifted by the excess:
    a continuous function of each frame alone, so it needs no future and adds no jump.
    """
    motion, root = _posed(features, root)
    position = motion.root_position_m
    lowest = motion.joint_positions_m()[..., 1].amin(dim=-1)
    lift = (-FLOOR_TOLERANCE_M - lowest).clamp(min=0.0)
    if bool((lift > 0).any()):
        raised = position.clone()
        raised[:, 1] += lift
        motion = replace(motion, root_position_m=raised)
    return motion, root


def locked_chunk(
    features: Float[Tensor, "t 272"], root: RootState, feet: FootLockState
) -> tuple[Motion, RootState, FootLockState]:
    """As `motion_chunk`, with the feet locked: they continue from `feet`, and what they need is given back."""
    motion, root = _posed(features, root)
    shown, feet = _foot_lock.step(Pose(motion.local_rotations[None], motion.root_position_m[None]), feet)
    locked = replace(motion, local_rotations=shown.local_rotations[0], root_position_m=shown.root_position_m[0])
    return locked, root, feet


def _posed(features: Float[Tensor, "t 272"], root: RootState) -> tuple[Motion, RootState]:
    ground, heading, root = _integrator.step(features, root)
    rotations, position = pose_from_features(features, ground, heading)
    return Motion(smpl22(), rotations, position, MOTION272.fps), root


def standing_still(features: Float[Tensor, "t 272"]) -> Float[Tensor, "t 272"]:
    """The same poses with every velocity and the turning set to none."""
    still = damp_root(features, torch.zeros(features.shape[0]))
    still[:, MOTION272.slices["velocities"]] = 0.0
    return still
