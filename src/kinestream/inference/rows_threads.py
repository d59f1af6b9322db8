"""Threads that help to carry out programs, and are never waited for before they have begun.

A pool that hands each thread its share waits for the one that the system has put aside, which beside other work takes
many times as long as doing everything alone. Here whoever is free takes the next chunk (`rows_kernels.run`).
"""

from __future__ import annotations

import threading
from functools import cache

import numpy as np

from kinestream.inference import rows_kernels as kernels

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
            for helper in self._helpers:
                helper.wake()
            kernels.run(table, count, bases, self._address, 1)
        finally:
            self._lock.release()


class _Helper:
    def __init__(self, sync: int) -> None:
        self._sync = sync
        self._called = threading.Event()
        self._asleep = True
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """See to it that the thread looks for work; it begins with the first call, and anew in a forked process."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="kinestream-rows", daemon=True)
            self._thread.start()
        if self._asleep:
            self._called.set()

    def _serve(self) -> None:
        while True:
            self._asleep = True
            self._called.wait()
            self._asleep = False
            self._called.clear()
            kernels.help_out(self._sync, _PATIENCE)


@cache
def helpers(count: int) -> Helpers:
    """The process's helpers, by how many there are."""
    return Helpers(count)
