"""What a landmark network says of single pictures, made consistent over time: changed sides, lost pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.landmarks import LANDMARKS, landmark

Array = NDArray[np.float64]

# Landmark k of the other side.
MIRRORED = tuple(
    LANDMARKS.index(
        name.replace("left", "\0").replace("right", "left").replace("\0", "right") if "left" in name or "right" in name
        else name
    )
    for name in LANDMARKS
)  # fmt: skip
_LIMBS = [landmark(f"{side}_{part}") for side in ("left", "right") for part in (
    "shoulder", "elbow", "wrist", "hip", "knee", "ankle")]  # fmt: skip
# The network is right about front and back as a rule: believing otherwise costs this many metres a second.
_DOUBT_MPS = 0.25
# A picture is lost where a body jumps away by this share of its size and is soon back where it was.
_LOST_SHARE = 0.07
_RETURNED_SHARE = 0.5
_LONGEST_LOST = 4


def unflipped(rows: dict[str, NDArray[Any]], times_s: Array) -> dict[str, NDArray[Any]]:
    """Rows of one person ("points_px", "depth_px", "world_m", "confidence"; [N, 33, ...]) without changes of sides.

    From one picture a body and its mirror image in depth, left and right exchanged, look alike. In each picture the
    one is chosen that makes the whole sequence move least (Viterbi's algorithm over the two readings).
    """
    world = rows["world_m"][:, _LIMBS].astype(np.float64)
    other = _reflected(rows["world_m"])[:, _LIMBS].astype(np.float64)
    readings = np.stack((world, other))
    sure = rows["confidence"][:, _LIMBS].astype(np.float64) + 0.05
    doubt = np.concatenate(([0.0], np.diff(times_s))) * _DOUBT_MPS
    cost, came = np.zeros(2), np.zeros((len(world), 2), np.int64)
    cost[1] = doubt[1] if len(doubt) > 1 else 1.0
    for t in range(1, len(world)):
        weight = np.minimum(sure[t], sure[t - 1])
        moved = np.linalg.norm(readings[:, None, t] - readings[None, :, t - 1], axis=-1)
        steps = (moved * weight).sum(-1) / weight.sum() + cost[None]
        came[t] = steps.argmin(axis=1)
        cost = steps.min(axis=1) + np.array((0.0, doubt[t]))
    state = np.zeros(len(world), np.int64)
    state[-1] = int(cost.argmin())
    for t in range(len(world) - 1, 0, -1):
        state[t - 1] = came[t, state[t]]
    flipped = state == 1
    out = {name: values.copy() for name, values in rows.items()}
    for name in ("points_px", "confidence"):
        out[name][flipped] = rows[name][flipped][:, MIRRORED]
    out["depth_px"][flipped] = -rows["depth_px"][flipped][:, MIRRORED]
    out["world_m"][flipped] = _reflected(rows["world_m"][flipped])
    return out


def _reflected(world_m: NDArray[np.float32]) -> NDArray[np.float32]:
    mirrored = world_m[:, MIRRORED].copy()
    mirrored[..., 2] *= -1.0
    return mirrored


def lost(points_px: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[N]: up to four pictures in a row whose landmarks [N, 33, 2] are far from those before and after."""
    limbs = points_px[:, _LIMBS].astype(np.float64)
    size = np.linalg.norm(limbs.max(axis=1) - limbs.min(axis=1), axis=-1)
    out = np.zeros(len(limbs), bool)
    for count in range(1, _LONGEST_LOST + 1):
        for first in range(1, len(limbs) - count):
            before, after = limbs[first - 1], limbs[first + count]
            between = 0.5 * (before + after)
            away = np.linalg.norm(limbs[first : first + count] - between, axis=-1).mean(axis=-1)
            around = np.linalg.norm(after - before, axis=-1).mean()
            if away.min() > _LOST_SHARE * size[first - 1] and around < _RETURNED_SHARE * away.min():
                out[first : first + count] = True
    return out
