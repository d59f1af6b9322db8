"""One client's connection to a live stream: its messages in, frames out, when they are due."""

from __future__ import annotations

import asyncio
import base64
import binascii
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from fastapi import WebSocket, WebSocketDisconnect

from kinestream.conditioning.understanding import understand
from kinestream.errors import BadInputError, KinestreamError
from kinestream.server import wire
from kinestream.server.hub import Hub, LiveStream
from kinestream.server.settings import ServerSettings
from kinestream.skeleton import smpl22
from kinestream.streaming import Chunk
from kinestream.streaming.events import AudioEvent, PromptEvent, event_from_json

# A client has so long to say what it wants.
_FIRST_S = 10.0
# Without a word of the stream clients look again so often.
_LOOK_S = 0.25
_BURST_S = 10.0


class Services(NamedTuple):
    """What connections share: hubs by kind (made when first asked for), limits, whether the packaged model plays."""

    hub: Callable[[str], Hub]
    settings: ServerSettings
    packaged: bool


class Connection:
    """Serves one WebSocket until the client leaves or is gone."""

    def __init__(self, socket: WebSocket, services: Services) -> None:
        self._socket = socket
        self._services = services
        self._form: Literal["binary", "json"] = "binary"
        self._allowance = _Allowance(services.settings.messages_per_s)
        self._sending = asyncio.Lock()

    async def serve(self) -> None:
        """Join, then play and listen side by side."""
        await self._socket.accept()
        try:
            first = wire.first_message(await asyncio.wait_for(self._text(), _FIRST_S))
            self._form = first.frames
            hub, live, sent_before = await asyncio.to_thread(self._begin, first)
        except (KinestreamError, TimeoutError) as error:
            said = str(error) or f"expected a first message within {_FIRST_S:g} s"
            await self._fail(said)
            return
        except WebSocketDisconnect:
            return
        live.attached = True
        try:
            await self._say(self._joined(live, sent_before[0].first_frame if sent_before else live.stream.next_frame))
            for chunk in sent_before:
                await self._send_chunk(chunk)
            await self._both(hub, live)
        except WebSocketDisconnect:
            pass
        finally:
            live.attached, live.left_at = False, time.monotonic()

    def _begin(self, first: wire.Join | wire.Resume | wire.Restore) -> tuple[Hub, LiveStream, list[Chunk]]:
        if isinstance(first, wire.Join):
            hub = self._services.hub(first.kind)
            return hub, hub.join(first.seed, first.genre), []
        if isinstance(first, wire.Restore):
            hub = self._services.hub("text")
            return hub, hub.adopt(_restored(hub, first.state)), []
        for kind in ("text", "dance"):
            hub = self._services.hub(kind)
            if first.session in hub.streams:
                break
        live = hub.find(first.session)
        if live.attached:
            raise BadInputError("this stream is being read over another connection")
        return hub, live, live.again(first.next_frame)

    async def _both(self, hub: Hub, live: LiveStream) -> None:
        tasks = [asyncio.create_task(self._play(hub, live)), asyncio.create_task(self._listen(hub, live))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                raise end

    # Frames out.

    async def _play(self, hub: Hub, live: LiveStream) -> None:
        told: str | None = None
        while True:
            live.moved.clear()
            try:
                chunk = live.take()
            except KinestreamError as error:
                hub.remove(live)
                await self._fail(str(error))
                return
            if chunk is not None:
                told = None
                await self._send_chunk(chunk)
                hub.frames += chunk.num_frames
                hub.wake()
                continue
            state = live.stream.state
            if state in ("queued", "ended") and state != told and not live.stream.unread:
                told = state
                await self._say(wire.Waits(reason="queued" if state == "queued" else "ended"))
            due = live.wait_s()
            if due > 0 and live.playing:
                await asyncio.sleep(due)
            else:
                try:
                    await asyncio.wait_for(live.moved.wait(), _LOOK_S)
                except TimeoutError:
                    continue

    async def _send_chunk(self, chunk: Chunk) -> None:
        async with self._sending:
            for part in chunk_messages(chunk, self._form):
                await (
                    self._socket.send_bytes(part)
                    if isinstance(part, bytes)
                    else self._socket.send_text(part.model_dump_json())
                )

    async def _say(self, message: wire.ServerMessage) -> None:
        async with self._sending:
            await self._socket.send_text(message.model_dump_json())

    async def _fail(self, said: str) -> None:
        try:
            await self._say(wire.Failure(message=said, fatal=True))
            await self._socket.close(1008)
        except (WebSocketDisconnect, RuntimeError):
            pass  # it is gone already

    # Messages in.

    async def _listen(self, hub: Hub, live: LiveStream) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            given: str | bytes = message.get("text") or message.get("bytes") or b""
            await self._allowance.spend()
            try:
                if isinstance(given, bytes):
                    rate, samples = wire.unpack_sound(given)
                    await asyncio.to_thread(live.say, AudioEvent(samples, rate))
                    hub.wake()
                elif await self._act(hub, live, wire.later_message(given)):
                    return
            except KinestreamError as error:
                await self._say(wire.Failure(message=str(error), fatal=False))

    async def _act(self, hub: Hub, live: LiveStream, message: wire.LaterMessage) -> bool:
        """Do what a message asks for; gives whether the stream is over."""
        match message:
            case wire.Say():
                await self._give(live, message.event)
                hub.wake()
            case wire.Rewind():
                async with self._sending:
                    frame = await asyncio.to_thread(live.rewind, message.frame)
                    await self._socket.send_text(wire.Rewound(frame=frame).model_dump_json())
                hub.wake()
            case wire.Branch():
                session = await asyncio.to_thread(live.stream.session.branch, message.frame, message.seed)
                twin = hub.adopt(session)
                await self._say(wire.Branched(session=twin.key, next_frame=session.num_frames))
            case wire.Save():
                await self._say(wire.Saved(state=await asyncio.to_thread(_saved, live)))
            case wire.Pause() | wire.Play():
                live.playing = isinstance(message, wire.Play)
                live.moved.set()
            case wire.Leave():
                hub.remove(live)
                return True
        return False

    async def _give(self, live: LiveStream, values: Mapping[str, object]) -> None:
        event = event_from_json(values)
        if not isinstance(event, PromptEvent):
            await asyncio.to_thread(live.say, event)
            return
        prompts, notes = await asyncio.to_thread(understand, event.text, packaged=self._services.packaged)
        for note in notes:
            await self._say(wire.Note(message=note))
        for number, text in enumerate(prompts):
            part = PromptEvent(text, event.seconds, event.queue or number > 0, event.at_s if number == 0 else None)
            await asyncio.to_thread(live.say, part)

    async def _text(self) -> str:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        text = message.get("text")
        if not isinstance(text, str):
            raise BadInputError('expected a message of text first, such as {"type": "join"}')
        return text

    def _joined(self, live: LiveStream, next_frame: int) -> wire.Joined:
        skeleton = smpl22()
        return wire.Joined(
            session=live.key,
            kind=live.kind,
            next_frame=next_frame,
            fps=wire.FPS,
            frames_per_step=live.stream.session.engine.frames_per_step,
            joints=list(skeleton.joint_names),
            parents=list(skeleton.parents),
            offsets_m=skeleton.offsets_m.tolist(),
        )


def chunk_messages(chunk: Chunk, form: Literal["binary", "json"]) -> list[wire.ServerMessage | bytes]:
    """What is sent of a chunk."""
    motion = chunk.motion
    as_json = form == "json"
    said = wire.ChunkMessage(
        first_frame=chunk.first_frame,
        frames=chunk.num_frames,
        kind=chunk.kind,
        prompt=chunk.prompt,
        genre=chunk.genre,
        began=list(chunk.began),
        ended=list(chunk.ended),
        root_m=motion.root_position_m.double().round(decimals=5).tolist() if as_json else None,
        rotations=motion.local_rotations.double().round(decimals=6).tolist() if as_json else None,
    )
    return [said] if as_json else [said, wire.pack_frames(motion, chunk.first_frame)]


class _Allowance:
    """Who sends faster than allowed waits, and with it whatever comes after."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = per_s * _BURST_S
        self._at = time.monotonic()

    async def spend(self) -> None:
        now = time.monotonic()
        self._left = min(self._per_s * _BURST_S, self._left + (now - self._at) * self._per_s)
        self._at = now
        self._left -= 1.0
        if self._left < 0:
            await asyncio.sleep(-self._left / self._per_s)


def _saved(live: LiveStream) -> str:
    with tempfile.TemporaryDirectory(prefix="kinestream-") as folder:
        path = Path(folder) / "session.safetensors"
        live.stream.session.save(path)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def _restored(hub: Hub, state: str) -> object:
    try:
        data = base64.b64decode(state, validate=True)
    except (binascii.Error, ValueError):
        raise BadInputError("state: expected base64, as a `saved` message gives it") from None
    with tempfile.TemporaryDirectory(prefix="kinestream-") as folder:
        path = Path(folder) / "session.safetensors"
        path.write_bytes(data)
        try:
            return hub.engine.restore(path)
        except BadInputError as error:
            raise BadInputError(str(error).replace(str(path), "state")) from None
