"""What a stage of restoration is, and which there are: functions from a motion to a motion that say what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast

from kinestream.errors import BadInputError
from kinestream.motion import Motion

Span = tuple[int, int]
"""Frames [start, stop) of a motion."""


@dataclass(frozen=True, eq=False)
class StageResult:
    """What a stage gives: the motion, as long as it was and on the same skeleton, and figures of what was done.

    `report` holds plain numbers, strings, lists and dicts only, so that it can be printed and saved as JSON.
    """

    motion: Motion
    report: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """A step of restoration. Frames outside `spans` come back as they are, bit for bit.

    The motion may have any rate; its skeleton is SMPL-22. Options of a stage's own are keywords with defaults.
    """

    def __call__(self, motion: Motion, spans: Sequence[Span], /) -> StageResult:
        """The motion restored within the spans."""
        ...


# In the order in which they run. Modules are imported when a stage is asked for: physics needs MuJoCo, feet a network.
_WHERE = {
    "physics": ("kinestream.restoration.physics", "physics_stage"),
    "feet": ("kinestream.restoration.feet", "feet_stage"),
    "smooth": ("kinestream.restoration.smooth", "smooth_stage"),
}
STAGE_NAMES = tuple(_WHERE)


def stage_named(name: str) -> Stage:
    """The stage of that name; BadInputError lists the known ones."""
    if name not in _WHERE:
        raise BadInputError(f"unknown stage of restoration {name!r}; known: {', '.join(STAGE_NAMES)}")
    module, function = _WHERE[name]
    return cast(Stage, getattr(import_module(module), function))


def stage_is_here(name: str) -> bool:
    """Whether what a stage needs is installed: MuJoCo for physics."""
    return find_spec(_WHERE[name][0]) is not None and (name != "physics" or find_spec("mujoco") is not None)


def check_spans(motion: Motion, spans: Sequence[Span]) -> None:
    """BadInputError unless the spans lie in the motion, in order, without overlap."""
    last = 0
    for start, stop in spans:
        if not last <= start < stop <= motion.num_frames:
            raise BadInputError(
                f"spans of {motion.name or 'a motion'!s}: expected [start, stop) in order within "
                f"{motion.num_frames} frames, got {list(spans)}"
            )
        last = stop
