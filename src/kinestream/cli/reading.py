"""Reading motion files as the user says they are: options and warnings that every verb which reads one shares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import positive_float

if TYPE_CHECKING:
    from kinestream.io.motion_file import MotionFile

_UNITS = ("m", "cm", "dm", "mm", "in", "ft")

READING_USAGE = "[--up x|y|z] [--unit cm|...] [--input-fps N] [--clip NAME]"


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add `--up`, `--unit`, `--input-fps` and `--clip`."""
    group = parser.add_argument_group("how to read motion files")
    group.add_argument(
        "--up", choices=["x", "y", "z"], metavar="AXIS", help="the file's up axis: x, y or z (default: found out)"
    )
    group.add_argument(
        "--unit", choices=_UNITS, metavar="UNIT", help="the file's unit: m, cm, dm, mm, in or ft (default: found out)"
    )
    group.add_argument(
        "--input-fps",
        type=positive_float,
        metavar="N",
        help="the file's frames per second, where it says none or a wrong rate",
    )
    group.add_argument("--clip", metavar="NAME", help="which animation of a .glb, by name or number from 0")


def read_as_asked(path: Path, arguments: argparse.Namespace) -> MotionFile:
    """The file as `--up`, `--unit` and `--input-fps` say; what is odd about it is said on stderr."""
    from kinestream.io import read_motion_file
    from kinestream.io.bvh_hierarchy import UNIT_NAMES

    unit = None if arguments.unit is None else UNIT_NAMES[arguments.unit]
    found = read_motion_file(path, fps=arguments.input_fps, up=arguments.up, metres_per_unit=unit, clip=arguments.clip)
    say_warnings(found.warnings)
    return found


def say_warnings(messages: Iterable[str]) -> None:
    """One line each on stderr."""
    for message in messages:
        print(f"kinestream: warning: {message}", file=sys.stderr)
