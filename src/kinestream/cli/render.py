"""`kinestream render`: a motion file as a film or a picture."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import SIDE_BY_SIDE_SUFFIXES, check_outputs, draw
from kinestream.cli.parser import add_verb, existing_file, positive_float, positive_int
from kinestream.cli.reading import READING_USAGE, add_reading_options, read_as_asked
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

DESCRIPTION = """\
Render a motion without a GPU or a screen: .mp4 is a film, .png a strip of poses, .html a page to orbit and scrub in.

Several files are shown side by side.

  kinestream render clip.bvh -o clip.mp4
  kinestream render real.bvh generated.bvh -o compare.mp4 --size 1920x1080 --view 30
  kinestream render clip.bvh -o clip.png --poses 12
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `render`."""
    parser = add_verb(
        verbs,
        "render",
        usage="render FILE [FILE ...] -o OUT [--size WxH] [--fps N] [--view DEGREES] [--poses N]\n"
        f"                         {READING_USAGE}",
        summary="draw motion files as .mp4, .png or .html",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help="motion files (.bvh, .npz, .npy)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help=".mp4, .png or .html to write")
    parser.add_argument(
        "--size", type=size, default=(1280, 720), metavar="WxH", help="the film's pixels (default: 1280x720)"
    )
    parser.add_argument("--fps", type=positive_float, metavar="N", help="the film's frame rate (default: the motion's)")
    parser.add_argument(
        "--view", type=float, metavar="DEGREES", help="camera's direction: 0 is in front, 90 the left side"
    )
    parser.add_argument("--poses", type=positive_int, default=8, metavar="N", help="poses in a strip (default: 8)")
    add_reading_options(parser)


def size(text: str) -> tuple[int, int]:
    """Pixels written as 1280x720."""
    width, _, height = text.lower().partition("x")
    return positive_int(width), positive_int(height)


def run(arguments: argparse.Namespace) -> None:
    """Read, draw, print the file written."""
    sources = [existing_file(path, "a motion file") for path in arguments.inputs]
    output: Path = arguments.output
    if output.suffix.lower() not in SIDE_BY_SIDE_SUFFIXES:
        known = ", ".join(SIDE_BY_SIDE_SUFFIXES)
        raise BadInputError(f"{output}: render writes {known}; `kinestream convert` writes other formats")
    azimuth_rad = None
    if arguments.view is not None:
        if not math.isfinite(arguments.view):
            raise BadInputError(f"--view expects degrees, got {arguments.view}")
        azimuth_rad = math.radians(arguments.view)
    check_outputs([output])
    motions = [read_as_asked(source, arguments).motion for source in sources]
    draw(motions, output, size=arguments.size, fps=arguments.fps, azimuth_rad=azimuth_rad, poses=arguments.poses)
    print(output)
