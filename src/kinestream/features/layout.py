"""Layouts: which columns of a feature vector mean what. Code reads features through names, never by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError


@dataclass(frozen=True)
class FeatureLayout:
    """A named feature vector: `slices` tile [0, width) in order; `fps` is the rate its velocities assume."""

    name: str
    slices: Mapping[str, slice]
    num_joints: int
    fps: float

    @property
    def width(self) -> int:
        """Values a frame."""
        return max(int(part.stop) for part in self.slices.values())

    def take(self, features: Tensor, name: str) -> Tensor:
        """The columns called `name` of features [..., width]."""
        return features[..., self.slices[name]]

    def check(self, features: Tensor, where: str = "features") -> None:
        """BadInputError unless the last dimension is this layout's width."""
        if features.ndim < 1 or features.shape[-1] != self.width:
            raise BadInputError(
                f"{where}: expected {self.name} features of width {self.width}, got {tuple(features.shape)}"
            )


def layout(name: str, fps: float, **widths: int) -> FeatureLayout:
    """A layout of 22 joints from its slices' widths, in order."""
    slices, start = {}, 0
    for part, width in widths.items():
        slices[part] = slice(start, start + width)
        start += width
    return FeatureLayout(name, slices, num_joints=22, fps=fps)


# MotionStreamer, section 3.1, equation 1; velocities are per frame (metres a frame at 30 fps).
MOTION272 = layout(
    "motion272", 30.0, root_velocity=2, heading_change_rot6d=6, positions=66, velocities=66, rotations_rot6d=132
)
# HumanML3D's family; what the slices hold is said in humanml.py.
HUMANML263 = layout(
    "humanml263", 20.0, yaw_velocity=1, root_velocity=2, root_height=1, positions=63, rotations_rot6d=126,
    velocities=66, contacts=4,
)  # fmt: skip
HUMANML264 = layout(
    "humanml264", 30.0, root_height=1, yaw=1, yaw_velocity=1, root_velocity=2, positions=63, rotations_rot6d=126,
    velocities=66, contacts=4,
)  # fmt: skip
HUMANML259 = layout(
    "humanml259", 30.0, yaw_velocity=1, root_velocity=2, root_height=1, velocities=66, positions=63,
    rotations_rot6d=126,
)  # fmt: skip
_KNOWN = {one.name: one for one in (MOTION272, HUMANML259, HUMANML263, HUMANML264)}


def layout_by_name(name: str) -> FeatureLayout:
    """The layout of that name; BadInputError lists the known ones."""
    if name not in _KNOWN:
        raise BadInputError(f"unknown feature layout {name!r}; known: {', '.join(sorted(_KNOWN))}")
    return _KNOWN[name]


def held(features: Float[Tensor, "t d"], count: int, layout: FeatureLayout = MOTION272) -> Float[Tensor, "n d"]:
    """Features with their last pose held, standing still, up to `count` frames; longer ones stay as they are."""
    if len(features) >= count:
        return features
    last = features[-1:].clone()
    for name in ("root_velocity", "velocities", "yaw_velocity"):
        if name in layout.slices:
            last[:, layout.slices[name]] = 0.0
    if "heading_change_rot6d" in layout.slices:
        last[:, layout.slices["heading_change_rot6d"]] = last.new_tensor((1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    return torch.cat((features, last.expand(count - len(features), -1)))
