"""Joint limits: rotations outside the ranges that anatomy allows, in swing and twist."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inspection.body import SIDES, data_file
from kinestream.metrics.inspection.measurement import Measurement, part_of_joint
from kinestream.motion import mirrored_name
from kinestream.rotations import quat_conjugate, quat_multiply, quat_normalize, rotvec_from_quat
from kinestream.skeleton import smpl22

_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class JointLimit:
    """A joint, or a chain whose rotations add up, and its range about each axis in degrees, allowance included.

    `names` say what leaving the range below and above is called. `mirrored`: rotations are those of the right side.
    """

    name: str
    chain: tuple[str, ...]
    twist_axis: int
    low_deg: tuple[float, float, float]
    high_deg: tuple[float, float, float]
    names: tuple[tuple[str, str], ...]
    mirrored: bool


@lru_cache(maxsize=1)
def joint_limits_of_body() -> tuple[JointLimit, ...]:
    """All limits, both sides."""
    found = []
    for name, given in data_file("joint_limits.json")["joints"].items():
        sided = given["chain"][0].startswith("left_")
        spare = float(given["allowance"])
        for side in SIDES if sided else ("",):
            right = side == "right"
            found.append(
                JointLimit(
                    f"{side} {name}".strip(),
                    tuple(mirrored_name(joint) if right else joint for joint in given["chain"]),
                    _AXES.index(given["twist"]),
                    (_end(given, 0, "x", -spare), _end(given, 0, "y", -spare), _end(given, 0, "z", -spare)),
                    (_end(given, 1, "x", spare), _end(given, 1, "y", spare), _end(given, 1, "z", spare)),
                    tuple((given[axis]["names"][0], given[axis]["names"][1]) for axis in _AXES),
                    right,
                )
            )
    return tuple(found)


def _end(given: dict[str, dict[str, list[float]]], end: int, axis: str, spare: float) -> float:
    return float(given[axis]["range"][end]) + spare


def joint_limits(local_rotations: Float[Tensor, "t 22 4"]) -> Measurement:
    """How far each movement of each joint is beyond its range, degrees; two columns an axis, below and above."""
    values, parts, names, joints = [], [], [], []
    for limit in joint_limits_of_body():
        angles = joint_angles_deg(local_rotations, limit)
        for axis in range(3):
            low, high = limit.low_deg[axis], limit.high_deg[axis]
            values += [(low - angles[:, axis]).clamp_min(0.0), (angles[:, axis] - high).clamp_min(0.0)]
            names += [f"{limit.name} {name}" for name in limit.names[axis]]
            parts += [part_of_joint(limit.chain[0])] * 2
            joints += [limit.chain[-1]] * 2
    return Measurement("joint_limits", torch.stack(values, dim=1), tuple(parts), tuple(names), tuple(joints))


def joint_angles_deg(local_rotations: Float[Tensor, "t 22 4"], limit: JointLimit) -> Float[Tensor, "t 3"]:
    """Angles about x, y and z in the left side's terms: the twist about the bone's axis, and the swing's two."""
    joints = [smpl22().index(name) for name in limit.chain]
    turn = local_rotations[:, joints[0]]
    for joint in joints[1:]:
        turn = quat_multiply(turn, local_rotations[:, joint])
    if limit.mirrored:
        turn = turn * turn.new_tensor((1.0, 1.0, -1.0, -1.0))
    swing, twist = swing_twist(quat_normalize(turn), limit.twist_axis)
    angles = rotvec_from_quat(swing)
    angles[:, limit.twist_axis] = rotvec_from_quat(twist)[:, limit.twist_axis]
    return torch.rad2deg(angles)


def swing_twist(q: Float[Tensor, "*n 4"], axis: int) -> tuple[Float[Tensor, "*n 4"], Float[Tensor, "*n 4"]]:
    """The rotation as twist about a coordinate axis (0, 1, 2) and then swing about one across: q = swing * twist.

    A swing of half a turn leaves the twist open; it is the identity there.
    """
    twist = torch.zeros_like(q)
    twist[..., 0], twist[..., axis + 1] = q[..., 0], q[..., axis + 1]
    open_ = twist.norm(dim=-1, keepdim=True) < 1e-6
    one = torch.zeros_like(q)
    one[..., 0] = 1.0
    twist = quat_normalize(torch.where(open_, one, twist))
    return quat_multiply(q, quat_conjugate(twist)), twist
