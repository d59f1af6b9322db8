"""`--live`: frames to other programs while they are made."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinestream.server.live import LiveOutput
    from kinestream.streaming import Chunk


def add_live_option(parser: argparse.ArgumentParser) -> None:
    """Add --live."""
    parser.add_argument(
        "--live",
        action="append",
        default=[],
        metavar="URI",
        help="send each frame to another program when it is due (may be repeated): vmc://HOST[:39539] for VSeeFace, "
        "Warudo, Unity, Unreal, Blender, Godot; osc://HOST[:9000]; rokoko://HOST[:14043] (JSON); see docs/live.md",
    )


def open_live(arguments: argparse.Namespace) -> LiveFrames | None:
    """The output that --live asks for."""
    if not arguments.live:
        return None
    from kinestream.server.live import LiveOutput

    return LiveFrames(LiveOutput(arguments.live))


class LiveFrames:
    """A stream's frames to other programs. Frames that come again after a rewind just follow."""

    def __init__(self, output: LiveOutput) -> None:
        self._output = output

    def begin(self, frames_per_step: int) -> None:
        """Nothing is sent before the first frame."""

    def send(self, chunk: Chunk) -> None:
        """Give frames to be sent when they are due."""
        self._output.send(chunk.motion)

    def rewound(self, frame: int) -> None:
        """Receivers know no numbers: the body jumps."""

    def close(self) -> None:
        """Send what waits, and say how it went."""
        report = self._output.close()
        print(
            f"kinestream: {report.frames} frames sent, late by {1000 * report.median_s:.1f} ms (median), "
            f"{1000 * report.p99_s:.1f} ms (99 of 100), {1000 * report.worst_s:.1f} ms (worst)",
            file=sys.stderr,
        )
