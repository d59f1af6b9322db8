"""Persons in a picture by a single-shot detector: anchors, boxes, and one detection for each person.

BlazePose's detector (Bazarevsky et al., 2020): a box around the face, the middle of the hips, and a point that ends the
circle around the whole body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.crops import Crop

FloatArray = NDArray[np.float32]

INPUT_PX = 224
# The feature maps' strides and how many anchors each of their cells has.
ANCHOR_MAPS = ((8, 2), (16, 2), (32, 6))
MIN_SCORE = 0.5
# Boxes that share more than this of their union are of one person.
SAME_PERSON_IOU = 0.3
# Persons whose hips and end points lie this near, of the body's radius, are one, found in two tiles.
_SAME_BODY_RADII = 0.35
# Pictures longer than this times their short side are looked at in squares as well: persons are larger there.
_TILED_ASPECT = 1.2


@dataclass(frozen=True, eq=False)
class Detection:
    """A person found: `box_px` [4] (left, top, right, bottom) of the face, `hips_px` [2], `end_px` [2], `score`."""

    box_px: FloatArray
    hips_px: FloatArray
    end_px: FloatArray
    score: float

    @property
    def radius_px(self) -> float:
        """Radius of the circle around the hips that holds the body."""
        return float(np.linalg.norm(self.end_px - self.hips_px))


def anchor_centres() -> FloatArray:
    """[2254, 2] centres of the anchors from 0 to 1, in the order of the network's outputs."""
    rows = []
    for stride, count in ANCHOR_MAPS:
        cells = INPUT_PX // stride
        y, x = np.mgrid[:cells, :cells]
        rows.append(np.repeat(np.stack((x, y), -1).reshape(-1, 2) + 0.5, count, axis=0) / cells)
    return np.concatenate(rows).astype(np.float32)


def decode(raw: FloatArray, logits: FloatArray, anchors: FloatArray, crop: Crop) -> list[Detection]:
    """Detections, best first, from a network's `raw` [A, 12] and `logits` [A] for a crop that isn't turned.

    A row holds the box's centre and size and four points, in pixels of the input, from the anchor's centre; the first
    two points are the hips' middle and the body's end.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))
    order = np.flatnonzero(scores >= MIN_SCORE)
    found = []
    for k in order[np.argsort(-scores[order], kind="stable")]:
        centre, half = raw[k, 0:2] / INPUT_PX + anchors[k], 0.5 * raw[k, 2:4] / INPUT_PX
        points = np.stack((centre - half, centre + half, *(raw[k, 4:8].reshape(2, 2) / INPUT_PX + anchors[k])))
        low, high, hips, end = crop.to_picture(points)
        found.append(Detection(np.concatenate((low, high)), hips, end, float(scores[k])))
    return found


def iou(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0.0)))
    whole = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / whole if whole > 0.0 else 0.0


def merged(found: Sequence[Detection]) -> list[Detection]:
    """One detection for each person, best first: the mean of those that overlap, weighted by their scores."""
    left = sorted(found, key=lambda each: -each.score)
    kept = []
    while left:
        best = left[0]
        group = [each for each in left if each is best or _same(best, each)]
        left = [each for each in left if not any(each is other for other in group)]
        weights = np.array([each.score for each in group], np.float32)
        weights /= weights.sum()
        box, hips, end = (
            np.sum([w * getattr(each, name) for w, each in zip(weights, group, strict=True)], axis=0)
            for name in ("box_px", "hips_px", "end_px")
        )
        kept.append(Detection(box, hips, end, best.score))
    return kept


def _same(a: Detection, b: Detection) -> bool:
    reach = _SAME_BODY_RADII * max(min(a.radius_px, b.radius_px), 1.0)
    near = max(np.linalg.norm(a.hips_px - b.hips_px), np.linalg.norm(a.end_px - b.end_px)) < reach
    return bool(near) or iou(a.box_px, b.box_px) > SAME_PERSON_IOU


def search_crops(width_px: int, height_px: int) -> list[Crop]:
    """Where the detector looks: the whole picture, and squares along the long side of one that isn't square."""
    long, short = max(width_px, height_px), min(width_px, height_px)
    crops = [Crop(0.5 * width_px, 0.5 * height_px, float(long))]
    if long > _TILED_ASPECT * short:
        count = int(np.ceil((long - short) / (0.75 * short))) + 1
        for centre in np.linspace(0.5 * short, long - 0.5 * short, count):
            x, y = (centre, 0.5 * short) if width_px > height_px else (0.5 * short, centre)
            crops.append(Crop(float(x), float(y), float(short)))
    return crops
