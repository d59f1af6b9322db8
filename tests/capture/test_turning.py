"""The camera's turn is measured from the background, whatever people do before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.turning import TurnMeter

FOCAL_PX, WIDTH, HEIGHT = 500.0, 480, 270
_draw = np.random.default_rng(0)
_WAVES, _PHASES = _draw.normal(size=(40, 3)) * 14.0, _draw.uniform(0.0, 6.0, 40)


def rotation(vector: tuple[float, float, float]) -> NDArray[np.float64]:
    angle = float(np.linalg.norm(vector))
    x, y, z = np.array(vector) / max(angle, 1e-12)
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def panorama(turn: NDArray[np.float64], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """What a camera sees of a wall of waves all around, a bright person in a box before it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack((x - 0.5 * (WIDTH - 1), y - 0.5 * (HEIGHT - 1), np.full(x.shape, FOCAL_PX)), axis=-1)
    rays = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)) @ turn.T
    light = sum(np.sin(rays @ wave + phase) for wave, phase in zip(_WAVES, _PHASES, strict=True))
    image = np.clip(127.0 + 7.0 * light, 0, 255)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255 * ((x + y) // 9 % 2)[top:bottom, left:right]
    return np.repeat(image[..., None], 3, axis=-1).astype(np.uint8)


def angle_deg(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1.0) / 2.0, -1.0, 1.0))))


def test_a_pan_of_forty_degrees_behind_a_walking_person_is_measured_within_half_a_degree() -> None:
    meter, first = TurnMeter(FOCAL_PX), np.eye(3)
    for k in range(36):
        turn = rotation((0.04 * np.sin(k / 7), 0.02 * k, 0.02 * np.sin(k / 5)))
        first = turn if k == 0 else first
        box = (100 + 4 * k, 60, 170 + 4 * k, 240)
        got = meter.step(panorama(turn, box), [np.array(box, np.float32)])
        assert angle_deg(got, first.T @ turn) < 0.5


def test_a_camera_that_stands_still_is_measured_to_stand_still() -> None:
    meter = TurnMeter(FOCAL_PX)
    for k in range(6):
        box = (50 + 30 * k, 60, 130 + 30 * k, 240)
        got = meter.step(panorama(np.eye(3), box), [np.array(box, np.float32)])
        assert angle_deg(got, np.eye(3)) < 0.05


def test_a_meter_goes_on_where_its_state_was_taken() -> None:
    box = (100, 60, 170, 240)
    images = [panorama(rotation((0.0, 0.015 * k, 0.0)), box) for k in range(8)]
    boxes = [np.array(box, np.float32)]
    whole, part, rest = TurnMeter(FOCAL_PX), TurnMeter(FOCAL_PX), TurnMeter(FOCAL_PX)
    wanted = [whole.step(image, boxes) for image in images]
    for image in images[:4]:
        part.step(image, boxes)
    rest.restore(part.state())
    assert all(np.allclose(rest.step(image, boxes), want) for image, want in zip(images[4:], wanted[4:], strict=True))
