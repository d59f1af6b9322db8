"""The renderer: right where geometry can be checked by hand, and the same picture for the same scene."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kinestream.io.body.mesh import _rounded_cone
from kinestream.io.render import Camera, Scene, _cone_table, render
from kinestream.io.render_kernels import _core
from kinestream.io.stage import follow, stage_motions, travelling_joint
from kinestream.motion import Motion
from kinestream.skeleton import Skeleton
from tests.io.walking import walking
from tests.test_motion import swaying

CAMERA = Camera((0.0, 1.0, 5.0), (0.0, 1.0, 0.0), 0.5)
RED, BLUE = (0.8, 0.05, 0.05, 0.0), (0.05, 0.05, 0.8, 0.0)


def _balls(centres: list[tuple[float, float, float]], radius: float, colours: list[tuple[float, ...]]) -> Scene:
    """A scene of balls, one figure each."""
    points, normals, faces, first = [], [], [], 0
    for centre in centres:
        p, n, f = _rounded_cone(np.array(centre, np.float32), np.array(centre, np.float32) + 1e-4, radius, radius)
        points.append(p)
        normals.append(n)
        faces.append(f + first)
        first += len(p)
    cones = [[*centre, radius, *centre, radius] for centre in centres]
    return Scene(
        vertices=np.concatenate(points).astype(np.float32),
        normals=np.concatenate(normals).astype(np.float32),
        faces=np.concatenate(faces),
        paints=np.repeat(np.arange(len(centres)), [len(f) for f in faces]),
        colours=np.array(colours, np.float32),
        cones=np.array(cones, np.float32),
        figures=np.arange(len(centres)),
        casts_shadow=np.ones(len(centres), np.bool_),
    )


def test_a_ball_is_drawn_where_perspective_puts_it() -> None:
    picture = render(_balls([(0.0, 1.0, 0.0)], 0.5, [RED]), CAMERA, 200, 160).astype(int)
    red = picture[..., 0] > 1.5 * picture[..., 2]
    radius_px = 80.0 / np.tan(0.25) * 0.5 / np.sqrt(5.0**2 - 0.5**2)
    # The ball is a polyhedron of 14 sides, a little smaller than the ball.
    assert -1.5 < np.sqrt(red.sum() / np.pi) - radius_px < 0.5
    rows, columns = np.nonzero(red)
    assert abs(0.5 * (columns.min() + columns.max() + 1) - 100) <= 1.0
    assert abs(0.5 * (rows.min() + rows.max() + 1) - 80) <= 1.0


@pytest.mark.parametrize("nearer_first", [True, False])
def test_the_nearer_of_two_bodies_hides_the_other(nearer_first: bool) -> None:
    order = 1 if nearer_first else -1
    scene = _balls([(0.0, 1.0, 1.0), (0.0, 1.0, -1.0)][::order], 0.3, [BLUE, RED][::order])
    centre = render(scene, CAMERA, 96, 96)[48, 48].astype(int)
    assert centre[2] > centre[0] + 60


def test_bodies_throw_shadows_on_the_floor() -> None:
    above = Camera((0.0, 6.0, 0.01), (0.0, 0.0, 0.0), 0.8)
    scene = _balls([(1.0, 1.0, 0.0)], 0.3, [RED])
    picture = render(scene, above, 160, 160).astype(float).mean(axis=-1)
    light = np.array(scene.light)
    spot = np.array([1.0, 0.0]) - light[[0, 2]] / light[1]
    focal_px = 80.0 / np.tan(0.4)
    column, row = 80 + focal_px * spot[0] / 6.0, 80 + focal_px * spot[1] / 6.0
    assert picture[round(row), round(column)] < 0.8 * picture[round(row), 160 - round(column)]


def test_what_is_under_the_floor_is_not_seen_from_above() -> None:
    picture = render(_balls([(0.0, -0.6, 0.0)], 0.5, [RED]), CAMERA, 96, 96).astype(int)
    assert (picture[..., 0] - picture[..., 2]).max() < 30


def test_light_meets_rounded_cones_at_the_nearest_ball() -> None:
    generator = np.random.default_rng(3)
    share = np.linspace(0.0, 1.0, 2001)[:, None]
    for _ in range(200):
        cone = generator.normal(size=8) * 0.5
        cone[[3, 7]] = generator.uniform(0.05, 0.4, size=2)
        point = generator.normal(size=3)
        x, y, z, radius = _core(*point, _cone_table(cone[None].astype(np.float32)), 0)
        balls = cone[:3] + share * (cone[4:7] - cone[:3])
        nearest = (np.linalg.norm(balls - point, axis=1) - (cone[3] + share[:, 0] * (cone[7] - cone[3]))).min()
        assert abs(np.linalg.norm(point - (x, y, z)) - radius - nearest) < 1e-3


def test_the_same_scene_gives_the_same_bytes() -> None:
    stage = stage_motions([walking(4), walking(4, wave=True)])
    camera = follow(stage, 1.5)[2]
    assert np.array_equal(render(stage.scene(2), camera, 120, 80), render(stage.scene(2), camera, 120, 80))


@pytest.mark.parametrize("position", [(0.0, 1.0, 0.05), (0.0, -3.0, 4.0), (30.0, 40.0, 50.0)])
def test_odd_camera_places_still_give_a_picture(position: tuple[float, float, float]) -> None:
    picture = render(_balls([(0.0, 1.0, 0.0)], 0.3, [RED]), Camera(position, (0.0, 1.1, 0.0)), 64, 64)
    assert picture.shape == (64, 64, 3)


def test_bodies_face_their_own_front() -> None:
    """Seen from the front the face is skin, from behind it is hair."""
    stage = stage_motions(walking(1, turn_radps=0.0))
    skin = []
    for azimuth in (0.0, np.pi):
        picture = render(stage.scene(0), follow(stage, 1.0, azimuth, 0.0)[0], 160, 160).astype(int)
        head = picture[10:32]
        skin.append(((head[..., 0] > 150) & (head[..., 0] - head[..., 2] > 35)).sum())
    assert skin[0] > 2 * skin[1] + 10


def test_camera_follows_the_body_when_a_top_joint_stays_behind() -> None:
    walk = swaying(frames=60)
    body = walk.skeleton
    above = Skeleton(
        "with_reference",
        ("reference", *body.joint_names),
        (-1, *(parent + 1 for parent in body.parents)),
        torch.cat((torch.zeros(1, 3), body.offsets_m)),
    )
    still = torch.zeros(60, 1, 4)
    still[..., 0] = 1.0
    places = above.offsets_m.expand(60, -1, -1).clone()
    places[:, 1] = walk.root_position_m + torch.linspace(0, 8, 60)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    motion = Motion(above, torch.cat((still, walk.local_rotations), dim=1), torch.zeros(60, 3), 30.0, places)
    assert travelling_joint(motion) == 1
    assert travelling_joint(walk) == 0
    cameras = follow(stage_motions(motion), 16 / 9)
    assert cameras[-1].target_m[2] > 7.0
