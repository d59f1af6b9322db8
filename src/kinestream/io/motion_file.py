"""A motion as it was read from a file: with the file's own axes and units, how they were found, and what was odd."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kinestream.errors import InputWarning
from kinestream.io.bvh_hierarchy import Channels
from kinestream.motion import Motion


@dataclass(frozen=True)
class BvhLayout:
    """How a BVH file writes its body: units a metre, channels by joint, and its up axis ("y", "-z", ...)."""

    units_per_metre: float = 100.0
    channels: Mapping[str, Channels] = field(default_factory=dict)
    up: str = "y"


@dataclass(frozen=True)
class MotionFile:
    """What a file holds.

    `motion` is in metres, Y up. `up`: the file's own up axis, `up_how` what told it; `metres_per_unit` and `unit_how`
    the same for its unit. `layout` is a BVH file's, None for others. `warnings`: what was odd, a sentence each.
    """

    motion: Motion
    up: str
    up_how: str
    metres_per_unit: float = 1.0
    unit_how: str = "the format's"
    layout: BvhLayout | None = None
    warnings: tuple[str, ...] = ()


def warn(messages: Iterable[str]) -> None:
    """Say each as an `InputWarning`, for callers that did not ask for the list."""
    for message in messages:
        warnings.warn(message, InputWarning, stacklevel=3)
