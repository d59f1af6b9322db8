"""World joint positions of whole batches of motion272 features in a few tensor operations, for losses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features.layout import MOTION272
from kinestream.rotations import matrix_from_rot6d_rows
from kinestream.skeleton import smpl22


def world_joints_from_rotations(features: Float[Tensor, "*b t 272"]) -> Float[Tensor, "*b t 22 3"]:
    """SMPL-22 joint positions in metres (recovery from rotations), starting at the origin facing +Z; fp32.

    The same positions as `motion_from_motion272(...).joint_positions_m()`: headings are sums of angles about Y, so
    nothing runs frame by frame.
    """
    features = features.float()
    # Row 0 of the heading change is (cos a, 0, -sin a) for a turn by a.
    row = MOTION272.take(features, "heading_change_rot6d")
    heading = torch.atan2(-row[..., 2], row[..., 0]).cumsum(dim=-1)
    before = torch.cat((torch.zeros_like(heading[..., :1]), heading[..., :-1]), dim=-1)
    step = MOTION272.take(features, "root_velocity")
    cos, sin = torch.cos(before), torch.sin(before)
    ground_x = (cos * step[..., 0] + sin * step[..., 1]).cumsum(dim=-1)
    ground_z = (cos * step[..., 1] - sin * step[..., 0]).cumsum(dim=-1)
    height = MOTION272.take(features, "positions")[..., 1]
    local = matrix_from_rot6d_rows(MOTION272.take(features, "rotations_rot6d").unflatten(-1, (-1, 6)))
    return _joints(_turn_about_y(heading), local, torch.stack((ground_x, height, ground_z), dim=-1))


def _turn_about_y(angle: Tensor) -> Float[Tensor, "*b t 3 3"]:
    cos, sin, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    rows = torch.stack((cos, zero, sin, zero, one, zero, -sin, zero, cos), dim=-1)
    matrix: Tensor = rows.unflatten(-1, (3, 3))
    return matrix


def _joints(heading: Tensor, local: Tensor, root: Tensor) -> Float[Tensor, "*b t j 3"]:
    skeleton = smpl22()
    offsets = skeleton.offsets_m.to(local)
    world: list[Tensor] = [heading @ local[..., 0, :, :]]
    positions = [root]
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        world.append(world[parent] @ local[..., joint, :, :])
        positions.append(positions[parent] + world[parent] @ offsets[joint])
    return torch.stack(positions, dim=-2)
