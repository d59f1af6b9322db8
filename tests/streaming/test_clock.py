"""Frames leave when they are due, without drift and without a rush after a pause."""

from __future__ import annotations

import pytest

from kinestream.errors import BadInputError
from kinestream.streaming import FastClock, RealtimeClock


class Time:
    """Seconds that pass only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def clock(time: Time, **options: float) -> RealtimeClock:
    return RealtimeClock(30.0, now=time.read, sleep=time.sleep, **options)


def test_frames_leave_at_their_rate_without_drift() -> None:
    time = Time()
    paced = clock(time)
    for step in range(1_000):
        assert paced.wait(4) == 0.0
        assert time.now == pytest.approx(100.0 + step * 4 / 30, abs=1e-9)
        time.now += 0.03  # the model's work


def test_a_slow_step_is_caught_up() -> None:
    time = Time()
    paced = clock(time)
    paced.wait(4)
    time.now += 0.2
    assert paced.wait(4) == pytest.approx(0.2 - 4 / 30)
    assert paced.wait(4) == 0.0
    assert time.now == pytest.approx(100.0 + 8 / 30)
    assert paced.skipped_s == 0.0


def test_a_long_pause_moves_the_schedule_instead_of_rushing() -> None:
    time = Time()
    paced = clock(time)
    paced.wait(4)
    time.now += 60.0
    assert paced.wait(4) == pytest.approx(60.0 - 4 / 30)
    assert paced.skipped_s == pytest.approx(60.0 - 4 / 30)
    resumed = time.now
    paced.wait(4)
    assert time.now == pytest.approx(resumed + 4 / 30)


def test_lead_fills_a_players_buffer_first() -> None:
    time = Time()
    paced = clock(time, lead_s=0.4)
    for _ in range(3):
        paced.wait(4)
    assert time.now == 100.0
    paced.wait(4)
    paced.wait(4)
    assert time.now == pytest.approx(100.0 + 16 / 30 - 0.4)


def test_fast_clock_never_waits() -> None:
    assert FastClock().wait(4) == 0.0


@pytest.mark.parametrize("options", [{"fps": 0.0}, {"lead_s": -1.0}, {"max_lag_s": -1.0}])
def test_impossible_clocks_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        RealtimeClock(**options)
