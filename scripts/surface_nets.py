"""Closed surfaces of signed distance functions: naive surface nets on grids whose steps may differ along each axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Distance = Callable[[Array], Array]


def surface(distance: Distance, axes: tuple[Array, Array, Array]) -> tuple[Array, NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3], turned outwards, of distance = 0 inside the grid that `axes` span.

    The surface must not touch the grid's border. Vertices are moved onto the surface along the gradient.
    """
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = distance(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    border = [np.take(values, index, axis=axis).min() for axis in range(3) for index in (0, -1)]
    if min(border) <= 0.0:
        raise ValueError(f"the surface touches the grid's border ({border})")
    crossings = _edge_crossings(values, grid)
    sums, counts = np.zeros((*(np.array(values.shape) - 1), 3)), np.zeros(np.array(values.shape) - 1)
    for axis, (where, points, _) in enumerate(crossings):
        for cell in _cells_around(where, axis):
            inside = np.all((cell >= 0) & (cell < counts.shape), axis=1)
            np.add.at(sums, tuple(cell[inside].T), points[inside])
            np.add.at(counts, tuple(cell[inside].T), 1.0)
    number = np.full(counts.shape, -1)
    used = counts > 0
    number[used] = np.arange(used.sum())
    vertices = project(distance, sums[used] / counts[used, None], 4)
    faces = [_faces(number, where, rising, axis) for axis, (where, _, rising) in enumerate(crossings)]
    return vertices, np.concatenate(faces)


def gradient(distance: Distance, points: Array, step: float = 5e-4) -> Array:
    """Unit gradients at points, by central differences."""
    slopes = [distance(points + step * axis) - distance(points - step * axis) for axis in np.eye(3)]
    vectors = np.stack(slopes, axis=-1)
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12))


def project(distance: Distance, points: Array, rounds: int) -> Array:
    """Points moved onto the surface: a few careful steps along the gradient."""
    for _ in range(rounds):
        points = points - 0.7 * np.clip(distance(points), -0.004, 0.004)[:, None] * gradient(distance, points)
    return points


def _edge_crossings(values: Array, grid: Array) -> list[tuple[NDArray[np.int64], Array, NDArray[np.bool_]]]:
    """For each axis: the grid edges [E, 3] whose ends differ in sign, where they cross, and whether outside is up."""
    found = []
    for axis in range(3):
        low = np.take(values, range(values.shape[axis] - 1), axis=axis)
        high = np.take(values, range(1, values.shape[axis]), axis=axis)
        where = np.argwhere((low < 0) != (high < 0))
        a, b = low[tuple(where.T)], high[tuple(where.T)]
        step = np.eye(3, dtype=int)[axis]
        start, end = grid[tuple(where.T)], grid[tuple((where + step).T)]
        found.append((where, start + (a / (a - b))[:, None] * (end - start), b > 0))
    return found


def _cells_around(where: NDArray[np.int64], axis: int) -> list[NDArray[np.int64]]:
    """The four cells around edges along an axis, in turning order."""
    u, v = (np.eye(3, dtype=int)[(axis + k) % 3] for k in (1, 2))
    return [where, where - u, where - u - v, where - v]


def _faces(
    number: NDArray[np.int64], where: NDArray[np.int64], rising: NDArray[np.bool_], axis: int
) -> NDArray[np.int64]:
    a, b, c, d = (number[tuple(cell.T)] for cell in _cells_around(where, axis))
    quads = np.where(rising[:, None], np.stack([a, b, c, d], axis=1), np.stack([d, c, b, a], axis=1))
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
