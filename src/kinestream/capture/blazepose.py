"""BlazePose: all persons of a picture, and 33 landmarks of each in its crop (Bazarevsky et al., 2020; GHUM world)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.crops import Crop, person_crop
from kinestream.capture.detection import INPUT_PX, Detection, anchor_centres, decode, merged, search_crops
from kinestream.capture.landmarks import LANDMARKS
from kinestream.capture.models import TfliteModel, model_file

FloatArray = NDArray[np.float32]
Picture = NDArray[np.uint8]

_POINTS = 39  # 33 landmarks, two that align the next crop, four that are not used
_HEATMAP_REACH = 3  # cells around a landmark that its heatmap is averaged over
_HEATMAP_LEAST = 0.5


@dataclass(frozen=True, eq=False)
class Observation:
    """One person in one picture: rows of `PersonTrack`, `presence` that a person is there, where to look next.

    `points_px` [33, 2], `depth_px` [33], `world_m` [33, 3], `confidence` [33]; `next_crop` is the person's crop.
    """

    points_px: FloatArray
    depth_px: FloatArray
    world_m: FloatArray
    confidence: FloatArray
    presence: float
    next_crop: Crop


class PersonEstimator(Protocol):
    """What tracking needs: another detector or landmark network is an object with these two methods."""

    def detect(self, rgb: Picture) -> list[Detection]:
        """All persons of a picture, the surest first."""

    def observe(self, rgb: Picture, crop: Crop) -> Observation:
        """The landmarks of the person in a crop."""


class BlazePose:
    """The two networks of mediapipe's wheel. Raises BadInputError where they, or their runtime, are not installed."""

    def __init__(self, folder: Path | None = None, threads: int = 1) -> None:
        self._detector = TfliteModel(model_file("pose_detection.tflite", folder), threads)
        self._landmarks = TfliteModel(model_file("pose_landmark_full.tflite", folder), threads)
        self._anchors = anchor_centres()

    def detect(self, rgb: Picture) -> list[Detection]:
        """All persons of a picture [height, width, 3], the surest first."""
        found: list[Detection] = []
        for crop in search_crops(rgb.shape[1], rgb.shape[0]):
            raw, logits = self._detector(crop.cut(rgb, INPUT_PX, -1.0, 1.0))
            found += decode(raw[0], logits[0, :, 0], self._anchors, crop)
        return merged(found)

    def observe(self, rgb: Picture, crop: Crop) -> Observation:
        """The landmarks of the person in a crop."""
        size = self._landmarks.input_size_px
        raw, presence, _, heatmaps, world = self._landmarks(crop.cut(rgb, size))
        points = raw.reshape(_POINTS, 5).astype(np.float32).copy()
        points[:, :3] /= size
        points[:, :2] = refined(points[:, :2], heatmaps[0])
        count = len(LANDMARKS)
        picture = crop.to_picture(points[:, :2])
        seen = _sigmoid(points[:count, 3]) * _sigmoid(points[:count, 4])
        return Observation(
            picture[:count],
            (points[:count, 2] * crop.side_px).astype(np.float32),
            crop.turned_back(world.reshape(_POINTS, 3)[:count]),
            seen.astype(np.float32),
            float(presence.reshape(())),
            person_crop(picture[count], picture[count + 1]),
        )


def refined(points: FloatArray, heatmaps: FloatArray) -> FloatArray:
    """Points [P, 2] (0 to 1) moved to the centre of mass of their heatmaps [H, W, P] near them, where those are sure.

    Heatmaps hold logits; a landmark whose largest value nearby is less than one half stays where it was.
    """
    height, width = heatmaps.shape[:2]
    out = points.copy()
    reach = _HEATMAP_REACH
    for k, (x, y) in enumerate(points):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        top, left = max(row - reach, 0), max(column - reach, 0)
        values = _sigmoid(heatmaps[top : row + reach + 1, left : column + reach + 1, k])
        total = float(values.sum())
        if float(values.max()) < _HEATMAP_LEAST or total <= 0.0:
            continue
        rows, columns = np.mgrid[top : top + values.shape[0], left : left + values.shape[1]]
        out[k] = float((columns * values).sum()) / total / width, float((rows * values).sum()) / total / height
    return out


def _sigmoid(values: FloatArray) -> FloatArray:
    out: FloatArray = (1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0)))).astype(np.float32)
    return out
