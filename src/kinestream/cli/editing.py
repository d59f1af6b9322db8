"""Options that cut, join, mirror and loop motions, shared by the verbs that have them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinestream.cli.parser import number_from_zero, positive_float
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.motion import Motion

EDITING_USAGE = "[--start S] [--end S] [--speed X] [--mirror] [--in-place] [--loop] [--blend S]"
_BLEND_S = 0.25


def add_editing_options(parser: argparse.ArgumentParser) -> None:
    """Add `--start`, `--end`, `--speed`, `--mirror`, `--in-place`, `--loop` and `--blend`."""
    group = parser.add_argument_group("cuts, in this order")
    group.add_argument(
        "--blend", type=number_from_zero, metavar="S", help=f"seconds that several files overlap (default: {_BLEND_S})"
    )
    group.add_argument("--start", type=number_from_zero, default=0.0, metavar="S", help="leave out what is before")
    group.add_argument("--end", type=positive_float, metavar="S", help="leave out what is after, in seconds of IN")
    group.add_argument("--speed", type=positive_float, metavar="X", help="X times as fast")
    group.add_argument("--mirror", action="store_true", help="exchange left and right")
    group.add_argument("--in-place", action="store_true", help="take travel over the ground out")
    group.add_argument(
        "--loop",
        action="store_true",
        help="cut the best cycle and close it without a seam; its last frame is its first. A cycle that travels goes "
        "on from where it ended, unless --in-place",
    )


def check_editing(arguments: argparse.Namespace, files: int) -> None:
    """BadInputError for options that contradict each other."""
    if arguments.blend is not None and files < 2:
        raise BadInputError("--blend joins several files; name two at least, and the file to write with -o")
    if arguments.end is not None and arguments.end <= arguments.start:
        raise BadInputError(f"--end must be after --start, got {arguments.start:g} to {arguments.end:g} s")


def edited(motions: Sequence[Motion], arguments: argparse.Namespace) -> Motion:
    """The motions as one, cut as the options say, at the rate of `--fps`; where a loop was cut is said on stderr."""
    from kinestream.editing import between, in_place, joined, looped, mirrored, retimed
    from kinestream.motion import resample

    motion = motions[0]
    if len(motions) > 1:
        motion = joined(motions, _BLEND_S if arguments.blend is None else arguments.blend)
    if arguments.start or arguments.end is not None:
        motion = between(motion, arguments.start, arguments.end)
    if arguments.speed is not None:
        motion = retimed(motion, arguments.speed)
    if arguments.mirror:
        motion = mirrored(motion)
    if arguments.in_place:
        motion = in_place(motion)
    if arguments.fps is not None:
        motion = resample(motion, arguments.fps)
    if not arguments.loop:
        return motion
    loop = looped(motion, travels=False if arguments.in_place else None)
    where = "each cycle goes on from where the last one ended" if loop.travels else "closed on the spot"
    print(
        f"loop: {loop.start / motion.fps:.2f} s to {loop.stop / motion.fps:.2f} s, {where}; joints lay "
        f"{loop.seam_m * 100:.1f} cm apart before the ends were blended",
        file=sys.stderr,
    )
    return loop.motion
