"""What every metric asks of its inputs; what does not fit is one BadInputError that says what the metric needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.motion import Motion

RATE_TOLERANCE = 1e-3


def require_joints(joints_m: Tensor, metric: str, *, frames: int = 1, joints: int = 1) -> None:
    """Joint positions [..., T, J, 3] in metres, finite, with at least so many frames and joints."""
    _require_tensor(joints_m, metric)
    if joints_m.ndim < 3 or joints_m.shape[-1] != 3 or not joints_m.is_floating_point():
        raise BadInputError(
            f"{metric}: expected joint positions [..., frames, joints, 3] in metres, got {_described(joints_m)}"
        )
    if joints_m.shape[-3] < frames:
        raise BadInputError(f"{metric} needs at least {frames} frames, got {joints_m.shape[-3]}")
    if joints_m.shape[-2] < joints:
        raise BadInputError(
            f"{metric} needs at least {joints} joints in the order of the SMPL-22 skeleton, got {joints_m.shape[-2]}: "
            "retarget the motion first"
        )
    require_finite(joints_m, metric)


def require_rows(
    rows: Tensor, metric: str, *, least: int = 1, because: str = "", what: str = "samples", dims: int = 2
) -> None:
    """A table [N, D] (`dims` axes in all) of finite values with at least `least` rows; `because` says why so many."""
    _require_tensor(rows, metric)
    if rows.ndim != dims or (dims > 1 and rows.shape[-1] == 0) or not rows.is_floating_point():
        shape = {1: "[N]", 2: "[N, D]", 3: "[P, R, D]"}[dims]
        raise BadInputError(f"{metric}: expected {what} as floating point numbers {shape}, got {_described(rows)}")
    if len(rows) < least:
        raise BadInputError(f"{metric} needs at least {least} {what}{because}, got {len(rows)}")
    require_finite(rows, metric)


def require_pair(a: Tensor, b: Tensor, metric: str, what: str = "rows of both") -> None:
    """Two tensors of one shape, row k of one belonging to row k of the other."""
    if a.shape != b.shape:
        raise BadInputError(f"{metric}: expected equal shapes ({what} belong together), got {_both(a, b)}")


def require_same_width(a: Tensor, b: Tensor, metric: str) -> None:
    """Two tables whose rows live in one space."""
    if a.shape[-1] != b.shape[-1]:
        raise BadInputError(
            f"{metric}: expected rows of equal width, got {_both(a, b)}: use one evaluator and one skeleton for both"
        )


def require_finite(values: Tensor, metric: str) -> None:
    """No NaN and no infinity."""
    if not bool(torch.isfinite(values).all()):
        broken = int((~torch.isfinite(values)).sum())
        raise BadInputError(
            f"{metric}: expected finite values, got {broken} NaN or infinite of {values.numel()} in "
            f"{_described(values)}: find out where they come from, a metric cannot say anything about them"
        )


def require_fps(fps: float, metric: str) -> None:
    """A positive finite frame rate."""
    if not 0.0 < fps < 100_000.0:
        raise BadInputError(f"{metric}: expected a positive frame rate, got {fps}")


def joints_and_rate(motions: Sequence[Motion]) -> tuple[list[Float[Tensor, "t j 3"]], float]:
    """World joint positions of motions and their one frame rate, which is what the metrics on joints take.

    Raises BadInputError where the motions differ in joints or frame rate: numbers of different bodies, or of the same
    body at other rates, are not comparable (jerk grows with the cube of the rate).
    """
    if not motions:
        raise BadInputError("metrics need at least one motion, got none")
    first = motions[0]
    for other in motions[1:]:
        if other.skeleton.joint_names != first.skeleton.joint_names:
            raise BadInputError(
                f"metrics need one skeleton: {first.name or 'the first motion'!r} has the "
                f"{first.skeleton.num_joints} joints of {first.skeleton.name}, {other.name or 'another'!r} the "
                f"{other.skeleton.num_joints} of {other.skeleton.name}; retarget them to one"
            )
        if abs(other.fps - first.fps) > RATE_TOLERANCE * first.fps:
            raise BadInputError(
                f"metrics need one frame rate: {first.name or 'the first motion'!r} has {first.fps:g} frames per "
                f"second, {other.name or 'another'!r} {other.fps:g}; resample them to one"
            )
    return [motion.joint_positions_m() for motion in motions], first.fps


def _require_tensor(values: object, metric: str) -> None:
    if not isinstance(values, Tensor):
        raise BadInputError(f"{metric}: expected a tensor, got {type(values).__name__}: torch.as_tensor makes one")


def _both(a: Tensor, b: Tensor) -> str:
    return f"{tuple(a.shape)} and {tuple(b.shape)}"


def _described(values: Tensor) -> str:
    return f"a tensor of shape {tuple(values.shape)} and type {str(values.dtype).removeprefix('torch.')}"
