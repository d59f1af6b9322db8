"""A recording's way over the floor, found again from its standing feet where the recorded one is wrong along Z.

A foot that carries a body does not move. Where standing feet of a recording keep still along X and in height but slide
along Z, what slides is the whole body: its track along Z is wrong. Here it is summed up anew from what stands.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# What a standing point still moves by along X and in height, how high it may be, and how fast a track may be wrong.
_STILL_MPS = 0.1
_LOW_M = 0.03
_WRONG_MPS = 1.0
# The error of a track changes slowly: this change from frame to frame costs as much as one of the above; more than
# that is capped, so that the weight can go from foot to foot.
_CHANGE_MPS = 0.15
_MAX_CHANGE_COST = 4.0
# From this cost on nothing stands for certain, and the error is what it is before and after.
_STANDS_COST = 2.0
# Tracks whose standing feet slide by less than this on average are right.
_RIGHT_MPS = 0.08


def standing_slide_m(points_m: Float[Tensor, "t p 3"], floor_m: Float[Tensor, "p"], fps: float) -> Float[Tensor, "t 3"]:
    """How far the recording has slid over the floor since its first frame, by its standing points (Y stays 0).

    `points_m` are points of both soles, `floor_m` the height of each when it stands.
    """
    if len(points_m) < 3:
        return torch.zeros_like(points_m[:, 0])
    velocity = torch.gradient(points_m, dim=0)[0] * fps
    height = (points_m[..., 1] - floor_m).clamp_min(0.0)
    cost = 0.5 * (
        velocity[..., :2].square().sum(dim=-1) / _STILL_MPS**2
        + (height / _LOW_M).square()
        + (velocity[..., 2] / _WRONG_MPS).square()
    )
    path = _cheapest_path(cost, velocity[..., 2])
    rows = torch.arange(len(path))
    slide, stands = velocity[rows, path], cost[rows, path] < _STANDS_COST
    if float(slide[stands].norm(dim=-1).mean().nan_to_num()) < _RIGHT_MPS:
        return torch.zeros_like(slide)
    slide = filled(slide, stands)
    slide[:, 1] = 0.0
    halves = 0.5 * (slide[1:] + slide[:-1]) / fps
    return torch.cat((torch.zeros_like(slide[:1]), halves.cumsum(dim=0)))


def _cheapest_path(cost: Float[Tensor, "t p"], value: Float[Tensor, "t p"]) -> Tensor:
    """Which point to follow in each frame: cheap ones whose values go over into each other (Viterbi)."""
    change = (value[1:, None, :] - value[:-1, :, None]).abs() / _CHANGE_MPS
    change = change.clamp_max(_MAX_CHANGE_COST)
    total, came = cost[0], []
    for step, here in zip(change, cost[1:], strict=True):
        best = (total[:, None] + step).min(dim=0)
        came.append(best.indices)
        total = best.values + here
    path = [int(total.argmin())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return torch.tensor(path[::-1])


def filled(values: Float[Tensor, "t d"], known: Bool[Tensor, " t"]) -> Float[Tensor, "t d"]:
    """The values with those that are not known drawn as lines between the nearest known ones."""
    where = torch.nonzero(known)[:, 0]
    if len(where) == 0:
        return torch.zeros_like(values)
    after = torch.searchsorted(where, torch.arange(len(values))).clamp(max=len(where) - 1)
    before = (torch.searchsorted(where, torch.arange(len(values)), right=True) - 1).clamp(min=0)
    low, high = where[before], where[after]
    share = (torch.arange(len(values)) - low) / (high - low).clamp_min(1)
    return torch.lerp(values[low], values[high], share.to(values)[:, None].clamp(0.0, 1.0))
