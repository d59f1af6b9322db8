"""Where a body's accents are: speeds and heights of feet, knees, hands and trunk, from motion272, frame by frame.

None of them tells left from right, or where the body looks. The rhythm that a dance shares with its music is plain in
them (steps fall on beats); in 272 numbers it has to be found.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features.layout import MOTION272, FeatureLayout

# Pairs are (sum, absolute difference) of left and right; speeds in m/s, heights and distances in m, turning in rad/s.
PULSE = FeatureLayout(
    name="pulse",
    slices={
        "ankle_speed": slice(0, 2),
        "toe_speed": slice(2, 4),
        "wrist_speed": slice(4, 6),
        "knee_speed": slice(6, 8),
        "root_rise": slice(8, 9),
        "head_rise": slice(9, 10),
        "ankle_rise": slice(10, 12),
        "toe_height": slice(12, 14),
        "ankle_height": slice(14, 16),
        "root_height": slice(16, 17),
        "root_ground_speed": slice(17, 18),
        "mean_speed": slice(18, 19),
        "turning": slice(19, 20),
        "feet_apart": slice(20, 21),
        "hands_apart": slice(21, 22),
    },
    num_joints=22,
    fps=MOTION272.fps,
)

_HEAD = 15
_KNEES, _ANKLES, _TOES, _WRISTS = (4, 5), (7, 8), (10, 11), (20, 21)


def pulse_from_motion272(features: Float[Tensor, "*b t 272"]) -> Float[Tensor, "*b t 22"]:
    """The PULSE of motion272 features (un-normalised); row k needs row k alone."""
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
