"""What a check measures: a value for each frame and each thing that it looks at."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kinestream.skeleton import smpl22

# The part of the body that each SMPL-22 joint belongs to.
_PARTS = {
    "trunk": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
    "head": ("neck", "head"),
    "left leg": ("left_hip", "left_knee", "left_ankle", "left_foot"),
    "right leg": ("right_hip", "right_knee", "right_ankle", "right_foot"),
    "left arm": ("left_shoulder", "left_elbow", "left_wrist"),
    "right arm": ("right_shoulder", "right_elbow", "right_wrist"),
}
WHOLE_BODY = "whole body"


@dataclass(frozen=True, eq=False)
class Measurement:
    """Values [T, K] in the check's unit, 0 where nothing is wrong; column k belongs to `parts[k]` and is `names[k]`.

    Findings are made for each part; the name of its worst column is their detail, and `joints[k]` is where to look.
    A column's limit is the check's times its `slack`.
    """

    check: str
    values: Float[Tensor, "t k"]
    parts: tuple[str, ...]
    names: tuple[str, ...]
    joints: tuple[str, ...]
    slack: tuple[float, ...] = ()

    def limits(self, limit: float) -> Float[Tensor, " k"]:
        """The limit of each column."""
        return self.values.new_tensor(self.slack or (1.0,) * len(self.names)) * limit


def part_of_joint(name: str) -> str:
    """The part of the body of an SMPL-22 joint; joints of other skeletons are parts of their own."""
    return next((part for part, joints in _PARTS.items() if name in joints), name)


def joint_parts() -> tuple[str, ...]:
    """The part of each SMPL-22 joint."""
    return tuple(part_of_joint(name) for name in smpl22().joint_names)


def spoken(name: str) -> str:
    """A joint's name as it is said: left knee."""
    return name.replace("_", " ")
