"""Crops, anchors, boxes, assignment: what needs no network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kinestream.capture.assignment import assign
from kinestream.capture.blazepose import refined
from kinestream.capture.crops import Crop, person_crop
from kinestream.capture.detection import Detection, anchor_centres, decode, iou, merged, search_crops


def test_a_crop_shows_what_its_coordinates_say() -> None:
    rgb = np.zeros((200, 300, 3), np.uint8)
    crop = Crop(140.0, 90.0, 100.0, 0.6)
    spot = crop.to_picture(np.array((0.25, 0.7), np.float32))
    x, y = int(spot[0]), int(spot[1])
    rgb[y - 2 : y + 3, x - 2 : x + 3] = 255
    for size in (128, 64, 32):
        cut = crop.cut(rgb, size)[0, ..., 0]
        row, column = np.unravel_index(cut.argmax(), cut.shape)
        assert abs((column + 0.5) / size - 0.25) < 0.04
        assert abs((row + 0.5) / size - 0.7) < 0.04


def test_a_crop_is_black_outside_the_picture_and_scaled_as_asked() -> None:
    rgb = np.full((40, 40, 3), 255, np.uint8)
    cut = Crop(0.0, 20.0, 40.0).cut(rgb, 20, -1.0, 1.0)[0, ..., 0]
    assert np.allclose(cut[:, :9], -1.0)
    assert np.allclose(cut[1:-1, 11:], 1.0)


def test_a_person_lies_upright_in_their_crop() -> None:
    hips, head = np.array((100.0, 100.0), np.float32), np.array((150.0, 100.0), np.float32)
    crop = person_crop(hips, head)
    assert crop.side_px == pytest.approx(125.0)
    assert np.allclose(crop.to_picture(np.array((0.5, 0.1), np.float32)), (150.0, 100.0), atol=1e-3)
    up = crop.turned_back(np.array((0.0, -1.0, 0.5), np.float32))
    assert np.allclose(up, (1.0, 0.0, 0.5), atol=1e-6)


def test_anchors_lie_in_the_middle_of_their_cells() -> None:
    anchors = anchor_centres()
    assert anchors.shape == (2254, 2)
    assert np.allclose(anchors[:2], 0.5 / 28)
    assert np.allclose(anchors[1568], 0.5 / 14)
    assert np.allclose(anchors[-6:], 6.5 / 7)


def test_a_detection_is_decoded_into_the_pictures_pixels() -> None:
    anchors = anchor_centres()
    raw, logits = np.zeros((2254, 12), np.float32), np.full(2254, -100.0, np.float32)
    raw[1568, :8] = (11.2, 0.0, 22.4, 44.8, 0.0, 22.4, 0.0, -22.4)
    logits[1568] = 3.0
    (found,) = decode(raw, logits, anchors, Crop(200.0, 100.0, 224.0))
    centre = np.array((88.0 + 8.0, -12.0 + 8.0))  # the first cell of the second map, in the picture
    assert np.allclose(found.box_px, (*(centre + (0.0, -22.4)), *(centre + (22.4, 22.4))), atol=1e-3)
    assert np.allclose(found.hips_px, centre + (0.0, 22.4), atol=1e-3)
    assert found.radius_px == pytest.approx(44.8, abs=1e-3)
    assert found.score == pytest.approx(1.0 / (1.0 + np.exp(-3.0)))


def test_overlapping_detections_are_one_person_and_neighbours_are_two() -> None:
    def person(x: float, score: float) -> Detection:
        box = np.array((x, 10.0, x + 40.0, 50.0), np.float32)
        return Detection(box, np.array((x, 100.0), np.float32), np.array((x, 0.0), np.float32), score)

    kept = merged([person(100.0, 0.6), person(104.0, 0.9), person(220.0, 0.7)])
    assert [each.score for each in kept] == [0.9, 0.7]
    assert kept[0].hips_px[0] == pytest.approx((0.6 * 100 + 0.9 * 104) / 1.5)
    assert iou(kept[0].box_px, kept[1].box_px) == 0.0


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (500, 500), (3000, 500)])
def test_the_detector_looks_everywhere(width: int, height: int) -> None:
    seen = np.zeros((height, width), bool)
    crops = search_crops(width, height)
    for crop in crops[1:] or crops:
        half = 0.5 * crop.side_px
        seen[
            max(0, int(crop.y_px - half)) : int(crop.y_px + half) + 1,
            max(0, int(crop.x_px - half)) : int(crop.x_px + half) + 1,
        ] = True
    assert seen.all()


def test_assignments_are_the_cheapest_there_are() -> None:
    draw = np.random.default_rng(0)
    for rows, columns in itertools.product((1, 2, 4), (1, 3, 4)):
        costs = draw.random((rows, columns))
        pairs = assign(costs, 10.0)
        short, long = sorted((rows, columns))
        best = min(
            sum(costs[(k, c) if rows <= columns else (c, k)] for k, c in enumerate(order))
            for order in itertools.permutations(range(long), short)
        )
        assert len(pairs) == short
        assert sum(costs[pair] for pair in pairs) == pytest.approx(best)


def test_forbidden_pairs_stay_apart() -> None:
    assert assign(np.array(((1.0, 2.0), (3.0, 50.0))), 10.0) == [(1, 0), (0, 1)]
    assert assign(np.array(((50.0,),)), 10.0) == []
    assert assign(np.zeros((0, 3)), 10.0) == []


def test_heatmaps_move_landmarks_only_where_they_are_sure() -> None:
    heatmaps = np.full((64, 64, 2), -20.0, np.float32)
    heatmaps[22, 31, 0] = 8.0
    points = np.array(((30.5 / 64, 20.5 / 64), (0.3, 0.3)), np.float32)
    moved = refined(points, heatmaps)
    assert np.allclose(moved[0], (31 / 64, 22 / 64), atol=1e-3)
    assert np.allclose(moved[1], points[1])
