"""The pictures of a dance lie over the beats of its song."""

from __future__ import annotations

import numpy as np

from benchmarks.dance_strips import BLUE, PANEL, RED, strips
from kinestream.conditioning.music import Beats
from tests.test_motion import swaying


def test_a_row_has_a_picture_for_each_beat_and_marks_under_it() -> None:
    motion = swaying(frames=121)
    times = np.arange(0.0, 4.0, 0.5)
    image = strips(motion, Beats(times, times[::4], 120.0), 3)
    assert image.shape[1] == 3 * PANEL[0]
    assert image.shape[0] % 2 == 0  # two rows of three beats, the last two beats begin none
    line = image[PANEL[1] : image.shape[0] // 2]
    assert (line == RED).all(axis=-1).any()
    assert not (line == BLUE).all(axis=-1)[: line.shape[0] // 2].any()
