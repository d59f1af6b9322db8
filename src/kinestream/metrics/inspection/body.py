"""The body that is inspected: SMPL-22 poses, what they touch the floor with, and how other skeletons get there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.motion import Motion, in_joint_order, mirrored_name
from kinestream.rotations import quat_rotate
from kinestream.skeleton import smpl22
from kinestream.skeleton.retarget import retarget

SIDES = ("left", "right")
# Joints between which a body's size is measured, for what is not in its skeleton.
_SIZE_CHAIN = ("left_knee", "left_ankle", "right_knee", "right_ankle", "spine1", "spine2", "spine3", "neck")


@cache
def data_file(name: str) -> Any:
    """A JSON file of this package."""
    return json.loads(files("kinestream.metrics.inspection").joinpath(name).read_text(encoding="utf-8"))


def clearances_m() -> Float[Tensor, " 22"]:
    """How high each SMPL-22 joint is at least while the flesh around it lies on the floor."""
    given = data_file("body.json")["clearance_m"]
    names = smpl22().joint_names
    return torch.tensor([float(given[name if name in given else mirrored_name(name)]) for name in names])


@dataclass(frozen=True, eq=False)
class Body:
    """SMPL-22 poses in the world: floor at y = 0, metres, quaternions wxyz.

    `size` is the body's over the neutral mean body's: it scales flesh, not joints.
    """

    positions_m: Float[Tensor, "t 22 3"]
    local_rotations: Float[Tensor, "t 22 4"]
    world_rotations: Float[Tensor, "t 22 4"]
    fps: float
    size: float

    @classmethod
    def of(cls, motion: Motion) -> Body:
        """From a motion on SMPL-22's joints; BadInputError for other joints."""
        skeleton = motion.skeleton
        if skeleton.joint_names != smpl22().joint_names:
            raise BadInputError(f"inspection needs the smpl22 skeleton, got {skeleton.name!r}: see body_motion")
        chain = [skeleton.index(name) for name in _SIZE_CHAIN]
        size = float(skeleton.offsets_m[chain].norm(dim=-1).sum() / smpl22().offsets_m[chain].norm(dim=-1).sum())
        return cls(motion.joint_positions_m(), motion.local_rotations, motion.world_rotations(), motion.fps, size)

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return int(self.positions_m.shape[0])

    def points_m(self, joint: str, offset_m: tuple[float, float, float]) -> Float[Tensor, "t 3"]:
        """World places of a point that moves with a joint; the offset is of the mean body and in the joint's frame."""
        k = smpl22().index(joint)
        offset = self.positions_m.new_tensor(offset_m) * self.size
        return self.positions_m[:, k] + quat_rotate(self.world_rotations[:, k], offset)

    def soles_m(self) -> Float[Tensor, "t 2 3 3"]:
        """Heel, ball and tip of the left and the right foot, at the height of the toe joint when it stands flat."""
        shape = data_file("body.json")["sole"]
        feet = []
        for side in SIDES:
            drop = float(smpl22().offsets_m[smpl22().index(f"{side}_foot"), 1])
            heel = self.points_m(f"{side}_ankle", (0.0, drop, -shape["heel_back_m"]))
            ball = self.points_m(f"{side}_foot", (0.0, 0.0, 0.0))
            tip = self.points_m(f"{side}_foot", (0.0, 0.0, shape["tip_ahead_m"]))
            feet.append(torch.stack((heel, ball, tip), dim=1))
        return torch.stack(feet, dim=1)

    def heights_m(self) -> Float[Tensor, "t 30"]:
        """How high the flesh is above the floor: at the joints, then at the soles' points, then at the fingers."""
        joints = self.positions_m[..., 1] - clearances_m().to(self.positions_m) * self.size
        joint, x, y, z = data_file("body.json")["fingers"]
        fingers = [self.points_m(joint, (x, y, z)), self.points_m(mirrored_name(joint), (-x, y, z))]
        return torch.cat((joints, self.soles_m()[..., 1].flatten(1), torch.stack(fingers, dim=1)[..., 1]), dim=1)

    def centre_of_mass_m(self) -> Float[Tensor, "t 3"]:
        """From the segments' shares of the mass (Winter 2009, Table 4.1), each in the middle of its segment."""
        total = torch.zeros_like(self.positions_m[:, 0])
        mass = 0.0
        for start, end, share in data_file("body.json")["mass_shares"]:
            names = [(start, end)]
            if start.startswith("left_"):
                names.append((mirrored_name(start), mirrored_name(end)))
            for a, b in names:
                ends = self.positions_m[:, smpl22().index(a)] + self.positions_m[:, smpl22().index(b)]
                total = total + ends * (share / 2.0)
                mass += share
        return total / mass


def body_motion(motion: Motion) -> tuple[Motion, str]:
    """The motion on SMPL-22 and a sentence that says what was done to get there.

    Retargeting trusts the file's own floor (y = 0) where it can: what is inspected is the file, not a mended copy.
    Raises BadInputError for skeletons that are no human body's.
    """
    ordered = in_joint_order(motion, smpl22())
    if ordered is not None:
        return ordered, "on its own SMPL-22 skeleton"
    if motion.skeleton.joint_names == smpl22().joint_names:
        return motion, "on its own skeleton, which has SMPL-22's joints and other bone lengths"
    moved, report = retarget(motion, smpl22(), floor="rest")
    return moved, (
        f"retargeted from {report.source_family} bones to SMPL-22 ({len(report.matched)} joints matched, "
        f"sizes x {report.scale:.2f}); lengths are the SMPL body's"
    )
