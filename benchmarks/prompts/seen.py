"""What a clip shows, as numbers and labels: the same functions for what is generated and for what was recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchmarks.quality.classifier import Classifier
from benchmarks.quality.takes import FPS, Take
from kinestream.metrics import (
    acting_side,
    count_repeats,
    count_steps,
    reaching_side,
    still_seconds,
    travel_angle_rad,
    travelled_m,
    turned_rad,
)
from kinestream.metrics.counting import Repeated

# Where a clip of two deeds may change from one to the other, as shares of its length.
CUTS = (0.25, 0.35, 0.45, 0.55, 0.65, 0.75)
# What the classifier needs to see of a part.
LEAST_FRAMES = 16


@dataclass(frozen=True, eq=False)
class Seen:
    """One clip with the classifier's names for it; everything else is measured when it is asked for."""

    take: Take
    content: str
    style: str
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.take.num_frames / FPS

    @cached_property
    def hand(self) -> float:
        """-1 (right) to 1 (left): which hand is raised."""
        return float(acting_side(self.take.joints_m, "hand"))

    @cached_property
    def striking_hand(self) -> float:
        """-1 (right) to 1 (left): which hand strikes."""
        return float(reaching_side(self.take.joints_m, FPS, "hand"))

    @cached_property
    def foot(self) -> float:
        """-1 (right) to 1 (left): which foot is raised."""
        return float(acting_side(self.take.joints_m, "foot"))

    @cached_property
    def travel(self) -> Tensor:
        """Metres forward and to the left."""
        return travelled_m(self.take.joints_m)

    @property
    def travel_deg(self) -> float:
        """Direction of travel, 0 forward, positive to the left."""
        return math.degrees(float(travel_angle_rad(self.travel)))

    @cached_property
    def turned_deg(self) -> float:
        """How far it turns, positive to the left."""
        return math.degrees(float(turned_rad(self.take.joints_m)))

    @cached_property
    def steps(self) -> int:
        """Steps."""
        return count_steps(self.take.joints_m, FPS)

    def repeats(self, what: Repeated) -> int:
        """How often it does what is counted."""
        return count_repeats(self.take.joints_m, FPS, what)

    @cached_property
    def speed_mps(self) -> float:
        """Mean speed of all joints in the world."""
        return float(self.take.joints_m.diff(dim=0).norm(dim=-1).mean()) * FPS

    @cached_property
    def still_share(self) -> float | None:
        """Share of whole seconds in which it stands still; None for less than a second."""
        if self.take.num_frames < FPS:
            return None
        return float(still_seconds(self.take.joints_m, FPS).float().mean())


def observe(classifier: Classifier, takes: Sequence[Take], in_parts: Sequence[bool]) -> list[Seen]:
    """Every clip as the classifier names it; where `in_parts`, also before and after each of `CUTS`."""
    contents, styles = classifier.guesses(takes)
    pieces, owners = [], []
    for row, (take, wanted) in enumerate(zip(takes, in_parts, strict=True)):
        for cut in CUTS if wanted else ():
            frame = round(cut * take.num_frames)
            if min(frame, take.num_frames - frame) >= LEAST_FRAMES:
                halves = (take.features[:frame], take.features[frame:])
                pieces += [Take(take.name, take.content, take.style, half) for half in halves]
                owners.append(row)
    named = classifier.guesses(pieces)[0] if pieces else []
    parts: dict[int, list[tuple[str, str]]] = {}
    for place, row in enumerate(owners):
        parts.setdefault(row, []).append((named[2 * place], named[2 * place + 1]))
    return [Seen(take, contents[row], styles[row], tuple(parts.get(row, ()))) for row, take in enumerate(takes)]


def joined(takes: Sequence[Take]) -> Take:
    """Clips one after the other, as one; the features hold steps, so the path goes on."""
    name = " + ".join(take.name for take in takes)
    return Take(name, takes[0].content, takes[0].style, torch.cat([take.features for take in takes]))
