"""Cuts are found, and nothing else is called one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.film import FilmPicture
from kinestream.capture.shots import with_shots


def scene(seed: int) -> NDArray[np.float64]:
    """A wide picture of smooth random shapes."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (9, 32, 3))
    return np.repeat(np.repeat(coarse, 20, axis=0), 20, axis=1)


def shots_of(images: list[NDArray[np.float64]]) -> list[int]:
    pictures = [FilmPicture(k, k / 30, np.clip(image, 0, 255).astype(np.uint8)) for k, image in enumerate(images)]
    return [shot for _, shot in with_shots(pictures)]


def test_a_cut_begins_a_new_shot() -> None:
    images = [scene(1)[:, :320]] * 10 + [scene(2)[:, :320]] * 10 + [scene(3)[:, :320]] * 5
    assert shots_of(images) == [0] * 10 + [1] * 10 + [2] * 5


def test_a_flash_a_change_of_light_and_a_pan_are_no_cuts() -> None:
    still = scene(1)[:, :320]
    flash = [still] * 8 + [still + 200.0] + [still] * 8
    darker = [still] * 8 + [still * 0.6] * 8
    pan = [scene(1)[:, 6 * k : 6 * k + 320] for k in range(40)]
    for images in (flash, darker, pan):
        assert set(shots_of(images)) == {0}


def test_one_picture_is_one_shot_and_none_is_none() -> None:
    assert shots_of([scene(1)[:, :320]]) == [0]
    assert shots_of([]) == []
