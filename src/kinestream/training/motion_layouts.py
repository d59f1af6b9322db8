"""Feature layouts as recipes need them: made from the motion272 that data sets hold, and back to joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import (
    HUMANML259,
    HUMANML264,
    MOTION272,
    FeatureLayout,
    humanml259_from_motion,
    humanml264_from_motion,
    motion_from_humanml259,
    motion_from_humanml264,
    motion_from_motion272,
)
from kinestream.motion import Motion


@dataclass(frozen=True)
class MotionLayout:
    """A layout with the ways from and to Motion; features are un-normalised, [T, D] at 30 fps."""

    layout: FeatureLayout
    from_motion: Callable[[Motion], Tensor] | None
    to_motion: Callable[[Tensor], Motion]

    def from_motion272(self, features: Float[Tensor, "t 272"]) -> Float[Tensor, "u d"]:
        """What a data set's features become; HumanML layouts have one frame less, since they look one ahead."""
        if self.from_motion is None:
            return features
        return self.from_motion(motion_from_motion272(features))

    def joints_m(self, features: Float[Tensor, "t d"]) -> Float[Tensor, "t j 3"]:
        """World positions of the joints as the rotations say."""
        return self.to_motion(features).joint_positions_m()


_LAYOUTS = {
    "motion272": MotionLayout(MOTION272, None, motion_from_motion272),
    "humanml259": MotionLayout(HUMANML259, humanml259_from_motion, motion_from_humanml259),
    "humanml264": MotionLayout(HUMANML264, humanml264_from_motion, motion_from_humanml264),
}


def motion_layout(name: str) -> MotionLayout:
    """The layout of that name; BadInputError lists those a tokenizer can have."""
    if name not in _LAYOUTS:
        raise BadInputError(f"[task] layout: expected one of {', '.join(_LAYOUTS)}, got {name!r}")
    return _LAYOUTS[name]
