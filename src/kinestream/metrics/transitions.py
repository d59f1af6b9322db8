"""Smoothness where one action follows another: FlowMDM's peak jerk and area under the jerk."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inputs import require_fps, require_joints, require_rows
from kinestream.metrics.pose import jerk_mps3

TRANSITION_FRAMES = 30


class TransitionJerk(NamedTuple):
    """`peak` in m/s³, `area` in m/s²."""

    peak: Tensor
    area: Tensor

    def per_frame(self, fps: float) -> TransitionJerk:
        """Metres a frame³ and metres a frame², the units of published tables ("PJ" and "AUJ")."""
        return TransitionJerk(self.peak / fps**3, self.area / fps**2)


def transition_curve(
    joints_m: Float[Tensor, "t j 3"],
    at_frame: int,
    fps: float,
    frames: int = TRANSITION_FRAMES,
    *,
    compat: bool = False,
) -> Float[Tensor, "f"]:
    """Largest jerk over the joints, m/s³, at each of the `frames` - 3 steps around `at_frame`.

    The window is [at_frame - frames // 2, at_frame - frames // 2 + frames). `compat`: the jerk of published tables
    (`jerk_mps3`). Raises BadInputError where the clip does not hold the window.
    """
    require_joints(joints_m, "transition jerk")
    require_fps(fps, "transition jerk")
    start = at_frame - frames // 2
    if joints_m.ndim != 3 or frames < 4 or start < 0 or start + frames > len(joints_m):
        raise BadInputError(
            f"transition jerk needs one clip [T, J, 3] with {max(frames, 4)} frames around the switch, got frame "
            f"{at_frame} of {tuple(joints_m.shape)} with a window of {frames}"
        )
    return jerk_mps3(joints_m[start : start + frames], fps, compat=compat).amax(dim=-1)


def transition_jerk(
    joints_m: Float[Tensor, "t j 3"],
    at_frame: int,
    fps: float,
    frames: int = TRANSITION_FRAMES,
    baseline_mps3: float = 0.0,
) -> TransitionJerk:
    """Peak jerk and area under the jerk of one switch at `at_frame` (Barquero et al., FlowMDM, CVPR 2024).

    With c_t the largest jerk over the joints at step t of the window: peak = max c_t, area = Σ |c_t - baseline| / fps.
    `baseline_mps3` is the mean of c_t inside real recordings of the same kind; with 0 the area is that under the curve.
    Peak: near the real one is best. Area over a baseline: lower is better.

    A body that stands still through its switch wins the peak and the area over 0, not the area over a baseline. Both
    grow with the liveliness of the two actions: compare with real windows of the same labels. Blind to what the body
    does as long as it does it smoothly (drifting, skating), to the direction of time, and to a switch elsewhere.
    """
    curve = transition_curve(joints_m, at_frame, fps, frames)
    return TransitionJerk(curve.amax(), (curve - baseline_mps3).abs().sum() / fps)


def mean_transition_jerk(curves_mps3: Float[Tensor, "n f"], baseline_mps3: float, fps: float) -> TransitionJerk:
    """Peak and area of the mean curve of many switches.

    `curves_mps3`: rows of `transition_curve`. FlowMDM's tables, which MotionStreamer cites, are this of curves with
    `compat=True`, per frame (`per_frame`). Averaging first hides single bad switches: a tenth of them may jump while
    the mean curve stays smooth, so give the interval of `transition_jerk` over switches beside it.
    """
    require_rows(curves_mps3, "mean transition jerk", what="transitions")
    require_fps(fps, "mean transition jerk")
    mean = curves_mps3.mean(dim=0)
    return TransitionJerk(mean.amax(), (mean - baseline_mps3).abs().sum() / fps)
