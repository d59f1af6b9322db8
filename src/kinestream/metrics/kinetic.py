"""Kinetic features of a dance: how much energy each joint spends."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inputs import require_fps, require_joints

WINDOW = 2
# Published code takes frames of 1/60 s for data of 30 frames per second.
COMPAT_FRAME_S = 1.0 / 60.0


def kinetic_features(
    joints_m: Float[Tensor, "*b t j 3"], fps: float, *, compat: bool = False
) -> Float[Tensor, "*b 3*j"]:
    """Horizontal energy, vertical energy and acceleration of each joint [..., 3 J] (Onuma et al., FMDistance 2008).

    As in fairmotion, AIST++ (Li et al., ICCV 2021) and InfiniteDance: means over the frames 1 .. T - 1 of |v_xz|²,
    v_y² (both m²/s²) and |a| (m/s²), where v and a are differences, averaged over the five around a frame.
    World positions in; where the body stands and faces plays no part.

    `compat` gives what InfiniteDance's code computes, for comparison with its tables: frames of 1/60 s whatever the
    rate, and an acceleration whose earlier velocity is p_t - p_(t-1) / Δt, so that it mostly measures how far a joint
    is from the origin. Its tables also prepare the joints, see `published_pose`.

    Means over the clip: the order of the frames, the beat and the pose play no part (time reversed scores the same but
    for the ends). Trembling raises all three, and averaging over five frames hides some of it: look at jitter.
    """
    require_joints(joints_m, "kinetic features", frames=3)
    require_fps(fps, "kinetic features")
    frame_s = COMPAT_FRAME_S if compat else 1.0 / fps
    positions = joints_m.double().movedim(-3, -1)  # [..., J, 3, T]
    step = positions.diff(dim=-1)
    velocity = windowed_mean(step, 0) / frame_s
    if compat:
        now, before = positions[..., 1:-1], positions[..., :-2]
        acceleration = (step[..., 1:] / frame_s - (now - before / frame_s)) / frame_s
    else:
        acceleration = step.diff(dim=-1) / frame_s**2
    square = velocity.square().mean(dim=-1)
    spent = windowed_mean(acceleration, 1).norm(dim=-2).mean(dim=-1)
    return torch.stack((square[..., 0] + square[..., 2], square[..., 1], spent), dim=-1).flatten(-2).to(joints_m.dtype)


def windowed_mean(values: Float[Tensor, "*b n"], beyond: int) -> Float[Tensor, "*b m"]:
    """Mean of the values within `WINDOW` of each place, ends cut short, with `beyond` more places after the last."""
    lead = torch.nn.functional.pad(values, (WINDOW + 1, WINDOW + beyond)).cumsum(dim=-1)
    there = torch.nn.functional.pad(torch.ones_like(values[(0,) * (values.ndim - 1)]), (WINDOW + 1, WINDOW + beyond))
    width = 2 * WINDOW + 1
    count = there.cumsum(dim=-1)
    return (lead[..., width:] - lead[..., :-width]) / (count[width:] - count[:-width])


def published_pose(joints_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b t j 3"]:
    """Joints as InfiniteDance's code prepares them for its features: for figures beside its tables only.

    The first frame's root is taken from all joints, then each frame's root from all joints but the root itself, which
    keeps its path: features that set the root against other joints then compare two frames of reference.
    """
    require_joints(joints_m, "published pose")
    moved = joints_m - joints_m[..., :1, :1, :]
    return torch.cat((moved[..., :1, :], moved[..., 1:, :] - moved[..., :1, :]), dim=-2)
