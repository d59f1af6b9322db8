"""Streams of motion: sessions, the engine that steps them, pacing, and whole motions in one call."""

from kinestream.streaming.clock import Clock, FastClock, RealtimeClock
from kinestream.streaming.engine import Engine
from kinestream.streaming.generate import generate
from kinestream.streaming.options import SessionOptions
from kinestream.streaming.scheduler import Scheduler, Stream
from kinestream.streaming.session import Event, Session
from kinestream.streaming.timeline import StepResult

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
