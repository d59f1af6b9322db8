"""Threads that help to carry out programs, and are never waited for before they have begun.

A pool that hands each thread its share waits for the one that the system has put aside, which beside other work takes
many times as long as doing everything alone. Here whoever is free takes the next chunk (`kernels.run`).
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from kinestream.inference.cpu import kernels

# How often a helper looks for work before it sleeps: some milliseconds, longer than the pauses in a latent, since a
# thread that wakes up may be put aside while it holds the interpreter.
_PATIENCE = 100_000


class Helpers:
    """So many threads beside the caller's; shared by all programs of the process."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._sync = np.zeros(kernels.SYNC_NUMBERS, np.int64)
        self._address: int = self._sync.ctypes.data
        self._helpers = [_Helper(self._address) for _ in range(count)]

    def run(self, table: int, count: int, bases: int, alone: int) -> None:
        """Carry out a table with the helpers; without them, in the caller's own place `alone`, while they are busy."""
        if not self._helpers or not self._lock.acquire(blocking=False):
            kernels.run(table, count, bases, alone, 0)
            return
        try:
            self._wake()
            kernels.run(table, count, bases, self._address, 1)
        finally:
            self._lock.release()

    def _wake(self) -> None:
        asleep = [helper for helper in self._helpers if helper.asleep]
        processors = _other_processors() if asleep else None
        # Where there is no other processor they would only be in the way.
        if processors is None or processors:
            for helper in asleep:
                helper.wake(processors)


class _Helper:
    def __init__(self, sync: int) -> None:
        self._sync = sync
        self._called = threading.Event()
        self._sleeps = True
        self._thread: threading.Thread | None = None

    @property
    def asleep(self) -> bool:
        """Whether it has to be woken: it has not begun, sleeps, or was left behind in the process that forked."""
        return self._sleeps or self._thread is None or not self._thread.is_alive()

    def wake(self, processors: set[int] | None) -> None:
        """See to it that the thread looks for work, on one of these processors (None: any)."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="kinestream-kernels", daemon=True)
            self._thread.start()
        if processors and self._thread.native_id is not None:
            with suppress(OSError):
                os.sched_setaffinity(self._thread.native_id, processors)
        self._called.set()

    def _serve(self) -> None:
        while True:
            self._sleeps = True
            self._called.wait()
            self._sleeps = False
            self._called.clear()
            kernels.help_out(self._sync, _PATIENCE)


def _other_processors() -> set[int] | None:
    """Those that this thread may run on, without the one that it runs on; None where the system doesn't tell.

    Linux wakes a thread where the one that calls it runs, and leaves it there for a long time: two then share a
    processor while another has nothing to do.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    return os.sched_getaffinity(0) - {_here()}


@cache
def _system() -> Any:
    return ctypes.CDLL(None)


def _here() -> int:
    processor: int = _system().sched_getcpu()
    return processor


@cache
def helpers(count: int) -> Helpers:
    """The process's helpers, by how many there are."""
    return Helpers(count)
