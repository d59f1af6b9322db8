"""Sends frames at a steady rate, each when it is due, and says how well that went."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from kinestream.errors import BadInputError, KinestreamError
from kinestream.motion import Motion
from kinestream.server.live.frames import LiveFrame, live_frames
from kinestream.server.live.osc import osc_datagrams, vmc_datagrams
from kinestream.server.live.rokoko import rokoko_datagrams

FORMS: dict[str, tuple[int, Callable[[LiveFrame], list[bytes]]]] = {
    "vmc": (39_539, vmc_datagrams),
    "osc": (9_000, osc_datagrams),
    "rokoko": (14_043, rokoko_datagrams),
}
"""By name: the usual port, and a frame's datagrams."""

# So many frames wait at most: who makes them faster waits.
_QUEUED = 30
# A stream that fell back by more goes on from there; it is not rushed through.
_MAX_LAG_S = 0.5


@dataclass(frozen=True)
class LiveReport:
    """How a live output went: frames sent, and how late they left (seconds: median, 99 of 100, worst)."""

    frames: int
    median_s: float
    p99_s: float
    worst_s: float


@dataclass(frozen=True)
class _Target:
    address: tuple[str, int]
    family: socket.AddressFamily
    datagrams: Callable[[LiveFrame], list[bytes]]


class LiveOutput:
    """Sends frames to other programs, each when it is due. A context manager: leaving it sends what waits.

    Args:
        targets: where to and in which form, such as "vmc://127.0.0.1:39539"; the port may be left out.
        now, sleep: the time source, replaceable in tests.

    Raises:
        BadInputError: a form that there isn't, or a host that can't be found.
        MissingExtraError: VMC or OSC without the extra `live`.
    """

    def __init__(
        self,
        targets: Sequence[str],
        *,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._targets = [_target(target) for target in targets]
        self._now, self._sleep = now, sleep
        self._waiting: queue.Queue[LiveFrame | None] = queue.Queue(_QUEUED)
        self._late: list[float] = []
        self._sent = 0
        self._error: OSError | None = None
        self._frames = 0
        self._sockets = {target.family: socket.socket(target.family, socket.SOCK_DGRAM) for target in self._targets}
        self._thread = threading.Thread(target=self._run, name="kinestream-live", daemon=True)
        self._thread.start()

    def send(self, motion: Motion) -> None:
        """Take the next frames of an SMPL-22 motion; waits while a second of frames is waiting.

        KinestreamError when the network refuses them.
        """
        for frame in live_frames(motion, self._frames):
            self._raise()
            self._waiting.put(frame)
        self._frames += motion.num_frames

    def close(self) -> LiveReport:
        """Send what waits, and say how it went."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        for each in self._sockets.values():
            each.close()
        self._raise()
        late = sorted(self._late) or [0.0]
        return LiveReport(self._sent, late[len(late) // 2], late[min(len(late) - 1, len(late) * 99 // 100)], late[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        # What waits is not sent any more: whoever broke off wants to end.
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put(None)
        self._thread.join()
        for each in self._sockets.values():
            each.close()

    def _raise(self) -> None:
        if self._error is not None:
            raise KinestreamError(f"the live output failed: {self._error}. Is the receiver's address right?")

    def _run(self) -> None:
        due: float | None = None
        while (frame := self._waiting.get()) is not None:
            now = self._now()
            due = now if due is None else due
            if due > now:
                self._sleep(due - now)
                now = self._now()
            late = max(0.0, now - due)
            self._late.append(late)
            if late > _MAX_LAG_S:
                due = now
            if self._error is None:
                self._send(frame)
            due += 1.0 / 30.0

    def _send(self, frame: LiveFrame) -> None:
        try:
            for target in self._targets:
                for datagram in target.datagrams(frame):
                    self._sockets[target.family].sendto(datagram, target.address)
            self._sent += 1
        except ConnectionRefusedError:
            # Nobody listens yet: a receiver may be started later.
            self._sent += 1
        except OSError as error:
            self._error = error


def _target(text: str) -> _Target:
    expected = f"expected {', '.join(f'{form}://HOST[:PORT]' for form in FORMS)}, got {text[:80]!r}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadInputError(f"a live output's address: {expected}") from None
    if parts.scheme not in FORMS or not host or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadInputError(f"a live output's address: {expected}")
    usual, datagrams = FORMS[parts.scheme]
    try:
        ((family, _, _, _, address), *_) = socket.getaddrinfo(host, port or usual, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise BadInputError(f"{text}: the host {host!r} is not found ({error.strerror})") from None
    if parts.scheme in ("vmc", "osc"):
        osc_datagrams_are_there()
    return _Target((str(address[0]), int(address[1])), family, datagrams)


def osc_datagrams_are_there() -> None:
    """MissingExtraError unless OSC can be sent."""
    from kinestream.server.live.osc import bundles

    bundles([("/kinestream", ())])
