"""Jitter and frozen spans: movement that no muscles make, and streams in which nothing comes any more."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inspection.measurement import WHOLE_BODY, Measurement, joint_parts, spoken
from kinestream.metrics.inspection.spans import spans_where
from kinestream.skeleton import smpl22

# Neighbours in time are this far apart, whatever the rate (a frame at lower rates).
STRIDE_S = 1.0 / 30.0
# Strides over which the residual is averaged, to each side.
REACH = 2
# So much of a joint's own way from stride to stride may be off: blows and landings are sudden, noise goes nowhere.
TRAVEL_SHARE = 0.25
# How much more than the trunk's the residual of a joint may be: limbs' ends whip.
_SLACK = {"head": 1.5, "neck": 1.5, "shoulder": 1.5, "elbow": 1.5, "knee": 1.5, "wrist": 3.0, "ankle": 3.0, "foot": 3.0}
# A joint that moves less than this between two frames has not moved: rounding is below, a living body's tremble above.
STILL_M = 5e-6


def jitter(positions_m: Float[Tensor, "t j 3"], fps: float, joint_names: tuple[str, ...]) -> Measurement:
    """How far each joint is from where its neighbours in time put it, metres, less a quarter of its way a stride.

    The place expected is the cubic through the two neighbours before and after, (-a + 4 b + 4 c - d) / 6: exact for
    smooth movement, off by half a step, and by 1.4 times the size of noise. Root mean square over five strides. Any
    skeleton's. Below 30 fps neighbours are further apart than in the calibration: the residual is scaled by
    (fps / 30)^3.
    """
    frames = positions_m.shape[0]
    stride = max(1, round(STRIDE_S * fps))
    values = torch.zeros_like(positions_m[..., 0])
    if frames > 4 * stride:
        a, b, c, d = (positions_m[k * stride : frames - (4 - k) * stride] for k in (0, 1, 3, 4))
        here = positions_m[2 * stride : frames - 2 * stride]
        travel = (c - b).norm(dim=-1) / 2.0
        square = (here - (4.0 * (b + c) - a - d) / 6.0).square().sum(dim=-1)
        reach = REACH * stride
        mean = _windowed(square, reach)
        # Where the residual itself is small, the window only looks over the edge of what is near.
        root = torch.where(square > mean / 4.0, mean, torch.zeros_like(mean)).sqrt()
        beyond = (root - TRAVEL_SHARE * _windowed(travel, reach)).clamp_min(0.0)
        values[2 * stride : frames - 2 * stride] = beyond * min(1.0, fps * STRIDE_S) ** 3
    if joint_names != smpl22().joint_names:
        return Measurement("jitter", values, joint_names, joint_names, joint_names, (3.0,) * len(joint_names))
    slack = tuple(_SLACK.get(name.split("_")[-1], 1.0) for name in joint_names)
    return Measurement("jitter", values, joint_parts(), tuple(spoken(name) for name in joint_names), joint_names, slack)


def _windowed(values: Float[Tensor, "t j"], reach: int) -> Float[Tensor, "t j"]:
    """The mean over `reach` frames to each side, of those that there are."""
    padded = torch.nn.functional.avg_pool1d(values.T, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    return padded.T


def frozen(positions_m: Float[Tensor, "t j 3"], fps: float, joint_names: tuple[str, ...]) -> Measurement:
    """For how long nothing at all has moved when a frame is part of a standstill, seconds; any skeleton's.

    A living body that stands still trembles by tenths of millimetres from frame to frame; a dead stream repeats itself.
    """
    values = torch.zeros_like(positions_m[:, 0, 0])
    if positions_m.shape[0] > 1:
        still = positions_m.diff(dim=0).norm(dim=-1).amax(dim=1) < STILL_M * 30.0 / max(fps, 30.0)
        for first, last in spans_where(still):
            values[first : last + 2] = (last - first + 1) / fps
    return Measurement("frozen", values[:, None], (WHOLE_BODY,), ("nothing moves",), (joint_names[0],))
