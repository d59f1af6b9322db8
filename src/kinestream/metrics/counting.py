"""How often something is done: steps, jumps, bows, blows; and which side does it."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.contact import SMPL22_FEET
from kinestream.metrics.inputs import require_fps, require_joints

Limb = Literal["hand", "foot"]
Repeated = Literal["jump", "bow", "raise", "punch", "kick"]

PELVIS, HEAD = 0, 15
# (left, right) end of each limb and the joint that it hangs at, SMPL-22.
LIMBS: dict[Limb, tuple[tuple[int, int], tuple[int, int]]] = {"hand": ((20, 21), (16, 17)), "foot": ((7, 8), (1, 2))}
# A foot stands below this speed and has left above it; between them it stays what it was.
STANDS_MPS, LEAVES_MPS = 0.35, 0.7
# A foot that comes down nearer than this to where it stood has shifted its weight, not stepped.
STEP_M = 0.12
# How far a signal must go to count as a repetition, in metres.
LEAST_M: dict[Repeated, float] = {"jump": 0.08, "bow": 0.15, "raise": 0.3, "punch": 0.2, "kick": 0.3}
# Shares of the signal's range that it must rise above and fall below between two repetitions.
RISE, FALL = 0.6, 0.4


def acting_side(joints_m: Float[Tensor, "*b t j 3"], limb: Limb) -> Float[Tensor, "*b"]:
    """Which hand or foot acts, -1 (only the right) to 1 (only the left), 0 for both alike.

    (l - r) / (l + r) of how high wrist or ankle rises above its own lowest place, as the body's middle sees it: the
    mean over the clip of its squared height over that place. Heights tell waving, raising and kicking from arms that
    swing and legs that stand. Blind to what is done low down (a straight punch: see `reaching_side`).
    """
    (left, right), _ = LIMBS[limb]
    require_joints(joints_m, f"acting {limb}", frames=2, joints=HEAD + 7)
    height = joints_m[..., [left, right], 1] - (joints_m[..., :1, 1] if limb == "hand" else 0.0)
    risen = (height - height.amin(dim=-2, keepdim=True)).square().mean(dim=-2)
    return _leaning(risen)


def reaching_side(joints_m: Float[Tensor, "*b t j 3"], fps: float, limb: Limb) -> Float[Tensor, "*b"]:
    """Which hand or foot strikes, -1 (the right) to 1 (the left): by its largest speed away from shoulder or hip.

    The limb's end relative to where it hangs, so that a body that walks does not strike; squares of the fastest tenth
    of the frames.
    """
    require_fps(fps, f"reaching {limb}")
    require_joints(joints_m, f"reaching {limb}", frames=3, joints=HEAD + 7)
    ends, roots = LIMBS[limb]
    reach = (joints_m[..., list(ends), :] - joints_m[..., list(roots), :]).norm(dim=-1)
    speed = (reach.diff(dim=-2) * fps).clamp_min(0.0)
    fastest = speed.topk(max(1, speed.shape[-2] // 10), dim=-2).values
    return _leaning(fastest.square().mean(dim=-2))


def _leaning(sides: Tensor) -> Tensor:
    left, right = sides.unbind(dim=-1)
    leaning: Tensor = (left - right) / (left + right).clamp_min(1e-9)
    return leaning


def standing_feet(joints_m: Float[Tensor, "t j 3"], fps: float) -> Bool[Tensor, "t 2"]:
    """Whether left and right foot stand: slower than `STANDS_MPS`, until faster than `LEAVES_MPS`.

    Speed on the ground of the slower of ankle and toe, a mean of three frames.
    """
    require_fps(fps, "standing feet")
    require_joints(joints_m, "standing feet", frames=4, joints=1 + max(max(foot) for foot in SMPL22_FEET))
    ground = joints_m[..., [0, 2]]
    speeds = torch.stack([ground[:, list(foot)].diff(dim=0).norm(dim=-1).amin(dim=1) for foot in SMPL22_FEET], dim=1)
    speeds = torch.cat((speeds[:1], speeds, speeds[-1:])) * fps
    smooth = speeds.unfold(0, 3, 1).mean(dim=-1)
    smooth = torch.cat((smooth, smooth[-1:]))[: len(joints_m)]
    stands = torch.zeros(smooth.shape, dtype=torch.bool)
    for foot in range(2):
        now = bool(smooth[0, foot] < LEAVES_MPS)
        for frame, speed in enumerate(smooth[:, foot].tolist()):
            now = speed < (LEAVES_MPS if now else STANDS_MPS)
            stands[frame, foot] = now
    return stands


def count_steps(joints_m: Float[Tensor, "t j 3"], fps: float) -> int:
    """How often a foot is set down at least `STEP_M` from where it stood before.

    A clip that begins or ends in the middle of a step misses it; shuffling with shorter steps is not counted.
    """
    stands = standing_feet(joints_m, fps)
    steps = 0
    for foot, (ankle, _) in enumerate(SMPL22_FEET):
        places = [joints_m[start:stop, ankle][:, [0, 2]].mean(dim=0) for start, stop in _runs(stands[:, foot])]
        steps += sum(float((b - a).norm()) >= STEP_M for a, b in itertools.pairwise(places))
    return steps


def count_repeats(joints_m: Float[Tensor, "t j 3"], fps: float, what: Repeated) -> int:
    """How often the body jumps, bows, raises its hands, punches or kicks: excursions of the height or reach it needs.

    jump: height of the lowest joint; bow: how far the head comes down towards the pelvis; raise: the higher wrist above
    the pelvis; punch: distance of a wrist from its shoulder, both sides counted; kick: height of an ankle, both sides.
    A signal that moves less than `LEAST_M` counts as none; one that stays out counts as one.
    """
    if what not in LEAST_M:
        raise BadInputError(f"count of repeats: expected one of {', '.join(LEAST_M)}, got {what!r}")
    require_fps(fps, "count of repeats")
    require_joints(joints_m, "count of repeats", frames=3, joints=HEAD + 7)
    return sum(_excursions(signal, LEAST_M[what]) for signal in _signals(joints_m, what))


def _signals(joints_m: Tensor, what: Repeated) -> list[Tensor]:
    height = joints_m[..., 1]
    if what == "jump":
        return [height.amin(dim=1)]
    if what == "bow":
        return [height[:, PELVIS] - height[:, HEAD]]
    if what == "raise":
        return [height[:, list(LIMBS["hand"][0])].amax(dim=1) - height[:, PELVIS]]
    if what == "kick":
        return list(height[:, list(LIMBS["foot"][0])].unbind(dim=1))
    ends, roots = LIMBS["hand"]
    return list((joints_m[:, list(ends)] - joints_m[:, list(roots)]).norm(dim=-1).unbind(dim=1))


def _excursions(signal: Tensor, least: float) -> int:
    """How often a signal rises above a share of its range after it was below another."""
    low, high = float(signal.min()), float(signal.max())
    if high - low < least:
        return 0
    count, out = 0, False
    for value in signal.tolist():
        if not out and value > low + RISE * (high - low):
            count, out = count + 1, True
        elif out and value < low + FALL * (high - low):
            out = False
    return count


def _runs(flags: Tensor) -> list[tuple[int, int]]:
    """Start and end of each run of true."""
    padded = torch.cat((torch.zeros(1, dtype=torch.bool), flags, torch.zeros(1, dtype=torch.bool))).int().diff()
    return list(zip((padded == 1).nonzero()[:, 0].tolist(), (padded == -1).nonzero()[:, 0].tolist(), strict=True))
