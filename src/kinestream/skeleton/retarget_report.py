"""What retargeting matched and how close the result is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.skeleton.humanoid import LIMB_BONES, HumanoidRig


@dataclass(frozen=True)
class RetargetReport:
    """Matched bones and residuals.

    `matched`: (source bone, target bone) by SMPL-22 joint. `limb_residual_deg`: mean and largest angle between the source's
    and the result's bone directions. `scale`: target over source leg length. `foot_height_m`: lowest and highest the
    target's lowest foot joint gets.
    """

    source_family: str
    target_family: str
    source_rest: str
    target_rest: str
    matched: Mapping[str, tuple[str, str]]
    unmatched_source_bones: tuple[str, ...]
    unmatched_target_bones: tuple[str, ...]
    scale: float
    limb_residual_deg: Mapping[str, tuple[float, float]]
    foot_height_m: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        worst = max(self.limb_residual_deg.items(), key=lambda item: item[1][1], default=("no limb", (0.0, 0.0)))
        lines = [
            f"bones: {self.source_family} ({self.source_rest}) -> {self.target_family} ({self.target_rest}), "
            f"{len(self.matched)} matched",
            f"scale by leg length: {self.scale:.4f}",
            f"bone directions: worst {worst[0]}, mean {worst[1][0]:.2f} deg, largest {worst[1][1]:.2f} deg",
            f"lowest foot joint: {self.foot_height_m[0]:+.3f} m to {self.foot_height_m[1]:+.3f} m",
        ]
        for label, bones in (("source", self.unmatched_source_bones), ("target", self.unmatched_target_bones)):
            if bones:
                lines.append(f"{label} bones without a counterpart: {', '.join(bones)}")
        return "\n".join(lines)


def measure_retarget(
    source: HumanoidRig,
    target: HumanoidRig,
    source_positions_m: Float[Tensor, "t j 3"],
    target_positions_m: Float[Tensor, "t k 3"],
    scale: float,
) -> RetargetReport:
    """Compare the source's and the result's joint positions (both Y up)."""
    a, b = source.joint_of, target.joint_of
    shared = [role for role in b if role in a]
    limbs = [(role, end) for role, end in LIMB_BONES.items() if all(r in a and r in b for r in (role, end))]
    residual: dict[str, tuple[float, float]] = {}
    if limbs:
        starts, ends = zip(*limbs, strict=True)
        theirs = source_positions_m[:, [a[r] for r in ends]] - source_positions_m[:, [a[r] for r in starts]]
        ours = target_positions_m[:, [b[r] for r in ends]] - target_positions_m[:, [b[r] for r in starts]]
        angle = torch.rad2deg(torch.atan2(torch.linalg.cross(theirs, ours).norm(dim=-1), (theirs * ours).sum(-1)))
        residual = {
            role: (mean, largest)
            for role, mean, largest in zip(starts, angle.mean(0).tolist(), angle.amax(0).tolist(), strict=True)
        }
    feet = [b[r] for r in ("left_ankle", "right_ankle", "left_foot", "right_foot") if r in b]
    lowest = target_positions_m[:, feet, 1].amin(dim=1)
    mine = {source.bones.bone_of[r] for r in shared}
    yours = {target.bones.bone_of[r] for r in shared}
    return RetargetReport(
        source_family=source.bones.family,
        target_family=target.bones.family,
        source_rest=source.origin,
        target_rest=target.origin,
        matched={role: (source.bones.bone_of[role], target.bones.bone_of[role]) for role in shared},
        unmatched_source_bones=tuple(n for n in source.skeleton.joint_names if n not in mine),
        unmatched_target_bones=tuple(n for n in target.skeleton.joint_names if n not in yours),
        scale=scale,
        limb_residual_deg=residual,
        foot_height_m=(float(lowest.min()), float(lowest.max())),
    )
