"""Self-collision: capsules around the bones that go through each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inspection.body import SIDES, Body, data_file
from kinestream.metrics.inspection.measurement import Measurement, spoken
from kinestream.motion import mirrored_name

# Long recordings are gone through in pieces: all pairs of an hour would not fit into memory.
FRAMES_AT_ONCE = 8192


@dataclass(frozen=True)
class Capsule:
    """A segment between two points that move with joints, and the radius of the flesh around it, of the mean body."""

    name: str
    start: tuple[str, float, float, float]
    end: tuple[str, float, float, float]
    radius_m: float


@lru_cache(maxsize=1)
def capsules() -> dict[str, Capsule]:
    """The body's capsules by name, both sides."""
    found = {}
    for name, shape in data_file("body.json")["capsules"].items():
        found[name] = Capsule(name, _point(shape["start"]), _point(shape["end"]), float(shape["radius_m"]))
        other = mirrored_name(name)
        if other != name:
            ends = _point(shape["start"], mirrored=True), _point(shape["end"], mirrored=True)
            found[other] = Capsule(other, *ends, float(shape["radius_m"]))
    return found


def _point(given: list[Any], mirrored: bool = False) -> tuple[str, float, float, float]:
    joint, x, y, z = given
    return (mirrored_name(joint), -x, y, z) if mirrored else (joint, x, y, z)


@lru_cache(maxsize=1)
def capsule_pairs() -> tuple[tuple[str, str], ...]:
    """The pairs of capsules that may not go through each other."""
    pairs: dict[tuple[str, str], None] = {}
    for these, those, sides in data_file("body.json")["collisions"]["pairs"]:
        for first in _sided(these):
            for second in _sided(those):
                same_side = first.split("_")[0] == second.split("_")[0]
                if not (sides == "other" and same_side) and (second, first) not in pairs:
                    pairs[first, second] = None
    return tuple(pairs)


def _sided(names: list[str]) -> list[str]:
    return [known for name in names for known in (name, *(f"{side}_{name}" for side in SIDES)) if known in capsules()]


def self_collision(body: Body) -> Measurement:
    """How deep the capsules of each pair are in each other, metres, a column a pair; 0 for those that are apart."""
    shapes, pairs = capsules(), capsule_pairs()
    order = {name: k for k, name in enumerate(shapes)}
    starts = torch.stack([body.points_m(c.start[0], c.start[1:]) for c in shapes.values()], dim=1)
    ends = torch.stack([body.points_m(c.end[0], c.end[1:]) for c in shapes.values()], dim=1)
    radii = starts.new_tensor([c.radius_m for c in shapes.values()]) * body.size
    a, b = ([order[pair[side]] for pair in pairs] for side in (0, 1))
    rows = [slice(first, first + FRAMES_AT_ONCE) for first in range(0, body.num_frames, FRAMES_AT_ONCE)]
    apart = torch.cat(
        [segment_distance_m(starts[k][:, a], ends[k][:, a], starts[k][:, b], ends[k][:, b]) for k in rows]
    )
    depth = (radii[a] + radii[b] - apart).clamp_min(0.0)
    names = tuple(f"in the {spoken(second)}" for _, second in pairs)
    places = tuple(shapes[first].end[0] for first, _ in pairs)
    return Measurement("self_collision", depth, tuple(spoken(first) for first, _ in pairs), names, places)


def segment_distance_m(
    a: Float[Tensor, "*n 3"], b: Float[Tensor, "*n 3"], c: Float[Tensor, "*n 3"], d: Float[Tensor, "*n 3"]
) -> Float[Tensor, " *n"]:
    """The shortest distance between the segments from a to b and from c to d (Ericson, Real-Time Collision
    Detection, 2005, section 5.1.9); segments may be points.
    """
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    tiny = 1e-12
    across = uu * vv - uv * uv
    s = torch.where(across > tiny, (uv * vw - uw * vv) / across.clamp_min(tiny), torch.zeros_like(across)).clamp(0, 1)
    t = ((uv * s + vw) / vv.clamp_min(tiny)).clamp(0.0, 1.0)
    s = ((uv * t - uw) / uu.clamp_min(tiny)).clamp(0.0, 1.0)
    distance: Tensor = (w + s[..., None] * u - t[..., None] * v).norm(dim=-1)
    return distance
