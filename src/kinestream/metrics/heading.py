"""Where a body faces, how far it turns, and which way it goes as seen from itself."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inputs import require_joints

# Hips and shoulders of SMPL-22, left before right: one joint alone swings with every step.
LEFT_JOINTS, RIGHT_JOINTS = (1, 16), (2, 17)
# Frames at each end of a clip over which a heading is averaged: a quarter of a second of 30 frames.
END_FRAMES = 8


def facing(joints_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b t 2"]:
    """Unit vectors on the ground (x, z) of where the body faces: at right angles to its hips and shoulders.

    Means nothing while the line across the body is upright (cartwheels, lying on a side). Joints in SMPL-22's order.
    """
    require_joints(joints_m, "facing", joints=1 + max(RIGHT_JOINTS))
    left, right = joints_m[..., list(LEFT_JOINTS), :].sum(dim=-2), joints_m[..., list(RIGHT_JOINTS), :].sum(dim=-2)
    across = left - right
    # Left is +X where the body faces +Z: forward = across x up.
    forward = torch.stack((-across[..., 2], across[..., 0]), dim=-1)
    return torch.nn.functional.normalize(forward, dim=-1)


def turned_rad(joints_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b"]:
    """How far the body has turned from a clip's beginning to its end, full turns counted; positive to its left.

    Change of the heading (angle of `facing` about +Y) from the mean of the first `END_FRAMES` frames to that of the
    last. Blind to turning there and back, and wrong in somersaults, where the body's front points up or down.
    """
    require_joints(joints_m, "turn", frames=2)
    ahead = facing(joints_m)
    before, after = ahead[..., :-1, :], ahead[..., 1:, :]
    # The signed angle from one frame to the next; +Z towards +X is positive.
    step = torch.atan2(after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0], (after * before).sum(dim=-1))
    heading = torch.cat((torch.zeros_like(step[..., :1]), step.cumsum(dim=-1)), dim=-1)
    frames = max(1, min(END_FRAMES, heading.shape[-1] // 4))
    turned: Tensor = heading[..., -frames:].mean(dim=-1) - heading[..., :frames].mean(dim=-1)
    return turned


def travelled_m(joints_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b 2"]:
    """Metres that the root goes forward and to the left, as the body sees it: steps turned by where it faces, summed.

    Backward and right are negative. A body that turns while it walks forward has gone forward all the way, unlike the
    displacement between the ends. Blind to going there and back; drifting on the spot counts.
    """
    require_joints(joints_m, "travel", frames=2)
    step = joints_m[..., 1:, 0, :].diff(dim=-2, prepend=joints_m[..., :1, 0, :])[..., [0, 2]]
    ahead = facing(joints_m)[..., 1:, :]
    forward = (step * ahead).sum(dim=-1)
    # Left of (x, z) is (z, -x): of +Z it is +X.
    left = step[..., 0] * ahead[..., 1] - step[..., 1] * ahead[..., 0]
    return torch.stack((forward.sum(dim=-1), left.sum(dim=-1)), dim=-1)


def travel_angle_rad(travel_m: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b"]:
    """Direction of `travelled_m`: 0 forward, positive to the left, ±π backward."""
    angle: Tensor = torch.atan2(travel_m[..., 1], travel_m[..., 0])
    return angle
