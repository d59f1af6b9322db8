"""Skating: a foot that carries the body and slides over the floor."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.metrics.inspection.body import SIDES, Body
from kinestream.metrics.inspection.measurement import Measurement
from kinestream.skeleton import smpl22

# Points of a sole this near to where soles stand may carry the body; other flesh this near the floor does, too.
SOLE_NEAR_M = 0.015
FLESH_NEAR_M = 0.03
# Soles stand where their lowest point is in this share of the frames around, or lower; around is so long, to each side.
STANDING_QUANTILE = 0.2
STANDING_REACH_S = 0.5
# Soles that stay higher than this do not stand.
STANDING_BELOW_M = 0.03
# A running body's feet land and leave moving: so much of its own speed is not counted.
BODY_SPEED_SHARE = 0.12
# Speeds are taken over twice this time, whatever the rate.
STRIDE_S = 1.0 / 30.0

_BALLS = tuple(f"{side}_foot" for side in SIDES)
_FEET = tuple(f"{side}_{part}" for side in SIDES for part in ("ankle", "foot"))


def skating(body: Body) -> Measurement:
    """How fast the slowest standing point of a foot slides, m/s, less a share of the body's own speed.

    A foot carries when a point of its sole (heel, ball, tip) is near the height at which soles stand in these moments,
    be that the floor or a little off it. Of two such feet the slower one carries, as the other may swing close by, and
    one that is flat down does, too. A body that rests on something else (knees, hands, back) drags its feet as it
    likes. 0 otherwise.
    """
    soles = body.soles_m()
    near = soles[..., 1] < (standing_height_m(soles, body.fps) + SOLE_NEAR_M)[:, None, None]
    speed = ground_speed_mps(soles.flatten(1, 2), body.fps).unflatten(1, (2, 3))
    slowest = torch.where(near, speed, torch.full_like(speed, torch.inf)).amin(dim=-1)
    stands = near.any(dim=-1)
    flat = near[..., 0] & near[..., 1]
    slides = stands & ((slowest <= slowest.flip(1)) | flat) & ~rests_elsewhere(body)[:, None]
    allowed = BODY_SPEED_SHARE * ground_speed_mps(body.positions_m[:, :1], body.fps)
    values = torch.where(slides, (slowest - allowed).clamp_min(0.0), torch.zeros_like(slowest))
    return Measurement("skating", values, tuple(f"{side} foot" for side in SIDES), ("slides",) * 2, _BALLS)


def standing_height_m(soles_m: Float[Tensor, "t 2 3 3"], fps: float) -> Float[Tensor, " t"]:
    """How high the soles' lowest point is when they stand, by the frames around each."""
    stride = max(1, round(STRIDE_S * fps))
    reach = max(1, round(STANDING_REACH_S * fps / stride)) * stride
    lowest = soles_m[..., 1].flatten(1).amin(dim=1)
    padded = torch.cat((lowest[:1].expand(reach), lowest, lowest[-1:].expand(reach)))
    around = padded.unfold(0, 2 * reach + 1, 1)[:, ::stride]
    return around.kthvalue(1 + int(STANDING_QUANTILE * (around.shape[1] - 1)), dim=1).values.clamp(max=STANDING_BELOW_M)


def ground_speed_mps(points_m: Float[Tensor, "t k 3"], fps: float) -> Float[Tensor, "t k"]:
    """Horizontal speed from the places one stride before and after (nearer at the ends), m/s."""
    frames = points_m.shape[0]
    if frames < 2:
        return torch.zeros_like(points_m[..., 0])
    stride = max(1, round(STRIDE_S * fps))
    now = torch.arange(frames)
    before, after = (now - stride).clamp(min=0), (now + stride).clamp(max=frames - 1)
    moved = (points_m[after] - points_m[before])[..., [0, 2]].norm(dim=-1)
    speed: Tensor = moved * (fps / (after - before).to(points_m)[:, None])
    return speed


def rests_elsewhere(body: Body) -> Bool[Tensor, " t"]:
    """Whether flesh other than the feet's is on the floor."""
    feet = [smpl22().index(name) for name in _FEET]
    heights = body.heights_m()
    others = [k for k in range(heights.shape[1]) if k not in feet and not 22 <= k < 28]
    return (heights[:, others] < FLESH_NEAR_M).any(dim=1)
