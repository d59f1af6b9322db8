"""Where a body's accents are: speeds and heights of feet, knees, hands and trunk, from motion272, frame by frame.

None of them tells left from right, or where the body looks. The rhythm that a dance shares with its music is plain in
them (steps fall on beats); in motion272 it has to be found.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features.layout import MOTION272, layout

# Pairs are (sum, absolute difference) of left and right; speeds in m/s, heights and distances in m, turning in rad/s.
PULSE = layout(
    "pulse", MOTION272.fps, ankle_speed=2, toe_speed=2, wrist_speed=2, knee_speed=2, root_rise=1, head_rise=1,
    ankle_rise=2, toe_height=2, ankle_height=2, root_height=1, root_ground_speed=1, mean_speed=1, turning=1,
    feet_apart=1, hands_apart=1,
)  # fmt: skip

_HEAD = 15
_KNEES, _ANKLES, _TOES, _WRISTS = (4, 5), (7, 8), (10, 11), (20, 21)


def pulse_from_motion272(features: Float[Tensor, "*b t 272"]) -> Float[Tensor, "*b t 22"]:
    """The PULSE of motion272 features (un-normalised); frame k needs frame k alone."""
    MOTION272.check(features, "pulse")
    velocity, turning = _world_velocity_mps(features)
    position = MOTION272.take(features, "positions").unflatten(-1, (MOTION272.num_joints, 3))
    speed, height, rise = velocity.norm(dim=-1), position[..., 1], velocity[..., 1]
    return torch.cat(
        (
            _both(speed, _ANKLES),
            _both(speed, _TOES),
            _both(speed, _WRISTS),
            _both(speed, _KNEES),
            rise[..., :1],
            rise[..., _HEAD, None],
            _both(rise, _ANKLES),
            _both(height, _TOES),
            _both(height, _ANKLES),
            height[..., :1],
            velocity[..., 0, ::2].norm(dim=-1, keepdim=True),
            speed.mean(dim=-1, keepdim=True),
            turning.abs()[..., None],
            _apart(position, _ANKLES),
            _apart(position, _WRISTS),
        ),
        dim=-1,
    )


def _world_velocity_mps(features: Tensor) -> tuple[Tensor, Tensor]:
    """Velocities [..., t, 22, 3] over the ground, in the heading of the frame before, and the turn in rad/s."""
    now = MOTION272.take(features, "positions").unflatten(-1, (MOTION272.num_joints, 3))
    before = now - MOTION272.take(features, "velocities").unflatten(-1, (MOTION272.num_joints, 3))
    # The change of the inverse heading is a turn about Y: its first row is (cos, 0, sin).
    change = MOTION272.take(features, "heading_change_rot6d")
    angle = torch.atan2(change[..., 2], change[..., 0])
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    step = MOTION272.take(features, "root_velocity")
    x = cos * now[..., 0] - sin * now[..., 2] - before[..., 0] + step[..., :1]
    z = sin * now[..., 0] + cos * now[..., 2] - before[..., 2] + step[..., 1:]
    velocity = torch.stack((x, now[..., 1] - before[..., 1], z), dim=-1)
    return velocity * MOTION272.fps, angle * MOTION272.fps


def _both(values: Tensor, pair: tuple[int, int]) -> Tensor:
    left, right = values[..., pair[0]], values[..., pair[1]]
    return torch.stack((left + right, (left - right).abs()), dim=-1)


def _apart(position: Tensor, pair: tuple[int, int]) -> Tensor:
    distance: Tensor = (position[..., pair[0], :] - position[..., pair[1], :]).norm(dim=-1, keepdim=True)
    return distance
