"""Frames to other programs while they are made: VMC, plain OSC, and JSON in Rokoko's form."""

from kinestream.server.live.output import FORMS, LiveOutput, LiveReport

__all__ = ["FORMS", "LiveOutput", "LiveReport"]
