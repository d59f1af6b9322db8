"""A server on the loopback, with tiny models, for real clients."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from websockets.sync.client import ClientConnection, connect

from kinestream.server.app import Models, create_app
from kinestream.server.settings import ServerSettings
from kinestream.server.wire import unpack_frames
from kinestream.streaming import DanceEngine, Engine, SessionOptions
from tests.streaming.conftest import HashEncoder, tiny_model
from tests.support.tiny_dance import tiny_dance_model

LIVE = SessionOptions(when_idle="idle")
Start = Callable[..., AbstractContextManager["Running"]]


class Running(NamedTuple):
    """A server that runs."""

    port: int
    engine: Engine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> ClientConnection:
        """A WebSocket of its own."""
        return connect(f"ws://127.0.0.1:{self.port}/stream", open_timeout=10, **options)

    def http(self, **options: Any) -> httpx.Client:
        """For jobs."""
        return httpx.Client(base_url=self.url, timeout=20, **options)


@pytest.fixture(scope="session")
def text_engine() -> Engine:
    return Engine(tiny_model(), HashEncoder())


@pytest.fixture
def start(text_engine: Engine) -> Start:
    """Starts a server with these settings."""

    @contextlib.contextmanager
    def run(**changes: Any) -> Iterator[Running]:
        settings = ServerSettings(**{"port": 0, "messages_per_s": 1_000.0} | changes)
        models = Models(lambda: text_engine, lambda: DanceEngine(tiny_dance_model()))
        config = uvicorn.Config(
            create_app(models, settings), log_level="error", ws_max_size=settings.max_message_bytes,
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.005)
            try:
                yield Running(listener.getsockname()[1], text_engine)
            finally:
                server.should_exit = True
                thread.join(10)

    return run


@pytest.fixture
def server(start: Start) -> Iterator[Running]:
    with start() as running:
        yield running


def say(client: ClientConnection, **message: Any) -> None:
    """Send a message."""
    client.send(json.dumps(message))


def prompt(client: ClientConnection, text: str, **more: Any) -> None:
    """Give a prompt."""
    say(client, type="event", event={"kind": "prompt", "text": text} | more)


def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind; frames and other messages before it are left out."""
    while True:
        got = client.recv(10)
        if isinstance(got, str) and (message := json.loads(got))["type"] in (kind, "error"):
            assert isinstance(message, dict)
            return message


def frames(client: ClientConnection, count: int) -> dict[int, bytes]:
    """The bytes of so many frames by number."""
    found: dict[int, bytes] = {}
    while len(found) < count:
        got = client.recv(10)
        if isinstance(got, bytes):
            found |= by_number(got)
    return found


def by_number(data: bytes) -> dict[int, bytes]:
    """The frames of a binary message."""
    first, root, turns = unpack_frames(data)
    return {first + t: root[t].tobytes() + turns[t].tobytes() for t in range(len(root))}
