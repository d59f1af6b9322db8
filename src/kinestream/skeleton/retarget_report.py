"""What retargeting matched and how close the result is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.rotations import quat_angle_rad, quat_conjugate, quat_multiply
from kinestream.skeleton.humanoid import LIMB_BONES, HumanoidRig

_SHOWN_RESIDUALS = 3
_SHOWN_NAMES = 24


@dataclass(frozen=True)
class RetargetReport:
    """What was matched and how close the result is.

    `matched`: (source bone, target bone) by SMPL-22 joint; the rest in `unmatched_...`. `source_rest` and
    `target_rest`: where the rest poses come from. `scale`: target over source leg length. `residual_deg`: mean and
    largest angle by joint; for limbs between the bones' directions, elsewhere between the turns away from rest.
    `foot_height_m`: the lowest and the highest that the target's lowest foot joint or sole (End Site) gets.
    `how`: by joint what told the source's and the target's bone ("name", "name and structure", "structure", "map").
    """

    source_family: str
    target_family: str
    source_rest: str
    target_rest: str
    matched: Mapping[str, tuple[str, str]]
    unmatched_source_bones: tuple[str, ...]
    unmatched_target_bones: tuple[str, ...]
    unmatched_joints: tuple[str, ...]
    scale: float
    residual_deg: Mapping[str, tuple[float, float]]
    foot_height_m: tuple[float, float]
    how: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        worst = sorted(self.residual_deg.items(), key=lambda item: -item[1][1])[:_SHOWN_RESIDUALS]
        shown = "; ".join(f"{role} mean {mean:.2f}, largest {largest:.2f}" for role, (mean, largest) in worst)
        lines = [
            f"{len(self.matched)} joints matched: {self.source_family} ({self.source_rest}) -> "
            f"{self.target_family} ({self.target_rest})",
            f"scale by leg length: {self.scale:.4f}",
            f"largest residuals in degrees: {shown or 'none'}",
            f"lowest point of the feet: {self.foot_height_m[0]:+.3f} m to {self.foot_height_m[1]:+.3f} m",
        ]
        for which, side in (("source", 0), ("target", 1)):
            counts = Counter(found[side] for found in self.how.values() if found[side])
            lines.append(f"{which} bones found by " + ", ".join(f"{way} ({n})" for way, n in counts.items()))
        for label, names in (
            ("source bones left out", self.unmatched_source_bones),
            ("target bones left at rest", self.unmatched_target_bones),
            ("SMPL-22 joints that one side lacks", self.unmatched_joints),
        ):
            if names:
                more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
                lines.append(f"{label}: {', '.join(names[:_SHOWN_NAMES])}{more}")
        return "\n".join(lines)


Pose = tuple[Float[Tensor, "t _ 3"], Float[Tensor, "t _ 4"]]
"""World positions and orientations with Y up."""


def measure_retarget(
    source: HumanoidRig,
    target: HumanoidRig,
    source_pose: Pose,
    target_pose: Pose,
    scale: float,
    target_rest: Float[Tensor, "j 4"],
) -> RetargetReport:
    """Compare the source's and the result's poses; `target_rest` is how the target stands where the source rests."""
    a, b = source.joint_of, target.joint_of
    shared = [role for role in b if role in a]
    residual = _limb_residuals(source, target, source_pose[0], target_pose[0])
    others = [role for role in shared if role not in residual]
    residual |= _turn_residuals(
        others,
        source_pose[1][:, [a[role] for role in others]],
        source.rest_world[[a[role] for role in others]],
        target_pose[1][:, [b[role] for role in others]],
        target_rest[[b[role] for role in others]],
    )
    lowest = target.sole_positions_m(*target_pose)[..., 1].amin(dim=1)
    driven = {target.skeleton.joint_names[joint] for joint in (*target.spine_chain, *target.head_chain)}
    mine = {source.bones.bone_of[role] for role in shared}
    yours = {target.bones.bone_of[role] for role in shared} | driven
    return RetargetReport(
        source_family=source.bones.family,
        target_family=target.bones.family,
        source_rest=source.origin,
        target_rest=target.origin,
        matched={role: (source.bones.bone_of[role], target.bones.bone_of[role]) for role in shared},
        unmatched_source_bones=tuple(name for name in source.skeleton.joint_names if name not in mine),
        unmatched_target_bones=tuple(name for name in target.skeleton.joint_names if name not in yours),
        unmatched_joints=tuple(role for role in dict.fromkeys((*a, *b)) if role not in shared),
        scale=scale,
        residual_deg={role: residual[role] for role in shared},
        foot_height_m=(float(lowest.min()), float(lowest.max())),
        how={role: (source.bones.how.get(role, ""), target.bones.how.get(role, "")) for role in shared},
    )


def _limb_residuals(
    source: HumanoidRig, target: HumanoidRig, source_positions: Tensor, target_positions: Tensor
) -> dict[str, tuple[float, float]]:
    a, b = source.joint_of, target.joint_of
    limbs = [(role, end) for role, end in LIMB_BONES.items() if all(r in a and r in b for r in (role, end))]
    starts, ends = [start for start, _ in limbs], [end for _, end in limbs]
    theirs = source_positions[:, [a[r] for r in ends]] - source_positions[:, [a[r] for r in starts]]
    ours = target_positions[:, [b[r] for r in ends]] - target_positions[:, [b[r] for r in starts]]
    angle = torch.atan2(torch.linalg.cross(theirs, ours).norm(dim=-1), (theirs * ours).sum(-1))
    return _mean_and_largest(starts, angle)


def _turn_residuals(
    roles: list[str], source_world: Tensor, source_rest: Tensor, target_world: Tensor, target_rest: Tensor
) -> dict[str, tuple[float, float]]:
    theirs = quat_multiply(source_world, quat_conjugate(source_rest).to(source_world))
    ours = quat_multiply(target_world, quat_conjugate(target_rest).to(target_world))
    return _mean_and_largest(roles, quat_angle_rad(theirs, ours))


def _mean_and_largest(roles: list[str], angle_rad: Float[Tensor, "t r"]) -> dict[str, tuple[float, float]]:
    degrees = torch.rad2deg(angle_rad)
    means, largest = degrees.mean(dim=0).tolist(), degrees.amax(dim=0).tolist()
    return {role: (mean, top) for role, mean, top in zip(roles, means, largest, strict=True)}
