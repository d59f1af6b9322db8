"""Many live streams on one engine: who takes the next step, and how far ahead of its reader a stream may be.

Streams of any kind: a scheduler knows the protocol and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Generic, Literal

from kinestream.errors import BadInputError, KinestreamError, TooManyStreamsError
from kinestream.streaming.checks import checked_whole
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.protocol import SessionT, StreamEngine

StreamState = Literal["queued", "live", "paused", "ended", "failed", "left"]


class Stream(Generic[SessionT]):
    """A session's place in a scheduler. What was made waits here, bounded, until it is read.

    Attributes:
        session: takes events; nobody else steps it.
        error: what ended the stream, if something did.
    """

    def __init__(self, session: SessionT, scheduler: Scheduler[SessionT]) -> None:
        self.session = session
        self.error: KinestreamError | None = None
        self._scheduler = scheduler
        self._unread: deque[Chunk] = deque()
        self._served = -1

    def read(self) -> Chunk | None:
        """The oldest chunk that was not read yet; None while there is none.

        Raises:
            KinestreamError: the stream has failed, and all that was made before is read.
        """
        try:
            return self._unread.popleft()
        except IndexError:
            if self.error is not None:
                raise self.error from None
            return None

    @property
    def unread(self) -> int:
        """How many chunks wait to be read."""
        return len(self._unread)

    @property
    def next_frame(self) -> int:
        """The first frame that was not read yet."""
        unread = list(self._unread)
        return unread[0].first_frame if unread else self.session.num_frames

    def rewind(self, frame: int) -> int:
        """`StreamSession.rewind` between two steps; what was made from there on and not read is gone, too."""
        return self._scheduler.rewind(self, frame)

    @property
    def state(self) -> StreamState:
        """Where the stream stands.

        "queued" waits for a place; "live" moves; "paused" waits to be read; "ended" has nothing left to act, or no
        music to dance to, and goes on with the next; "failed" and "left" move no more.
        """
        if self.error is not None:
            return "failed"
        place = self._scheduler.place_of(self)
        if place is None:
            return "left"
        if place >= self._scheduler.max_streams:
            return "queued"
        if self._scheduler.is_ahead(self):
            return "paused"
        return "live" if self.session.ready else "ended"

    def leave(self) -> None:
        """Give up the place, at any time; what was made can still be read, and the session can join again."""
        self._scheduler.remove(self)


class Scheduler(Generic[SessionT]):
    """Steps streams that join and leave at any time, the neediest first, as many as fit into one step.

    A stream that its reader has all of goes before one that is ahead; among equals the one that has waited longest.
    So with N live streams nobody who has read everything waits longer than N / batch steps, whatever the others do. A
    stream that is `max_unread` chunks ahead of its reader is paused: it costs nothing, and when it is read it goes on
    where it was. A stream that fails is taken out alone.

    One thread calls `step` in a loop; joining, leaving, reading and prompts may come from any other.

    Args:
        engine: steps the streams.
        max_streams: live streams, paused ones among them.
        max_queued: streams beyond these that may wait for a place, in the order in which they came.
        batch: streams in one step; None for all.
        max_unread: how many chunks a stream may be ahead of its reader.

    Raises:
        BadInputError: a number that is none of these.
    """

    def __init__(
        self,
        engine: StreamEngine[SessionT],
        *,
        max_streams: int = 16,
        max_queued: int = 0,
        batch: int | None = None,
        max_unread: int = 4,
    ) -> None:
        self.engine = engine
        self.max_streams = checked_whole("max_streams", max_streams)
        self.max_queued = checked_whole("max_queued", max_queued, 0)
        self.batch = self.max_streams if batch is None else checked_whole("batch", batch)
        self.max_unread = checked_whole("max_unread", max_unread)
        # In the order in which they came: the first `max_streams` are live.
        self._streams: dict[SessionT, Stream[SessionT]] = {}
        self._lock = threading.Lock()
        self._stepping = threading.Lock()
        self._served = 0

    def join(self, session: SessionT) -> Stream[SessionT]:
        """Give a session a place; it takes part from the next step on, or waits where all places are taken.

        Raises:
            TooManyStreamsError: all places, and all places to wait, are taken.
            BadInputError: the session belongs to another engine or has a place already.
        """
        self.engine.check_own(session)
        with self._lock:
            if session in self._streams:
                raise BadInputError("This session has joined already.")
            if len(self._streams) >= self.max_streams + self.max_queued:
                raise TooManyStreamsError(self.max_streams, self.max_queued)
            stream = self._streams[session] = Stream(session, self)
            return stream

    def step(self) -> list[Stream[SessionT]]:
        """Step the neediest streams; gives those that have moved, none where all wait."""
        with self._stepping:
            return [stream for stream, chunk in self._chunks(self._chosen()) if self._delivered(stream, chunk)]

    def __len__(self) -> int:
        """Streams that have a place or wait for one."""
        return len(self._streams)

    def place_of(self, stream: Stream[SessionT]) -> int | None:
        """How many came before this stream; None when it has no place any more."""
        with self._lock:
            order = (place for place, other in enumerate(self._streams.values()) if other is stream)
            return next(order, None)

    def is_ahead(self, stream: Stream[SessionT]) -> bool:
        """Whether the stream waits to be read."""
        return stream.unread >= self.max_unread

    def remove(self, stream: Stream[SessionT]) -> None:
        """Take a stream out; nothing where it has gone already."""
        with self._lock:
            if self._streams.get(stream.session) is stream:
                del self._streams[stream.session]

    def rewind(self, stream: Stream[SessionT], frame: int) -> int:
        """What `Stream.rewind` does."""
        with self._stepping:
            first = stream.session.rewind(frame)
            while stream._unread and stream._unread[-1].first_frame >= first:
                stream._unread.pop()
            return first

    def _chosen(self) -> list[Stream[SessionT]]:
        with self._lock:
            live = list(islice(self._streams.values(), self.max_streams))
        able = [stream for stream in live if not self.is_ahead(stream) and stream.session.ready]
        return sorted(able, key=lambda stream: (stream.unread, stream._served))[: self.batch]

    def _chunks(self, chosen: list[Stream[SessionT]]) -> Iterator[tuple[Stream[SessionT], Chunk | None]]:
        if not chosen:
            return
        try:
            chunks = self.engine.step([stream.session for stream in chosen])
        except KinestreamError:
            # One of them has failed, and nobody has lost anything: each goes on alone, and only that one is taken out.
            for stream in chosen:
                yield stream, self._alone(stream)
        else:
            yield from zip(chosen, chunks, strict=True)

    def _alone(self, stream: Stream[SessionT]) -> Chunk | None:
        try:
            return self.engine.step([stream.session])[0]
        except KinestreamError as error:
            stream.error = error
            self.remove(stream)
            return None

    def _delivered(self, stream: Stream[SessionT], chunk: Chunk | None) -> bool:
        self._served += 1
        stream._served = self._served
        if chunk is not None:
            stream._unread.append(chunk)
        # A dance moves in many steps before a piece is complete.
        return chunk is not None or (stream.error is None and stream.session.ready)
