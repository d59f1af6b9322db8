"""Persons keep their ids, from made pictures and without any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kinestream.capture.tracking import Tracker
from tests.capture.scripted import Figure, ScriptedEstimator

RED, BLUE = (200, 40, 40), (40, 60, 200)


def followed(script: Callable[[int], Sequence[Figure]], count: int) -> list[dict[int, float]]:
    """For each picture the persons' ids and where their hips are."""
    estimator = ScriptedEstimator(script)
    tracker = Tracker(estimator, 30.0)
    return [
        {person: float(seen.points_px[23:25, 0].mean()) for person, seen in tracker.step(estimator.picture(number))}
        for number in range(count)
    ]


def test_two_persons_who_cross_keep_their_ids() -> None:
    def script(frame: int) -> list[Figure]:
        x = 100.0 + 6.0 * frame
        there = [Figure(x, 180, 120, RED), Figure(640.0 - x, 180, 120, BLUE)]
        hidden = abs(x - 320.0) < 40.0  # one stands before the other
        return there[:1] if hidden else there

    rows = followed(script, 70)
    start = rows[0]
    left = min(start, key=lambda person: start[person])
    right = max(start, key=lambda person: start[person])
    assert set(rows[-1]) == {left, right}
    assert abs(rows[-1][left] - (100.0 + 6.0 * 69)) < 1.0
    assert abs(rows[-1][right] - (540.0 - 6.0 * 69)) < 1.0


def test_a_person_hidden_for_a_second_comes_back_under_their_id_and_another_does_not() -> None:
    def script(frame: int) -> list[Figure]:
        return [] if 20 <= frame < 50 else [Figure(300, 180, 120, RED)]

    def other(frame: int) -> list[Figure]:
        return [] if 20 <= frame < 50 else [Figure(300, 180, 120, RED if frame < 20 else BLUE)]

    assert list(followed(script, 60)[-1]) == [1]
    assert list(followed(other, 60)[-1]) == [2]


def test_one_person_is_never_two() -> None:
    rows = followed(lambda frame: [Figure(200.0 + 3.0 * frame, 180, 120, RED)], 60)
    assert all(list(row) == [1] for row in rows)


def test_nobody_is_followed_where_nobody_is() -> None:
    assert not any(followed(lambda _: [], 12))


def test_a_new_shot_forgets_everybody() -> None:
    estimator = ScriptedEstimator(lambda _: [Figure(300, 180, 120, RED)])
    tracker = Tracker(estimator, 30.0)
    assert [person for person, _ in tracker.step(estimator.picture(0))] == [1]
    tracker.forget()
    assert [person for person, _ in tracker.step(np.ascontiguousarray(estimator.picture(1)))] == [2]
