"""How the camera turns, measured from what stands still behind the people.

Each picture is aligned with a key picture by a turn of the camera alone (a homography of three parameters), directly on
its lightness: Gauss-Newton on a pyramid, robust weights, and the people left out (Baker and Matthews, 2004). A new key
is taken when little of the old one is left in sight, so errors do not add up from picture to picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LONG_SIDE_PX = 320
_LEVELS = 4
_ITERATIONS = 12
_DONE_RAD = 2e-5
# More pixels than this, spread over the picture, tell nothing new.
_MOST_PIXELS = 4000
# Pixels further than this many median deviations from agreeing belong to what moves by itself (Tukey's weight).
_OUTLIER_SCALE = 4.685
_LEAST_SIGHT = 0.6
_LEAST_PIXELS = 200
# People are a little larger than the box of their landmarks.
_BOX_MARGIN = 0.15


@dataclass(frozen=True, eq=False)
class _Level:
    """One size of the key picture: lightness, its gradients by the turn [N, 3], rays [N, 3] and focal length."""

    lightness: Array
    jacobian: Array
    rays: Array
    focal_px: float


class TurnMeter:
    """Measures the camera's turn, picture by picture; `focal_px` is that of the full pictures."""

    def __init__(self, focal_px: float) -> None:
        self._focal_px = focal_px
        self.forget()

    def forget(self) -> None:
        """A new shot begins: the next picture's camera is where turns are counted from."""
        self._key: tuple[Array, NDArray[np.bool_]] | None = None
        self._levels: list[_Level] = []
        self._key_turn, self._turn, self._scale = np.eye(3), np.eye(3), 1.0

    def step(self, rgb: NDArray[np.uint8], boxes_px: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """[3, 3]: takes directions in this picture's camera axes to those of the shot's first picture.

        `boxes_px` (left, top, right, bottom) are the people, who are left out.
        """
        self._scale = _LONG_SIDE_PX / max(rgb.shape[:2])
        light = _small(rgb, self._scale)
        keep = _outside(light.shape, boxes_px, self._scale)
        if self._key is None:
            self._set_key(light, keep)
            return self._turn.astype(np.float32)
        relative, sight = self._aligned(light, keep, self._key_turn.T @ self._turn)
        self._turn = self._key_turn @ relative
        if sight < _LEAST_SIGHT:
            self._key_turn = self._turn
            self._set_key(light, keep)
        return self._turn.astype(np.float32)

    def state(self) -> Array:
        """All that is remembered, as one row of numbers."""
        if self._key is None:
            return np.zeros(0)
        light, keep = self._key
        head = (*self._key_turn.ravel(), *self._turn.ravel(), self._scale, *light.shape)
        return np.concatenate([head, light.ravel(), keep.ravel()])

    def restore(self, state: Array) -> None:
        """Go on from a `state`."""
        self.forget()
        if state.size == 0:
            return
        self._key_turn, self._turn = state[:9].reshape(3, 3), state[9:18].reshape(3, 3)
        self._scale, height, width = float(state[18]), int(state[19]), int(state[20])
        light, keep = state[21:].reshape(2, height, width)
        self._set_key(light, keep > 0.5)

    def _set_key(self, light: Array, keep: NDArray[np.bool_]) -> None:
        self._key, self._levels = (light, keep), []
        focal = self._focal_px * self._scale
        for level in range(_LEVELS):
            self._levels.append(_level(light, keep, focal / 2**level))
            light, keep = _halved(light), _halved(keep.astype(np.float64)) > 0.99

    def _aligned(self, light: Array, keep: NDArray[np.bool_], turn: Array) -> tuple[Array, float]:
        """The turn from this picture's camera to the key's, from a first guess, and the share of the key in sight."""
        pyramid = [(light, keep)]
        while len(pyramid) < _LEVELS:
            a, b = pyramid[-1]
            pyramid.append((_halved(a), _halved(b.astype(np.float64)) > 0.99))
        sight = 0.0
        for level, (a, b) in zip(reversed(self._levels), reversed(pyramid), strict=True):
            if len(level.rays) < _LEAST_PIXELS / 4:
                continue
            turn, sight = _refined(level, a, b, turn)
        return turn, sight


def _small(rgb: NDArray[np.uint8], scale: float) -> Array:
    """Lightness from 0 to 1 at a smaller size: means of samples."""
    height, width = (max(8, round(side * scale)) for side in rgb.shape[:2])
    many = min(4, max(1, round(1.0 / scale)))
    y = ((np.arange(height * many) + 0.5) * rgb.shape[0] / (height * many)).astype(np.int64)
    x = ((np.arange(width * many) + 0.5) * rgb.shape[1] / (width * many)).astype(np.int64)
    green = rgb[..., 1][y[:, None], x[None]].astype(np.float64)
    return np.asarray(green.reshape(height, many, width, many).mean(axis=(1, 3)) / 255.0)


def _halved(values: Array) -> Array:
    height, width = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    return np.asarray(values[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)))


def _outside(shape: tuple[int, ...], boxes_px: Sequence[NDArray[np.float32]], scale: float) -> NDArray[np.bool_]:
    keep = np.ones(shape, bool)
    for box in boxes_px:
        left, top, right, bottom = (float(value) * scale for value in box)
        dx, dy = _BOX_MARGIN * (right - left), _BOX_MARGIN * (bottom - top)
        keep[
            max(0, int(top - dy)) : max(0, int(bottom + dy) + 1), max(0, int(left - dx)) : max(0, int(right + dx) + 1)
        ] = 0
    return keep


def _level(light: Array, keep: NDArray[np.bool_], focal_px: float) -> _Level:
    """The key picture at one size: how its lightness changes as the camera turns, where it has any structure."""
    gy, gx = (np.asarray(each) for each in np.gradient(light))
    inner = keep.copy()
    inner[[0, -1]] = inner[:, [0, -1]] = False
    strong = gx * gx + gy * gy
    inner &= strong > 0.25 * np.median(strong)
    y, x = np.nonzero(inner)
    every = max(1, len(y) // _MOST_PIXELS)
    y, x = y[::every], x[::every]
    rays = np.stack((x - 0.5 * (light.shape[1] - 1), y - 0.5 * (light.shape[0] - 1), np.full(len(x), focal_px)), axis=1)
    u, v = rays[:, 0] / focal_px, rays[:, 1] / focal_px
    # A turn w moves the ray r by w x r, and its pixel by the projection's derivative of that.
    du = focal_px * np.stack((-u * v, 1.0 + u * u, -v), axis=1)
    dv = focal_px * np.stack((-(1.0 + v * v), u * v, u), axis=1)
    jacobian = gx[y, x, None] * du + gy[y, x, None] * dv
    return _Level(light[y, x], jacobian, rays, focal_px)


def _refined(level: _Level, light: Array, keep: NDArray[np.bool_], turn: Array) -> tuple[Array, float]:
    """Gauss-Newton (inverse compositional): `turn` takes this picture's directions to the key's."""
    height, width = light.shape
    sight = 0.0
    for _ in range(_ITERATIONS):
        moved = level.rays @ turn  # the key's rays in this picture's axes
        z = np.maximum(moved[:, 2], 1e-6)
        x = level.focal_px * moved[:, 0] / z + 0.5 * (width - 1)
        y = level.focal_px * moved[:, 1] / z + 0.5 * (height - 1)
        inside = (moved[:, 2] > 0) & (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
        sight = float(inside.mean())
        chosen = np.flatnonzero(inside)
        x0, y0 = x[chosen].astype(np.int64), y[chosen].astype(np.int64)
        chosen = chosen[keep[y0, x0]]
        if len(chosen) < _LEAST_PIXELS / 4:
            return turn, sight
        x0, y0 = x[chosen].astype(np.int64), y[chosen].astype(np.int64)
        fx, fy = x[chosen] - x0, y[chosen] - y0
        seen = (1 - fy) * ((1 - fx) * light[y0, x0] + fx * light[y0, x0 + 1]) + fy * (
            (1 - fx) * light[y0 + 1, x0] + fx * light[y0 + 1, x0 + 1]
        )
        error = _same_exposure(seen, level.lightness[chosen]) - level.lightness[chosen]
        spread = 1.4826 * float(np.median(np.abs(error))) + 1e-4
        weight = np.maximum(1.0 - (error / (_OUTLIER_SCALE * spread)) ** 2, 0.0) ** 2
        jacobian = level.jacobian[chosen]
        normal = jacobian.T @ (weight[:, None] * jacobian) + 1e-6 * np.eye(3)
        step = np.linalg.solve(normal, jacobian.T @ (weight * error))
        turn = _rotation(step) @ turn
        if float(np.abs(step).max()) < _DONE_RAD:
            break
    return turn, sight


def _same_exposure(seen: Array, wanted: Array) -> Array:
    """Lightness with the middle and the spread of another's: cameras change their exposure as they turn."""
    (low, middle, high), (a, b, c) = np.quantile(seen, (0.25, 0.5, 0.75)), np.quantile(wanted, (0.25, 0.5, 0.75))
    gain = np.clip((c - a) / max(high - low, 1e-3), 0.5, 2.0)
    return np.asarray((seen - middle) * gain + b)


def _rotation(vector: Array) -> Array:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross)
