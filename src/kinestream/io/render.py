"""Pictures of bodies on a studio floor, drawn on the CPU: no GPU, screen or system package.

Triangles with four samples a pixel for what is seen; the body's rounded cones throw its soft shadows. Compiled by numba
on the first use and kept on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinestream.io.render_kernels import (
    FLOOR_CELLS,
    SKY_REACH_M,
    World,
    fill_floor_light,
    project,
    rasterize,
    shade,
)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Camera:
    """Where pictures are taken from: position and target in metres (Y up), vertical field of view in radians."""

    position_m: tuple[float, float, float]
    target_m: tuple[float, float, float]
    field_of_view_rad: float = 0.5

    def matrix(self, height: int) -> FloatArray:
        """[4, 3]: position, and the right, up and forward axes; forward is scaled to the focal length in pixels."""
        position, target = np.array(self.position_m, np.float64), np.array(self.target_m, np.float64)
        forward = target - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 1.0, 0.0))
        right /= np.linalg.norm(right)
        focal_px = 0.5 * height / np.tan(0.5 * self.field_of_view_rad)
        return np.array([position, right, np.cross(right, forward), forward * focal_px], np.float32)


@dataclass(frozen=True, eq=False)
class Scene:
    """What a picture shows.

    Surfaces: `vertices` and `normals` [V, 3], `faces` [T, 3] counter-clockwise from outside, `paints` [T] indices into
    `colours` [C, 4] (linear RGB and gloss). Light: `cones` [N, 8] (start xyz, radius, end xyz, radius) that throw
    shadows where `casts_shadow` [N], `figures` [N] says whose they are (those of one figure lie together). `floor_m` is
    the floor's height, `light` points towards the lamp.
    """

    vertices: FloatArray
    normals: FloatArray
    faces: NDArray[np.int64]
    paints: NDArray[np.int64]
    colours: FloatArray
    cones: FloatArray
    figures: NDArray[np.int64]
    casts_shadow: NDArray[np.bool_]
    floor_m: float = 0.0
    light: tuple[float, float, float] = (0.42, 0.82, 0.39)


def render(scene: Scene, camera: Camera, width: int, height: int) -> NDArray[np.uint8]:
    """The picture of a scene, [height, width, 3] sRGB."""
    matrix = camera.matrix(height).astype(np.float64)
    light = np.array(scene.light, np.float64)
    light /= np.linalg.norm(light)
    balls = _figure_balls(scene)
    world = World(
        cones=_cone_table(scene.cones),
        casts=scene.casts_shadow.astype(np.int64),
        balls=balls,
        light=light,
        floor_m=float(scene.floor_m),
        corners=_floor_corners(balls, light, scene.floor_m),
        maps=np.empty((len(balls), FLOOR_CELLS, FLOOR_CELLS, 2), np.float32),
        camera=matrix,
        focal_px=float(np.linalg.norm(matrix[3])),
        vertices=scene.vertices,
        normals=scene.normals,
        screen=np.zeros_like(scene.vertices),
        faces=scene.faces,
        paints=scene.paints,
        colours=scene.colours.astype(np.float64),
        owner=np.full((height, width, 4), -1, np.int32),
        nearness=np.zeros((height, width, 4), np.float32),
    )
    fill_floor_light(world)
    project(world, width, height)
    rasterize(world)
    image = np.empty((height, width, 3), np.uint8)
    shade(world, _srgb_table(), image)
    return image


def _cone_table(cones: FloatArray) -> NDArray[np.float64]:
    """[N, 12]: start, its radius, unit axis, the end's radius, length, slope, 1 - slope², slope / sqrt(1 - slope²).

    Where one ball holds the other, that ball alone with length 0.
    """
    cones = cones.astype(np.float64)
    axis = cones[:, 4:7] - cones[:, 0:3]
    length = np.linalg.norm(axis, axis=-1)
    swallowed = length <= np.abs(cones[:, 3] - cones[:, 7]) + 1e-9
    end_wins = swallowed & (cones[:, 7] > cones[:, 3])
    start = np.where(end_wins[:, None], cones[:, 4:8], cones[:, 0:4])
    length = np.where(swallowed, 0.0, length)
    safe = np.where(swallowed, 1.0, length)
    axis = np.where(swallowed[:, None], (1.0, 0.0, 0.0), axis / safe[:, None])
    slope = np.where(swallowed, 0.0, (cones[:, 3] - cones[:, 7]) / safe)
    cos2 = 1.0 - slope * slope
    return np.column_stack([start, axis, cones[:, 7], length, slope, cos2, slope / np.sqrt(cos2)])


def _figure_balls(scene: Scene) -> NDArray[np.float64]:
    """For each figure a ball around its cones and where they start and stop: [F, 6]."""
    balls = []
    for figure in np.unique(scene.figures):
        rows = np.flatnonzero(scene.figures == figure)
        points = scene.cones[rows].reshape(-1, 4)
        centre = 0.5 * (points[:, :3].min(0) + points[:, :3].max(0))
        radius = np.max(np.linalg.norm(points[:, :3] - centre, axis=-1) + points[:, 3])
        balls.append([*centre, radius, rows[0], rows[-1] + 1])
    return np.array(balls, np.float64).reshape(-1, 6)


def _floor_corners(balls: NDArray[np.float64], light: NDArray[np.float64], floor_m: float) -> NDArray[np.float64]:
    """For each figure the lowest x and z of the floor that it darkens, and the step between that grid's points."""
    height = np.maximum(balls[:, 1] - floor_m, 0.0)[:, None]
    centre = balls[:, [0, 2]]
    shadow = centre - height * light[[0, 2]] / light[1]
    near, far = balls[:, 3:4] + SKY_REACH_M, 1.35 * balls[:, 3:4] / light[1]
    low, high = np.minimum(centre - near, shadow - far), np.maximum(centre + near, shadow + far)
    step = (high - low).max(axis=1, keepdims=True) / (FLOOR_CELLS - 1)
    return np.concatenate([low, step], axis=1)


def _srgb_table() -> NDArray[np.uint8]:
    linear = np.linspace(0.0, 1.0, 4097)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.round(255.0 * encoded).astype(np.uint8)
    return table
