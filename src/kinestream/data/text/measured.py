"""What a motion lets captions say of pace, duration and number of steps: measured, and only where it is clear."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.text.wording import Said, wording
from kinestream.features import MOTION272
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.skeleton import smpl22

_EXTREMITIES = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")
# A whole number of seconds is said when the motion is this near to it.
_SECONDS_OFF = 0.2
_SHORT_S, _LONG_S = 2.0, 8.0
# Ankles this far apart along the way are a step; feet that shuffle are not counted.
_STEP_M = 0.12
_SMOOTH_FRAMES = 7


def measured(features: Float[Tensor, "t 272"], content: str) -> Said:
    """What may be said of these frames (30 fps) of a content; a content without known limits gets no word of pace."""
    joints = world_joints_from_rotations(features)
    seconds = len(features) / MOTION272.fps
    whole = round(seconds)
    return Said(
        pace=_pace_word(pace_mps(joints), content),
        seconds=whole if whole >= 2 and abs(seconds - whole) <= _SECONDS_OFF else None,
        steps=steps_walked(joints) if content in wording()["stepping"] else None,
        length="short" if seconds < _SHORT_S else "long" if seconds > _LONG_S else "",
    )


def pace_mps(joints: Float[Tensor, "t 22 3"]) -> float:
    """Speed of the fastest wrist or ankle in the world, metres a second, that a tenth of the frames exceed: how fast it
    goes while something is done, however long the body stands before and after."""
    ends = joints[:, [smpl22().index(name) for name in _EXTREMITIES]]
    if len(ends) < 2:
        return 0.0
    return float((ends.diff(dim=0).norm(dim=-1).amax(dim=1) * MOTION272.fps).quantile(0.9))


def steps_walked(joints: Float[Tensor, "t 22 3"]) -> int | None:
    """Steps of somebody who walks or runs: how often the other ankle is farthest ahead; None where it is not clear.

    Ahead is along the hips' way. Clear means that left and right take turns and that at least two steps are made.
    """
    if len(joints) < 2 * _SMOOTH_FRAMES:
        return None
    index = smpl22().index
    hips = joints[:, index("left_hip")] - joints[:, index("right_hip")]
    ahead = torch.linalg.cross(hips, torch.tensor([0.0, 1.0, 0.0]).expand_as(hips), dim=-1)
    ahead = torch.nn.functional.normalize(ahead, dim=-1)
    apart = ((joints[:, index("left_ankle")] - joints[:, index("right_ankle")]) * ahead).sum(dim=-1)
    apart = torch.nn.functional.avg_pool1d(apart[None, None], _SMOOTH_FRAMES, 1)[0, 0]
    inner = apart[1:-1]
    turning = ((inner > apart[:-2]) & (inner >= apart[2:])) | ((inner < apart[:-2]) & (inner <= apart[2:]))
    peaks = inner[turning & (inner.abs() > _STEP_M)].sign()
    alternate = bool((peaks[1:] != peaks[:-1]).all())
    return len(peaks) if len(peaks) >= 2 and alternate else None


def _pace_word(pace: float, content: str) -> str:
    limits = _limits().get(content)
    if limits is None:
        return ""
    return "slow" if pace < limits[0] else "fast" if pace > limits[1] else ""


@lru_cache(maxsize=1)
def _limits() -> Mapping[str, tuple[float, float]]:
    """Content -> below and above which pace (m/s) people would say slow and fast."""
    text = files("kinestream.data.text").joinpath("pace.json").read_text(encoding="utf-8")
    limits: Mapping[str, tuple[float, float]] = json.loads(text)["limits"]
    return limits
