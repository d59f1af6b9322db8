"""MotionStreamer's 272 values a frame, and the way back (section 3.1, equation 1).

Heading: the rotation about +Y that turns +Z to where the pelvis' +Z points, seen from above. All local quantities are
turned by its inverse. Columns (see MOTION272): the root's step on the ground (x, z) in the *previous* frame's heading;
the change h_t h_(t-1)^-1 of the inverse heading h as two matrix rows; joint positions with the root's x and z removed
(y is the height above the floor); their per-frame differences; local rotations as two matrix rows, the pelvis without
its heading. The first frame's velocities are zero and its heading change is the identity.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features.layout import MOTION272
from kinestream.motion import Motion
from kinestream.rotations import (
    matrix_from_quat,
    matrix_from_rot6d_rows,
    quat_between,
    quat_conjugate,
    quat_from_matrix,
    quat_multiply,
    quat_normalize,
    quat_rotate,
    quat_yaw,
    rot6d_from_matrix_rows,
)
from kinestream.skeleton import smpl22

_JOINTS = MOTION272.num_joints


def features_from_pose(
    positions_m: Float[Tensor, "t 22 3"], local_rotations: Float[Tensor, "t 22 4"]
) -> Float[Tensor, "t 272"]:
    """Features of joint positions (floor at y = 0, any body shape) and SMPL-22 local rotations, at 30 fps."""
    to_heading = quat_conjugate(quat_yaw(quat_normalize(local_rotations[:, 0])))
    step = torch.zeros_like(positions_m[:, 0])
    step[1:] = quat_rotate(to_heading[:-1], positions_m[1:, 0] - positions_m[:-1, 0])
    change = torch.zeros_like(to_heading)
    change[:, 0] = 1.0
    change[1:] = quat_multiply(to_heading[1:], quat_conjugate(to_heading[:-1]))
    centred = positions_m.clone()
    centred[..., 0] -= positions_m[:, :1, 0]
    centred[..., 2] -= positions_m[:, :1, 2]
    local = quat_rotate(to_heading[:, None], centred)
    velocity = torch.zeros_like(local)
    velocity[1:] = local[1:] - local[:-1]
    rotations = local_rotations.clone()
    rotations[:, 0] = quat_multiply(to_heading, local_rotations[:, 0])
    return torch.cat(
        (
            step[:, [0, 2]],
            rot6d_from_matrix_rows(matrix_from_quat(change)),
            local.flatten(1),
            velocity.flatten(1),
            rot6d_from_matrix_rows(matrix_from_quat(rotations)).flatten(1),
        ),
        dim=1,
    )


def motion272_from_motion(motion: Motion) -> Float[Tensor, "t 272"]:
    """Features of an SMPL-22 motion at 30 fps whose floor is y = 0 (use `ground` first where it is not).

    BadInputError for another skeleton or rate.
    """
    if motion.skeleton.joint_names != smpl22().joint_names:
        raise BadInputError(f"motion272 needs the smpl22 skeleton, got {motion.skeleton.name!r}: retarget first")
    if abs(motion.fps - MOTION272.fps) > 1e-3:
        raise BadInputError(f"motion272 needs {MOTION272.fps:g} fps, got {motion.fps:g}: resample first")
    return features_from_pose(motion.joint_positions_m(), motion.local_rotations)


class RootState(NamedTuple):
    """Where a stream's root is: ground position [..., 3] (y = 0) and heading [..., 4], a quaternion about +Y."""

    position_m: Tensor
    heading: Tensor


class RootIntegrator:
    """Turns the features' velocities into a path, chunk by chunk; the state is passed in and out.

    Predicted heading changes are not quite rotations about Y. By default only their turn about Y counts, so that a long
    stream stays upright; `upright=False` accumulates them as they are, as the authors' code does.
    """

    def __init__(self, *, upright: bool = True) -> None:
        self._upright = upright

    def init_state(self, *batch: int, device: torch.device | str = "cpu") -> RootState:
        """At the origin, facing +Z; fp32 as all integration."""
        heading = torch.zeros(*batch, 4, device=device)
        heading[..., 0] = 1.0
        return RootState(torch.zeros(*batch, 3, device=device), heading)

    def step(
        self, features: Float[Tensor, "*b t 272"], state: RootState
    ) -> tuple[Float[Tensor, "*b t 3"], Float[Tensor, "*b t 4"], RootState]:
        """Ground positions (y = 0) and headings of each frame, and the state after the last."""
        features = features.float()
        change_rows = matrix_from_rot6d_rows(MOTION272.take(features, "heading_change_rot6d"))
        change = quat_conjugate(quat_from_matrix(change_rows))
        if self._upright:
            change = quat_yaw(change)
        velocity = MOTION272.take(features, "root_velocity")
        step = torch.stack((velocity[..., 0], torch.zeros_like(velocity[..., 0]), velocity[..., 1]), dim=-1)
        ground = torch.tensor((1.0, 0.0, 1.0), device=features.device)
        position, heading = state
        positions, headings = [], []
        for t in range(features.shape[-2]):
            position = position + quat_rotate(heading, step[..., t, :]) * ground
            heading = quat_normalize(quat_multiply(heading, change[..., t, :]))
            positions.append(position)
            headings.append(heading)
        return torch.stack(positions, dim=-2), torch.stack(headings, dim=-2), RootState(position, heading)


def pose_from_features(
    features: Float[Tensor, "*b t 272"], root_m: Float[Tensor, "*b t 3"], heading: Float[Tensor, "*b t 4"]
) -> tuple[Float[Tensor, "*b t 22 4"], Float[Tensor, "*b t 3"]]:
    """Local rotations and root positions (recovery from rotations) for an integrated path."""
    rows = MOTION272.take(features.float(), "rotations_rot6d").unflatten(-1, (_JOINTS, 6))
    rotations = quat_from_matrix(matrix_from_rot6d_rows(rows))
    rotations[..., 0, :] = quat_multiply(heading, rotations[..., 0, :])
    height = MOTION272.take(features.float(), "positions")[..., 1]
    return rotations, torch.stack((root_m[..., 0], height, root_m[..., 2]), dim=-1)


def positions_from_motion272(features: Float[Tensor, "t 272"], *, upright: bool = True) -> Float[Tensor, "t 22 3"]:
    """World joint positions from the position columns (recovery from positions; keeps the recorded body's shape)."""
    MOTION272.check(features)
    integrator = RootIntegrator(upright=upright)
    root, heading, _ = integrator.step(features, integrator.init_state(device=features.device))
    local = MOTION272.take(features.float(), "positions").unflatten(-1, (_JOINTS, 3))
    return quat_rotate(heading[:, None], local) + root[:, None]


def motion_from_motion272(
    features: Float[Tensor, "t 272"],
    source: Literal["rotations", "positions"] = "rotations",
    name: str = "",
    *,
    upright: bool = True,
) -> Motion:
    """An SMPL-22 motion at 30 fps that starts at the origin facing +Z.

    `source="rotations"` uses the rotation columns as they are; "positions" aims every bone of the rotation columns at
    the position columns (least twist), for features whose positions are the better ones.
    """
    MOTION272.check(features)
    integrator = RootIntegrator(upright=upright)
    root, heading, _ = integrator.step(features, integrator.init_state(device=features.device))
    rotations, root_position = pose_from_features(features, root, heading)
    motion = Motion(smpl22(), rotations, root_position, MOTION272.fps, name=name)
    return motion if source == "rotations" else _aimed_at(motion, positions_from_motion272(features, upright=upright))


def _aimed_at(motion: Motion, target_m: Float[Tensor, "t 22 3"]) -> Motion:
    """Swing each joint with a single continuing bone so that the bone points as in `target_m`; root first."""
    skeleton = motion.skeleton
    local = motion.local_rotations.clone()
    world = torch.empty_like(local)
    for joint in range(skeleton.num_joints):
        parent = skeleton.parents[joint]
        world[:, joint] = local[:, joint] if parent < 0 else quat_multiply(world[:, parent], local[:, joint])
        children = skeleton.children(joint)
        if len(children) != 1:
            continue
        bone = quat_rotate(world[:, joint], skeleton.offsets_m[children[0]].to(local))
        swing = quat_between(bone, target_m[:, children[0]] - target_m[:, joint])
        world[:, joint] = quat_multiply(swing, world[:, joint])
        local[:, joint] = (
            world[:, joint] if parent < 0 else quat_multiply(quat_conjugate(world[:, parent]), world[:, joint])
        )
    return Motion(skeleton, quat_normalize(local), target_m[:, 0].clone(), motion.fps, name=motion.name)
