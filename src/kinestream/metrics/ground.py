"""Bodies below the floor and above it, on joints [..., T, J, 3] in metres, Y up, the floor at y = 0."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inputs import require_joints

PENETRATION_M = 0.02
# Standing bodies keep their lowest joint below this; running ones leave it for some frames of a step.
FLOATING_M = 0.05


def floor_penetration_m(joints_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b t"]:
    """How far the lowest joint of each frame is below the floor, metres (0 where it is above).

    max(0, -min_j y_tj), as in PhysDiff (Yuan et al., ICCV 2023), there of mesh vertices. Lower is better.
    Joints lie inside the body: a sole can be under the floor while the ankle is not. Wins: a body lifted off the floor
    (look at floating beside it). A floor that was put at the lowest joint of the clip hides all of it.
    """
    require_joints(joints_m, "floor penetration")
    return (-joints_m[..., 1].amin(dim=-1)).clamp_min(0.0)


def floor_clearance_m(joints_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b t"]:
    """How far the lowest joint of each frame is above the floor, metres (0 where it is below): floating (PhysDiff).

    max(0, min_j y_tj). Near what real motion of the same contents has is best: jumps and runs float rightly. Lower than
    that is won by a body that sinks (look at penetration beside it).
    """
    require_joints(joints_m, "floating")
    return joints_m[..., 1].amin(dim=-1).clamp_min(0.0)


def penetration_share(joints_m: Float[Tensor, "*b t j 3"], depth_m: float = PENETRATION_M) -> Float[Tensor, "*b"]:
    """Share of frames whose lowest joint is more than `depth_m` below the floor; lower is better."""
    return (floor_penetration_m(joints_m) > depth_m).double().mean(dim=-1)


def floating_share(joints_m: Float[Tensor, "*b t j 3"], height_m: float = FLOATING_M) -> Float[Tensor, "*b"]:
    """Share of frames in which every joint is higher than `height_m`; near real motion of the same contents is best."""
    return (floor_clearance_m(joints_m) > height_m).double().mean(dim=-1)
