"""Streams of motion: sessions, the engine that steps them, pacing, and whole motions in one call."""

from kinestream.streaming.clock import Clock, FastClock, RealtimeClock
from kinestream.streaming.scheduler import Scheduler, Stream
from kinestream.streaming.text.engine import Engine
from kinestream.streaming.text.generate import generate
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.session import Event, Session
from kinestream.streaming.text.timeline import StepResult

__all__ = [
    "Clock",
    "Engine",
    "Event",
    "FastClock",
    "RealtimeClock",
    "Scheduler",
    "Session",
    "SessionOptions",
    "StepResult",
    "Stream",
    "generate",
]
