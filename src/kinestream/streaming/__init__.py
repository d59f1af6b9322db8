"""Streams of motion: events go into sessions, engines step them, chunks of frames come out; text and music alike."""

from kinestream.streaming.chunk import Chunk
from kinestream.streaming.clock import Clock, FastClock, RealtimeClock
from kinestream.streaming.dance.engine import DanceEngine
from kinestream.streaming.dance.generate import generate_dance
from kinestream.streaming.dance.options import DanceOptions
from kinestream.streaming.dance.session import DanceSession
from kinestream.streaming.events import (
    AudioEvent,
    ClearQueueEvent,
    Event,
    FinishEvent,
    GenreEvent,
    MusicEvent,
    PromptEvent,
    event_from_json,
)
from kinestream.streaming.protocol import StreamEngine, StreamSession
from kinestream.streaming.scheduler import Scheduler, Stream
from kinestream.streaming.text.engine import Engine
from kinestream.streaming.text.generate import generate
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.session import LoggedEvent, Session

__all__ = [
    "AudioEvent",
    "Chunk",
    "ClearQueueEvent",
    "Clock",
    "DanceEngine",
    "DanceOptions",
    "DanceSession",
    "Engine",
    "Event",
    "FastClock",
    "FinishEvent",
    "GenreEvent",
    "LoggedEvent",
    "MusicEvent",
    "PromptEvent",
    "RealtimeClock",
    "Scheduler",
    "Session",
    "SessionOptions",
    "Stream",
    "StreamEngine",
    "StreamSession",
    "event_from_json",
    "generate",
    "generate_dance",
]
