"""Legs in the 259-value layout: which columns they are, and where rotations and velocities say that they are.

For losses and guidance: whole batches in a few tensor operations, with gradients.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.features.humanml import heading_angles
from kinestream.features.layout import HUMANML259
from kinestream.rotations import matrix_from_rot6d_rows, quat_about_axis, quat_rotate
from kinestream.skeleton import smpl22

_INDEX = smpl22().index
HIPS = tuple(_INDEX(f"{side}_hip") for side in ("left", "right"))
KNEES = tuple(_INDEX(f"{side}_knee") for side in ("left", "right"))
ANKLES = tuple(_INDEX(f"{side}_ankle") for side in ("left", "right"))
TOES = tuple(_INDEX(f"{side}_foot") for side in ("left", "right"))
LEGS = (*KNEES, *ANKLES, *TOES)
"""Knees, ankles and toes, left before right: the joints that a restoration of feet moves."""


@lru_cache(maxsize=1)
def leg_columns() -> Bool[Tensor, "259"]:
    """Which columns belong to root, knees and feet.

    The whole root slice and the root's velocity; positions and velocities of knees, ankles and toes; and the rotations
    that carry them: those of hips, knees and ankles, and the toes' own.
    """
    # On the CPU even where a network is being built without memory: it is made once and kept.
    chosen = torch.zeros(HUMANML259.width, dtype=torch.bool, device="cpu")
    slices = HUMANML259.slices
    for name in ("yaw_velocity", "root_velocity", "root_height"):
        chosen[slices[name]] = True
    for name, joints, size, first in (
        ("velocities", (0, *LEGS), 3, 0),
        ("positions", LEGS, 3, 1),
        ("rotations_rot6d", (*HIPS, *LEGS), 6, 1),
    ):
        for joint in joints:
            start = slices[name].start + (joint - first) * size
            chosen[start : start + size] = True
    return chosen


def local_positions(features: Float[Tensor, "*b t 259"]) -> Float[Tensor, "*b t 22 3"]:
    """All joints, root first, in the heading's frame above the root's ground point, metres."""
    others = HUMANML259.take(features, "positions").unflatten(-1, (-1, 3))
    height = HUMANML259.take(features, "root_height")
    root = torch.cat((torch.zeros_like(height), height, torch.zeros_like(height)), dim=-1)
    return torch.cat((root[..., None, :], others), dim=-2)


def world_steps(features: Float[Tensor, "*b t 259"]) -> Float[Tensor, "*b t 22 3"]:
    """The velocity columns turned into the world of the first frame: each joint's step to the next frame, metres."""
    heading = quat_about_axis(heading_angles(features, HUMANML259), "Y")
    return quat_rotate(heading[..., None, :], HUMANML259.take(features, "velocities").unflatten(-1, (-1, 3)))


def pelvis_orientation(features: Float[Tensor, "*b t 259"]) -> Float[Tensor, "*b t 3 3"]:
    """The pelvis' orientation in the heading's frame, from the places of both hips and the lowest spine joint.

    The layout has no rotation of the root. The three joints are rigid with it, so their directions tell it.
    """
    local = local_positions(features)
    rest = smpl22().offsets_m.to(local)
    spine = _INDEX("spine1")
    seen = _frame(local[..., HIPS[0], :] - local[..., HIPS[1], :], local[..., spine, :] - local[..., 0, :])
    own = _frame(rest[HIPS[0]] - rest[HIPS[1]], rest[spine])
    return seen @ own.transpose(-1, -2)


def legs_from_rotations(
    features: Float[Tensor, "*b t 259"], pelvis: Float[Tensor, "*b t 3 3"]
) -> Float[Tensor, "*b t 6 3"]:
    """Where hips, knees and ankles, turned as the rotation columns say, put the joints `LEGS`; in the heading's frame.

    pelvis: its orientation there (`pelvis_orientation`). The hips are where the position columns have them.
    """
    local = local_positions(features)
    offsets = smpl22().offsets_m.to(local)
    columns = HUMANML259.take(features, "rotations_rot6d").unflatten(-1, (-1, 6))
    places: list[list[Tensor]] = [[], [], []]
    for side in (0, 1):
        turned, place = pelvis, local[..., HIPS[side], :]
        for level, (joint, child) in enumerate(
            ((HIPS[side], KNEES[side]), (KNEES[side], ANKLES[side]), (ANKLES[side], TOES[side]))
        ):
            turned = turned @ matrix_from_rot6d_rows(columns[..., joint - 1, :]).transpose(-1, -2)
            place = place + turned @ offsets[child]
            places[level].append(place)
    return torch.stack([place for level in places for place in level], dim=-2)


def carried(features: Float[Tensor, "*b t 259"], offset_m: Float[Tensor, "*b t 3"]) -> Float[Tensor, "*b t 259"]:
    """The features of the whole body carried by so much in each frame, in the world of the first frame."""
    out = features.clone()
    slices, angle = HUMANML259.slices, heading_angles(features, HUMANML259)
    step = torch.nn.functional.pad(offset_m.diff(dim=-2), (0, 0, 0, 1))
    following = torch.cat((angle[..., 1:], angle[..., -1:]), dim=-1)
    out[..., slices["root_velocity"]] += quat_rotate(quat_about_axis(-following, "Y"), step)[..., [0, 2]]
    out[..., slices["root_height"]] += offset_m[..., 1:2]
    out[..., slices["positions"].start + 1 : slices["positions"].stop : 3] += offset_m[..., 1:2]
    velocities = quat_rotate(quat_about_axis(-angle, "Y"), step)
    out[..., slices["velocities"]] += velocities.repeat(*[1] * (velocities.ndim - 1), smpl22().num_joints)
    return out


def _frame(first: Tensor, second: Tensor) -> Tensor:
    """Matrices whose columns are `first`, what of `second` is square to it, and their product, of unit length."""
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (second * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)
