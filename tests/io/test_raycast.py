"""The ray caster: exact where geometry can be checked by hand, and the same picture for the same scene."""

from __future__ import annotations

import numpy as np
import pytest

from kinestream.io.raycast import Camera, Scene, _cone_table, render
from kinestream.io.raycast_kernels import FAR, _cone

CAMERA = Camera((0.0, 1.0, 5.0), (0.0, 1.0, 0.0), 0.5)


def _scene(cones: list[list[float]], colours: list[list[float]] | None = None) -> Scene:
    count = len(cones)
    paint = colours or [[0.8, 0.05, 0.05, 0.0]] * count
    return Scene(
        np.array(cones, np.float32), np.array(paint, np.float32), np.arange(count), np.ones(count, np.bool_), 0.0
    )


def _distance(points: np.ndarray, cone: np.ndarray) -> np.ndarray:
    """Distance to a rounded cone as the hull of all balls between its ends: by brute force."""
    share = np.linspace(0.0, 1.0, 801)[:, None]
    centres = cone[:3] + share * (cone[4:7] - cone[:3])
    radii = cone[3] + share[:, 0] * (cone[7] - cone[3])
    return np.array([(np.linalg.norm(centres - point, axis=1) - radii).min() for point in points])


def test_rays_meet_rounded_cones_on_their_surface() -> None:
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(24):
        cone = np.array([*generator.normal(size=3) * 0.4, generator.uniform(0.05, 0.4)] * 2)
        cone[4:7] += generator.normal(size=3)
        cone[7] = generator.uniform(0.05, 0.4)
        table = _cone_table(cone[None].astype(np.float32))
        for _ in range(8):
            origin = generator.normal(size=3)
            origin *= 9.0 / np.linalg.norm(origin)
            aim = cone[:3] + generator.uniform() * (cone[4:7] - cone[:3]) + generator.normal(size=3) * 0.15
            direction = (aim - origin) / np.linalg.norm(aim - origin)
            t = _cone(*origin, *direction, table, 0)
            along = origin + np.linspace(0.0, 18.0, 250)[:, None] * direction
            nearest = _distance(along, cone)
            if t < FAR:
                hits += 1
                assert abs(_distance((origin + t * direction)[None], cone)[0]) < 1e-3
                assert nearest[np.linspace(0.0, 18.0, 250) < t - 0.01].min(initial=1.0) > -1e-4
            else:
                assert nearest.min() > -1e-3
    assert hits > 80


def test_a_ball_is_drawn_where_perspective_puts_it() -> None:
    picture = render(_scene([[0.0, 1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5]]), CAMERA, 200, 160).astype(int)
    red = (picture[..., 0] - picture[..., 2]) > 60
    focal_px = 80.0 / np.tan(0.25)
    radius_px = focal_px * 0.5 / np.sqrt(5.0**2 - 0.5**2)
    assert abs(np.sqrt(red.sum() / np.pi) - radius_px) < 1.0
    rows, columns = np.nonzero(red)
    assert abs(columns.mean() + 0.5 - 100) < 0.5
    assert abs(rows.mean() + 0.5 - 80) < 0.5


def test_the_nearer_of_two_bodies_hides_the_other() -> None:
    near, far = [0.0, 1.0, 1.0, 0.3, 0.0, 1.0, 1.0, 0.3], [0.0, 1.0, -1.0, 0.3, 0.0, 1.0, -1.0, 0.3]
    blue, red = [0.05, 0.05, 0.8, 0.0], [0.8, 0.05, 0.05, 0.0]
    for cones, colours in (([near, far], [blue, red]), ([far, near], [red, blue])):
        centre = render(_scene(cones, colours), CAMERA, 96, 96)[48, 48].astype(int)
        assert centre[2] > centre[0] + 60


def test_bodies_throw_shadows_on_the_floor() -> None:
    above = Camera((0.0, 6.0, 0.01), (0.0, 0.0, 0.0), 0.8)
    ball = [1.0, 1.0, 0.0, 0.3, 1.0, 1.0, 0.0, 0.3]
    scene = _scene([ball])
    picture = render(scene, above, 160, 160).astype(float).mean(axis=-1)
    light = np.array(scene.light)
    spot = np.array([1.0, 0.0]) - light[[0, 2]] / light[1]
    focal_px = 80.0 / np.tan(0.4)
    column, row = 80 + focal_px * spot[0] / 6.0, 80 + focal_px * spot[1] / 6.0
    assert picture[round(row), round(column)] < 0.8 * picture[round(row), 160 - round(column)]


def test_the_same_scene_gives_the_same_bytes() -> None:
    scene = _scene([[0.0, 0.4, 0.0, 0.3, 0.4, 1.2, 0.1, 0.2], [-0.5, 0.5, 0.0, 0.2, -0.5, 1.0, 0.0, 0.3]])
    assert np.array_equal(render(scene, CAMERA, 120, 90), render(scene, CAMERA, 120, 90))


@pytest.mark.parametrize("position", [(0.0, 1.0, 0.05), (0.0, -3.0, 4.0), (30.0, 40.0, 50.0)])
def test_odd_camera_places_still_give_a_picture(position: tuple[float, float, float]) -> None:
    picture = render(_scene([[0.0, 1.0, 0.0, 0.3, 0.0, 1.5, 0.0, 0.2]]), Camera(position, (0.0, 1.1, 0.0)), 64, 64)
    assert picture.shape == (64, 64, 3)
