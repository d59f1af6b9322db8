"""Live streams on one engine: a thread steps them, and each waits for its client, who may lose the connection."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kinestream.errors import BadInputError, KinestreamError
from kinestream.io.atomic import atomic_path
from kinestream.server.settings import ServerSettings
from kinestream.streaming import Chunk
from kinestream.streaming.events import Event, PromptEvent
from kinestream.streaming.protocol import StreamEngine
from kinestream.streaming.scheduler import Scheduler, Stream

# The engine's thread looks so often whether something can move, unless it is woken up.
_LOOK_S = 0.02
# A stream is made so many chunks ahead of what was sent.
_AHEAD = 2


class LiveStream:
    """One client's stream: its session, what was sent lately, and when the next frames are due.

    Frames have the session's own numbers: without a gap, and after a rewind from its frame on again.
    """

    def __init__(self, key: str, kind: str, stream: Stream[Any], settings: ServerSettings) -> None:
        self.key = key
        self.kind = kind
        self.stream = stream
        self.history: deque[Chunk] = deque()
        self.attached = False
        self.left_at = time.monotonic()
        self.playing = True
        self.moved = asyncio.Event()
        self._settings = settings
        self._due: float | None = None
        self._said = 0

    def take(self) -> Chunk | None:
        """The next chunk if it is due; KinestreamError where the stream has failed."""
        if not self.playing or self.wait_s() > 0:
            return None
        chunk = self.stream.read()
        if chunk is not None:
            now = time.monotonic()
            # A stream that waited, for its client or for something to do, goes on from now.
            late = self._due is None or now - self._due > self._settings.lead_s
            self._due = (now if late or self._due is None else self._due) + chunk.num_frames / chunk.motion.fps
            self._remember(chunk)
        return chunk

    def wait_s(self) -> float:
        """Seconds until the next chunk is due."""
        return 0.0 if self._due is None else max(0.0, self._due - self._settings.lead_s - time.monotonic())

    def again(self, frame: int) -> list[Chunk]:
        """The chunks that were sent from a frame on; BadInputError where they are not remembered any more."""
        following = self.stream.next_frame
        oldest = self.history[0].first_frame if self.history else following
        if not oldest <= frame <= following:
            raise BadInputError(
                f"frames from {oldest} on can be sent again, and {following} is the next; {frame} can't be sent: "
                "join with a new stream"
            )
        return [chunk for chunk in self.history if chunk.first_frame + chunk.num_frames > frame]

    def say(self, event: Event) -> None:
        """Give an event; a prompt that replaces what is acted does so from the next frame that is sent.

        Unless something else was said since that frame was made: going back would forget it.
        """
        session, following = self.stream.session, self.stream.next_frame
        replaces = isinstance(event, PromptEvent) and not event.queue and event.at_s is None
        if replaces and self._said <= following < session.num_frames:
            self.stream.rewind(following)
        session.apply(event)
        self._said = session.num_frames

    def rewind(self, frame: int) -> int:
        """Make everything from a frame on anew; gives the frame."""
        first = self.stream.rewind(frame)
        while self.history and self.history[-1].first_frame >= first:
            self.history.pop()
        self._due = None
        return first

    def _remember(self, chunk: Chunk) -> None:
        self.history.append(chunk)
        limit = self._settings.history_s * chunk.motion.fps
        while chunk.first_frame - self.history[0].first_frame > limit:
            self.history.popleft()


class Hub:
    """All live streams of one engine, and the thread that steps them.

    Args:
        kind: "text" or "dance".
        engine: makes the motion.
        settings: limits.
        loop: the event loop of the clients.
        start: makes a session from a seed and a genre.
    """

    def __init__(
        self,
        kind: str,
        engine: StreamEngine[Any],
        settings: ServerSettings,
        loop: asyncio.AbstractEventLoop,
        start: Callable[[int, str | None], Any],
    ) -> None:
        self.kind = kind
        self.engine = engine
        self.settings = settings
        self.streams: dict[str, LiveStream] = {}
        self.steps = 0
        self.frames = 0
        self.step_s = 0.0
        self._loop = loop
        self._start = start
        self._scheduler: Scheduler[Any] = Scheduler(
            engine, max_streams=settings.max_streams, max_queued=settings.max_queued, max_unread=_AHEAD
        )
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name=f"kinestream-{kind}", daemon=True)
        self._thread.start()

    def join(self, seed: int, genre: str | None) -> LiveStream:
        """A new stream; TooManyStreamsError when no place is left."""
        return self._added(self._start(seed, genre), secrets.token_urlsafe(18))

    def adopt(self, session: Any) -> LiveStream:
        """A session that is there already, such as a branch or one that was restored."""
        return self._added(session, secrets.token_urlsafe(18))

    def _added(self, session: Any, key: str) -> LiveStream:
        self.forget_abandoned()
        live = LiveStream(key, self.kind, self._scheduler.join(session), self.settings)
        live.history.extend(session.recent)
        self.streams[key] = live
        self._wake.set()
        return live

    def find(self, key: str) -> LiveStream:
        """The stream of a key; BadInputError when it is gone, or someone else reads it."""
        self.forget_abandoned()
        live = self.streams.get(key)
        if live is None:
            raise BadInputError("there is no such stream (any more): join with a new one")
        return live

    def remove(self, live: LiveStream) -> None:
        """End a stream."""
        live.stream.leave()
        self.streams.pop(live.key, None)

    def wake(self) -> None:
        """Something may be able to move."""
        self._wake.set()

    def forget_abandoned(self) -> None:
        """End streams whose clients have been gone for too long."""
        now = time.monotonic()
        for live in list(self.streams.values()):
            if not live.attached and now - live.left_at > self.settings.keep_s:
                self.remove(live)

    def close(self) -> None:
        """Stop stepping."""
        self._stop = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop:
            began = time.perf_counter()
            moved = self._scheduler.step()
            if not moved:
                self._wake.wait(_LOOK_S)
                self._wake.clear()
                continue
            self.step_s += time.perf_counter() - began
            self.steps += 1
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        for live in self.streams.values():
            if live.stream.unread or live.stream.error is not None:
                live.moved.set()

    # While the server restarts.

    def keep(self, folder: Path) -> int:
        """Write all streams that can be saved into a folder; gives how many. Stop stepping first."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = 0
        for live in self.streams.values():
            path = folder / f"{_file_name(live.key)}.safetensors"
            try:
                live.stream.session.save(path)
            except KinestreamError:
                continue
            with atomic_path(path.with_suffix(".json")) as target:
                target.write_text(json.dumps({"key": live.key, "kind": self.kind}), encoding="utf-8")
            kept += 1
        return kept

    def take_up(self, folder: Path) -> int:
        """Go on with the streams of a folder, which are then its no more; gives how many."""
        taken = 0
        for note in sorted(folder.glob("*.json")):
            saved = note.with_suffix(".safetensors")
            facts = json.loads(note.read_text(encoding="utf-8"))
            if facts["kind"] != self.kind:
                continue
            try:
                self._added(self.engine.restore(saved), facts["key"])
                taken += 1
            except KinestreamError:
                pass
            note.unlink(missing_ok=True)
            saved.unlink(missing_ok=True)
        return taken


def _file_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
