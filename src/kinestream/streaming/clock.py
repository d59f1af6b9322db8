"""Pacing: frames leave at the rate at which they are played, or as fast as they are made. Sessions know no clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from kinestream.errors import BadInputError


class Clock(Protocol):
    """Says when the next frames may leave."""

    def wait(self, frames: int) -> float:
        """Block until `frames` more frames are due; gives the seconds by which they are late (0 when in time)."""
        ...


class FastClock:
    """Never waits."""

    def wait(self, frames: int) -> float:
        """Return at once: nothing is ever late."""
        return 0.0


class RealtimeClock:
    """Frames at the rate at which they are played.

    The first frames are due at once. A stream that falls behind by more than `max_lag_s` (a sleeping laptop) is not
    played back in a rush: the schedule moves, and `skipped_s` says by how much in all.

    Args:
        fps: frames per second.
        lead_s: frames leave this many seconds before they are due, to fill a player's buffer.
        max_lag_s: how late frames may be before the schedule moves.
        now, sleep: the time source, replaceable in tests.
    """

    def __init__(
        self,
        fps: float = 30.0,
        *,
        lead_s: float = 0.0,
        max_lag_s: float = 0.5,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not fps > 0 or lead_s < 0 or max_lag_s < 0:
            raise BadInputError(
                f"A clock needs fps > 0, lead_s >= 0 and max_lag_s >= 0; got {fps}, {lead_s} and {max_lag_s}."
            )
        self._fps = fps
        self._lead_s = lead_s
        self._max_lag_s = max_lag_s
        self._now = now
        self._sleep = sleep
        self._start: float | None = None
        self._frames = 0
        self.skipped_s = 0.0

    def wait(self, frames: int) -> float:
        """Block until the next `frames` frames are due; gives the seconds by which they are late."""
        if self._start is None:
            self._start = self._now()
        # Counted in frames from a fixed start, so that rounding never adds up over hours.
        due = self._start + self._frames / self._fps - self._lead_s
        self._frames += frames
        remaining = due - self._now()
        if remaining > 0:
            self._sleep(remaining)
            return 0.0
        late = max(0.0, -remaining - self._lead_s)
        if late > self._max_lag_s:
            self._start += late
            self.skipped_s += late
        return late
