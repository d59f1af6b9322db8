"""A scripted world for tests of capture without networks: coloured figures that an estimator sees exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.blazepose import Observation
from kinestream.capture.crops import Crop, person_crop
from kinestream.capture.detection import Detection
from kinestream.capture.film import FilmInfo, FilmPicture
from kinestream.capture.landmarks import LANDMARKS, landmark

# Landmarks of a standing figure from the hips' middle, in radii of its circle: x right, y down (seen from the front).
_PLACES = {
    "shoulder": (0.18, -0.5), "elbow": (0.28, -0.25), "wrist": (0.3, 0.0), "hip": (0.1, 0.0), "knee": (0.11, 0.45),
    "ankle": (0.12, 0.88), "heel": (0.12, 0.92), "foot_index": (0.14, 0.95),
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """Where somebody is, how large, and in which colour."""

    x_px: float
    y_px: float
    radius_px: float
    colour: tuple[int, int, int]


def figure_points(figure: Figure) -> NDArray[np.float32]:
    """[33, 2] pixels."""
    points = np.zeros((len(LANDMARKS), 2), np.float32)
    points[:11] = (0.0, -0.8)
    for name, (x, y) in _PLACES.items():
        points[landmark(f"left_{name}")], points[landmark(f"right_{name}")] = (x, y), (-x, y)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for finger in ("pinky", "index", "thumb"):
            points[landmark(f"{side}_{finger}")] = (sign * 0.3, 0.05)
    return points * figure.radius_px + np.array((figure.x_px, figure.y_px), np.float32)


class ScriptedEstimator:
    """Sees the figures of `script(frame)`; the frame's number stands in the picture's first pixel."""

    def __init__(self, script: Callable[[int], Sequence[Figure]]) -> None:
        self._script = script
        self.observed = 0

    def picture(self, number: int, width: int = 640, height: int = 360) -> NDArray[np.uint8]:
        """The frame with each figure as a box of its colour."""
        rgb = np.full((height, width, 3), 120, np.uint8)
        for figure in self._script(number):
            points = figure_points(figure)
            low = np.maximum(points.min(0), 0).astype(int)
            high = points.max(0).astype(int)
            rgb[low[1] : high[1], low[0] : high[0]] = figure.colour
        rgb[0, 0] = (number % 256, number // 256, 0)
        return rgb

    def detect(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        """All figures."""
        return [_detection(figure) for figure in self._script(_number(rgb))]

    def observe(self, rgb: NDArray[np.uint8], crop: Crop) -> Observation:
        """The figure whose hips are nearest to the crop's middle; nobody where all are outside its inner half."""
        self.observed += 1
        centre = np.array((crop.x_px, crop.y_px))
        figures = sorted(
            self._script(_number(rgb)), key=lambda f: float(np.hypot(f.x_px - centre[0], f.y_px - centre[1]))
        )
        here = [f for f in figures if np.hypot(f.x_px - centre[0], f.y_px - centre[1]) < 0.25 * crop.side_px]
        points = figure_points(here[0]) if here else np.zeros((len(LANDMARKS), 2), np.float32)
        world = np.concatenate((points - points[[23, 24]].mean(0), np.zeros((len(LANDMARKS), 1))), axis=1)
        world = (world / (here[0].radius_px if here else 1.0)).astype(np.float32)
        confidence = np.full(len(LANDMARKS), 0.9, np.float32)
        depth = np.zeros(len(LANDMARKS), np.float32)
        found = _detection(here[0]) if here else None
        following = person_crop(found.hips_px, found.end_px) if found else crop
        return Observation(points, depth, world, confidence, 1.0 if here else 0.0, following)


def pictures(estimator: ScriptedEstimator, count: int, fps: float = 30.0) -> list[FilmPicture]:
    """The first `count` pictures of the script."""
    return [FilmPicture(number, number / fps, estimator.picture(number)) for number in range(count)]


def _number(rgb: NDArray[np.uint8]) -> int:
    return int(rgb[0, 0, 0]) + 256 * int(rgb[0, 0, 1])


def _detection(figure: Figure) -> Detection:
    points = figure_points(figure)
    hips = np.array((figure.x_px, figure.y_px), np.float32)
    end = hips - (0.0, figure.radius_px)
    return Detection(np.concatenate((points.min(0), points.max(0))), hips, end.astype(np.float32), 0.9)


class ScriptedFilm:
    """Stands for a `Film` of the script's pictures; stops with an error at picture `broken_at`."""

    def __init__(self, estimator: ScriptedEstimator, count: int, path: Path, broken_at: int | None = None) -> None:
        self._pictures, self._broken_at = pictures(estimator, count), broken_at
        self.path = path
        self.info = FilmInfo(640, 360, 30.0, count, None)

    def pictures(self) -> Iterator[FilmPicture]:
        """All pictures."""
        for picture in self._pictures:
            if picture.number == self._broken_at:
                raise KeyboardInterrupt
            yield picture
