"""One protocol for all streams, of text and of music: events go into a session, an engine steps it, chunks come out.

A session owns all state of one stream; an engine owns a model and no stream's state. A kind of stream implements the
abstract methods of both classes; schedulers, servers and command lines know nothing else of it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from kinestream.errors import BadInputError, KinestreamError
from kinestream.streaming.checks import checked_seed
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.events import Event, FinishEvent


class StreamSession(ABC):
    """All state of one stream. Events may come from other threads while it steps.

    Attributes:
        kind: what sort of stream it is; for people.
        takes: the events that it takes.
        engine: what steps it.
        seed: the same seed and the same events at the same times give the same motion.
    """

    kind: ClassVar[str]
    takes: ClassVar[tuple[type[Event], ...]]

    def __init__(self, engine: StreamEngine[Any], seed: int) -> None:
        self.engine: StreamEngine[Any] = engine
        self.seed = checked_seed(seed)
        self.lock = threading.RLock()

    # Events in.

    def apply(self, event: Event) -> None:
        """Take an event; BadInputError where this kind of stream takes none of its kind, or not this one."""
        if not isinstance(event, self.takes):
            kinds = ", ".join(known.kind for known in self.takes)
            got = event.kind if isinstance(event, Event) else repr(event)
            raise BadInputError(f"A {self.kind} takes the events {kinds}; got {got}.")
        self._apply(event)

    @abstractmethod
    def _apply(self, event: Event) -> None: ...

    def finish(self) -> None:
        """Nothing more comes: what waits is still acted or danced to, then the stream ends.

        Raises:
            BadInputError: it is finished already, or nothing ever came.
        """
        self.apply(FinishEvent())

    # Chunks out.

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether a step goes on with the stream, as far as is known."""

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Frames made so far."""

    def advance(self) -> Chunk | None:
        """One step; gives the chunk that it completes, None where none is complete or the stream has ended."""
        (chunk,) = self.engine.step([self])
        return chunk

    def step(self) -> Chunk:
        """Make the next chunk.

        Raises:
            KinestreamError: the stream has ended, or waits for music.
        """
        for chunk in self:
            return chunk
        raise KinestreamError(f"The {self.kind} has ended: nothing is left to act. Give it a prompt, or music.")

    def __iter__(self) -> Iterator[Chunk]:
        """Chunks until nothing is left to act; without end where the stream idles."""
        while self.ready:
            if (chunk := self.advance()) is not None:
                yield chunk

    # Composition and saving, where a kind of stream can.

    @property
    def earliest_frame(self) -> int:
        """The oldest frame that `rewind` can go back to."""
        return self.num_frames

    @property
    def recent(self) -> list[Chunk]:
        """The newest chunks that the session still has, oldest first; none where it keeps none."""
        return []

    def rewind(self, frame: int) -> int:
        """Go back so that all frames before `frame` stay; gives the first frame that is made anew.

        Raises:
            BadInputError: the frame is not made yet, or lies further back than the session remembers.
            KinestreamError: this kind of stream can't go back.
        """
        raise self._cannot("go back")

    def branch(self, frame: int | None = None, seed: int | None = None) -> Self:
        """A second stream that shares everything so far (or before `frame`) and then goes its own way.

        Args:
            frame: where it leaves this one; None for now.
            seed: noise for what follows; None keeps this session's, so that the same events give the same motion.

        Raises:
            BadInputError: as `rewind`.
            KinestreamError: this kind of stream can't be doubled.
        """
        raise self._cannot("be doubled")

    def save(self, path: str | Path) -> None:
        """Write the whole session to one safetensors file (no pickle), complete or not at all.

        Raises:
            KinestreamError: this kind of stream can't be saved.
        """
        raise self._cannot("be saved")

    @classmethod
    def restore(cls, path: str | Path, engine: StreamEngine[Self]) -> Self:
        """A session from `save`'s file; it goes on where it stood.

        Raises:
            BadInputError: the file is damaged, is no session, or was made with another model.
            KinestreamError: this kind of stream can't be saved.
        """
        return engine.restore(Path(path))

    def _cannot(self, what: str) -> KinestreamError:
        return KinestreamError(f"A {self.kind} can't {what}.")


SessionT = TypeVar("SessionT", bound=StreamSession)


class StreamEngine(ABC, Generic[SessionT]):
    """A model, shared by all sessions on it; they come and go without touching it.

    Attributes:
        model: what makes the motion.
    """

    model: Any

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What the machine lacks for this mode and what is done instead; for people, to be said once."""

    @property
    @abstractmethod
    def frames_per_step(self) -> int:
        """Frames of a latent or of a token step: what one step goes on by."""

    @abstractmethod
    def session(self, seed: int = 0, options: Any = None) -> SessionT:
        """A new stream; kinds of streams take more than these."""

    def step(self, sessions: Sequence[SessionT]) -> list[Chunk | None]:
        """One step of each of these sessions, made together; the others are not touched.

        Gives the chunk that each has completed, None where none is complete or the stream has ended. A session's frames
        don't depend on its neighbours (decisions/0012).

        Raises:
            BadInputError: a session is listed twice or belongs to another engine.
            KinestreamError: the model gave values that are not finite. The sessions can be stepped without the one.
        """
        if len({id(session) for session in sessions}) != len(sessions):
            raise BadInputError("A session can make only one step at a time; it is listed twice.")
        for session in sessions:
            self.check_own(session)
        return self._step(sessions)

    @abstractmethod
    def _step(self, sessions: Sequence[SessionT]) -> list[Chunk | None]: ...

    def check_own(self, session: StreamSession) -> None:
        """BadInputError unless this engine has made the session."""
        if session.engine is not self:
            raise BadInputError("A session steps on the engine that made it; got one of another engine.")

    def restore(self, path: Path) -> SessionT:
        """What `StreamSession.restore` gives."""
        raise KinestreamError(f"{type(self).__name__} has no saved sessions to restore.")
