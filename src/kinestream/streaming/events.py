"""What goes into any stream: prompts, sound, genres and the end of the input, each at a time of its own.

An event is a value. Those without sound have a JSON form: `event_from_json(event.to_json())` is the same event. A kind
of session takes the events that it lists in `takes` and refuses all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kinestream.errors import BadInputError
from kinestream.streaming.checks import check_positive, check_switch, check_time

MAX_PROMPT_S = 3_600.0


@dataclass(frozen=True)
class Event:
    """Something that is said to a stream. `kind` is its name in JSON."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """JSON values that `event_from_json` turns back into an equal event; BadInputError for sound."""
        return {"kind": self.kind} | dataclasses.asdict(self)


@dataclass(frozen=True)
class PromptEvent(Event):
    """Act a sentence.

    Attributes:
        text: a sentence.
        seconds: how long (to the nearest latent, 0.133 s); None until the motion ends by itself. A motion that ends
            before its time is acted again.
        queue: whether it follows everything before it; False replaces what is acted.
        at_s: when, in seconds of the stream; None, or a time that is over, for the next latent.
    """

    kind: ClassVar[str] = "prompt"
    text: str
    seconds: float | None = None
    queue: bool = False
    at_s: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise BadInputError(f"A prompt is a sentence; got {self.text!r}.")
        if self.seconds is not None:
            check_positive("A prompt's duration in seconds", self.seconds, MAX_PROMPT_S)
        check_switch("queue", self.queue)
        check_time("at_s", self.at_s)


@dataclass(frozen=True)
class ClearQueueEvent(Event):
    """Forget the prompts that wait; the one that is acted goes on."""

    kind: ClassVar[str] = "clear_queue"


@dataclass(frozen=True)
class GenreEvent(Event):
    """Dance another genre (None: what the music suggests) from the first piece on that begins at or after `at_s`.

    at_s: seconds of the song; None, or a time that is danced already, for the next piece.
    """

    kind: ClassVar[str] = "genre"
    genre: str | None
    at_s: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.genre, str | None):
            raise BadInputError(f"A genre is a name or None; got {self.genre!r}.")
        check_time("at_s", self.at_s)


@dataclass(frozen=True)
class FinishEvent(Event):
    """Nothing more comes: what waits is still acted or danced to, then the stream ends."""

    kind: ClassVar[str] = "finish"


@dataclass(frozen=True, eq=False)
class AudioEvent(Event):
    """The next sound: floats `[N]` or `[N, channels]`, at `rate_hz` samples a second, the same in all of a stream."""

    kind: ClassVar[str] = "audio"
    samples: Any
    rate_hz: int

    def to_json(self) -> dict[str, Any]:
        """BadInputError: sound is sent as samples."""
        raise BadInputError("Sound has no JSON form; send its samples.")


@dataclass(frozen=True, eq=False)
class MusicEvent(Event):
    """The next music that is analysed already: rows of `MusicStream`, `[T, 44]` at 30 Hz."""

    kind: ClassVar[str] = "music"
    features: Any

    def to_json(self) -> dict[str, Any]:
        """BadInputError: features are sent as an array."""
        raise BadInputError("Music features have no JSON form; send their values.")


_IN_JSON: dict[str, type[Event]] = {
    event.kind: event for event in (PromptEvent, ClearQueueEvent, GenreEvent, FinishEvent)
}


def event_from_json(values: Mapping[str, Any]) -> Event:
    """The event of `to_json`'s dictionary; BadInputError for another kind, unknown names or wrong values."""
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if not isinstance(kind, str) or kind not in _IN_JSON:
        raise BadInputError(f'An event is an object whose "kind" is one of {", ".join(_IN_JSON)}; got {values!r}.')
    given = {name: value for name, value in values.items() if name != "kind"}
    try:
        return _IN_JSON[kind](**given)
    except TypeError as error:
        raise BadInputError(f"This is no {kind} event: {error}.") from error
