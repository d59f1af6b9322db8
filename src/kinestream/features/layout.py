"""Layouts: which columns of a feature vector mean what. Code reads features through names, never by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        """How many numbers a frame has."""
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


# MotionStreamer, section 3.1, equation 1; velocities are per frame (metres a frame at 30 fps).
MOTION272 = FeatureLayout(
    name="motion272",
    slices={
        "root_velocity": slice(0, 2),
        "heading_change_rot6d": slice(2, 8),
        "positions": slice(8, 74),
        "velocities": slice(74, 140),
        "rotations_rot6d": slice(140, 272),
    },
    num_joints=22,
    fps=30.0,
)


def layout_by_name(name: str) -> FeatureLayout:
    """The layout of that name; BadInputError lists the known ones."""
    from kinestream.features.humanml import HUMANML259, HUMANML263, HUMANML264

    known = {layout.name: layout for layout in (MOTION272, HUMANML259, HUMANML263, HUMANML264)}
    if name not in known:
        raise BadInputError(f"unknown feature layout {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
