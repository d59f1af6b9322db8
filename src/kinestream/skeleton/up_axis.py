"""Which axis of a recording's world points up: rest pose and movement tell it together."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.skeleton.bone_limbs import SIDES

AXES = ("x", "y", "z", "-x", "-y", "-z")

# Cosine from which a trunk stands along an axis, and shares of frames that count as "now and then" and "mostly".
_STANDS = 0.7
_NOW_AND_THEN, _MOSTLY = 0.1, 0.5
# The lowest joint of a body on the floor is this near to height 0 (in leg lengths).
_ON_FLOOR_LEGS = 0.2


def turn_to_y(axis: str) -> Float[Tensor, "4"]:
    """The quarter or half turn (wxyz, float64) that takes an axis to +Y: "z" gives (x, y, z) -> (x, z, -y)."""
    half = math.sqrt(0.5)
    quaternion = {
        "y": (1.0, 0.0, 0.0, 0.0),
        "-y": (0.0, 1.0, 0.0, 0.0),
        "z": (half, -half, 0.0, 0.0),
        "-z": (half, half, 0.0, 0.0),
        "x": (half, 0.0, 0.0, half),
        "-x": (half, 0.0, 0.0, -half),
    }[axis]
    return torch.tensor(quaternion, dtype=torch.float64)


def nearest_axis(direction: Float[Tensor, "3"]) -> str:
    """The signed axis nearest to a direction."""
    axis = int(direction.abs().argmax())
    return ("" if float(direction[axis]) >= 0.0 else "-") + "xyz"[axis]


def recorded_up(positions_m: Float[Tensor, "t j 3"], joint_of: Mapping[str, int], expected: str) -> tuple[str, bool]:
    """The axis along which the recorded body stands, and whether the recording shows it.

    `expected` is what the rest pose or the format says. It holds where the body stands along it now and then. Where the
    body always lies along another axis, that one counts only if the floor agrees: a person who lies has the lowest
    joint at height 0 along the expected axis, a file with other axes along the other one.
    """
    ankles = positions_m[:, [joint_of[f"{side}_ankle"] for side in SIDES]]
    hips = positions_m[:, [joint_of[f"{side}_hip"] for side in SIDES]]
    shoulders = positions_m[:, [joint_of[f"{side}_shoulder"] for side in SIDES]]
    trunk = torch.nn.functional.normalize(shoulders.mean(dim=1) - ankles.mean(dim=1), dim=-1)
    leg = float((hips - ankles).norm(dim=-1).max())
    share = {axis: float((_along(trunk, axis) > _STANDS).double().mean()) for axis in AXES}
    if share[expected] >= _NOW_AND_THEN:
        return expected, True
    best = max(AXES, key=lambda axis: share[axis])
    if share[best] < _MOSTLY:
        return expected, False

    def on_floor(axis: str) -> bool:
        lowest = _along(positions_m, axis).amin(dim=1)
        return abs(float(lowest.median())) < _ON_FLOOR_LEGS * leg

    return (best, True) if on_floor(best) or not on_floor(expected) else (expected, False)


def _along(vectors: Tensor, axis: str) -> Tensor:
    component = vectors[..., "xyz".index(axis[-1])]
    return -component if axis.startswith("-") else component
