"""Films whose motion and cameras are known exactly: recordings drawn by our renderer, with noise and compression."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.data.manifest import load_manifest
from kinestream.data.splits import hash_unit
from kinestream.errors import BadInputError
from kinestream.features import motion_from_motion272
from kinestream.io.atomic import atomic_path
from kinestream.io.render import Camera, Scene, render
from kinestream.io.stage import Stage, stage_motions
from kinestream.motion import Motion

FPS = 30
NOISE = 5.0  # of 255
CRF = "27"
_MARGIN = 0.88  # of half the picture, which the body stays in
_PERSON_DIFFERENCE = 6.0  # of 255
_WAVES = np.random.default_rng(7).normal(size=(12, 3)) * 22.0
_PHASES = np.random.default_rng(8).uniform(0.0, 6.28, 12)
_LEAST_FRAMES, _MOST_FRAMES = 75, 90


@dataclass(frozen=True, eq=False)
class Shot:
    """One film to be: its name, motion, size, and a camera for every frame."""

    name: str
    motion: Motion
    width_px: int
    height_px: int
    cameras: tuple[Camera, ...]
    moving: bool

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return 0.5 * self.height_px / math.tan(0.5 * self.cameras[0].field_of_view_rad)


def held_out(data: Path, count: int) -> list[Motion]:
    """Recordings of a data set's test split, of different contents first, 2.5 to 3 seconds of each."""
    clips = [c for c in load_manifest(data).split_clips("test", mirrored=False) if c.frames >= _LEAST_FRAMES]
    clips = [clip for clip in clips if not clip.made]
    clips.sort(key=lambda clip: hash_unit(clip.name))
    rounds: dict[str, int] = {}
    ranked = []
    for clip in clips:
        rounds[clip.content] = rounds.get(clip.content, 0) + 1
        ranked.append((rounds[clip.content], len(ranked), clip))
    ranked.sort(key=lambda each: each[:2])
    if len(ranked) < count:
        raise BadInputError(
            f"{data}: expected {count} held-out recordings of {_LEAST_FRAMES} frames, found {len(ranked)}"
        )
    motions = []
    for _, _, clip in ranked[:count]:
        features = np.load(data / "motion_data" / f"{clip.name}.npy", allow_pickle=False)[:_MOST_FRAMES]
        motions.append(motion_from_motion272(torch.from_numpy(features), name=clip.name))
    return motions


def shots(motion: Motion, seed: int) -> list[Shot]:
    """Three films of a motion: a camera in front, one from elsewhere in portrait, and one that turns with the body."""
    draw = np.random.default_rng(seed)
    made = []
    for number, (turn, width, height, moving) in enumerate(
        (
            (draw.normal(0.0, 0.4), 640, 360, False),
            (draw.uniform(0.7, 5.6), 360, 640, False),
            (draw.uniform(-1.2, 1.2), 640, 360, True),
        )
    ):
        side = draw.uniform(1.0, 1.9)
        view = draw.uniform(0.55, 0.8) * (1.0 if width > height else 1.4)
        made.append(_shot(motion, f"{motion.name}-{number}", turn, side, view, (width, height), moving))
    return made


def _shot(
    motion: Motion, name: str, turn: float, camera_height_m: float, view_rad: float, size: tuple[int, int], moving: bool
) -> Shot:
    joints = motion.joint_positions_m().numpy().astype(np.float64)
    flat = joints[:, 0] * (1.0, 0.0, 1.0)
    middle = 0.5 * (flat.min(0) + flat.max(0)) + (0.0, 0.9, 0.0)
    targets = _slow(flat + (0.0, 0.9, 0.0)) if moving else np.repeat(middle[None], len(joints), axis=0)
    for distance in np.arange(2.6, 14.0, 0.2):
        back = np.array((math.sin(turn) * distance, 0.0, math.cos(turn) * distance))
        place = middle * (1.0, 0.0, 1.0) + back + (0.0, camera_height_m, 0.0)
        cameras = tuple(Camera(tuple(place), tuple(target), view_rad) for target in targets)
        if _all_inside(joints, cameras, size):
            break
    return Shot(name, motion, *size, cameras, moving)


def _slow(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path as somebody follows it with a camera in the hand: behind time, and never quite still."""
    followed = path.copy()
    for k in range(1, len(path)):
        followed[k] = followed[k - 1] + 0.12 * (path[k] - followed[k - 1])
    t = np.arange(len(path)) / FPS
    sway = 0.06 * np.stack((np.sin(1.7 * t), np.sin(2.3 * t + 1.0), np.sin(1.1 * t + 2.0)), axis=1)
    return np.asarray(followed + sway)


def _all_inside(joints: NDArray[np.float64], cameras: tuple[Camera, ...], size: tuple[int, int]) -> bool:
    for frame, camera in zip(joints[::5], cameras[::5], strict=True):
        pixels, depth = project(frame, camera, size)
        inside = np.abs(pixels - 0.5 * np.array(size)) < _MARGIN * 0.5 * np.array(size)
        if depth.min() < 0.5 or not inside.all():
            return False
    return True


def project(
    points_m: NDArray[np.float64], camera: Camera, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels [N, 2] and depths [N] of points in the world."""
    axes = camera_axes(camera)
    seen = (points_m - np.array(camera.position_m)) @ axes.T
    focal = 0.5 * size[1] / math.tan(0.5 * camera.field_of_view_rad)
    return focal * seen[:, :2] / seen[:, 2:] + 0.5 * np.array(size), seen[:, 2]


def camera_axes(camera: Camera) -> NDArray[np.float64]:
    """[3, 3] from the world's axes to the camera's (x right, y down, z away)."""
    rows = camera.matrix(2).astype(np.float64)
    return np.stack((rows[1], -rows[2], rows[3] / np.linalg.norm(rows[3])))


def write_film(shot: Shot, path: Path, seed: int) -> None:
    """Draw and encode a film."""
    import av

    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": CRF, "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = shot.width_px, shot.height_px, "yuv420p"
        for image in _pictures(shot, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _pictures(shot: Shot, seed: int) -> Iterator[NDArray[np.uint8]]:
    draw = np.random.default_rng(seed)
    stage: Stage = stage_motions(shot.motion)
    lift = float(stage.persons[0].shift_m[1])  # the stage puts the soles on the floor
    for frame, camera in enumerate(shot.cameras):
        x, y, z = camera.position_m
        a, b, c = camera.target_m
        raised = Camera((x, y + lift, z), (a, b + lift, c), camera.field_of_view_rad)
        scene = stage.scene(frame)
        image = render(scene, raised, shot.width_px, shot.height_px).astype(np.float32)
        if shot.moving:
            image = _before_a_wall(image, scene, raised)
        yield np.clip(image + draw.normal(0.0, NOISE, image.shape), 0, 255).astype(np.uint8)


def _before_a_wall(image: NDArray[np.float32], scene: Scene, camera: Camera) -> NDArray[np.float32]:
    """The picture with patterns all around, far away, where neither the figure nor its shadow is.

    The studio's own backdrop is smooth: no eye could tell there how a camera turns.
    """
    height, width = image.shape[:2]
    away = 1000.0 * (np.array(camera.position_m) - np.array(camera.target_m))
    cones = scene.cones + np.array((*away, 0.0, *away, 0.0), np.float32)
    nobody = replace(scene, vertices=(scene.vertices + away).astype(np.float32), cones=cones.astype(np.float32))
    empty = render(nobody, camera, width, height).astype(np.float32)
    there = np.abs(image - empty).max(axis=-1, keepdims=True) > _PERSON_DIFFERENCE
    focal = 0.5 * height / math.tan(0.5 * camera.field_of_view_rad)
    y, x = np.mgrid[0.5:height:2, 0.5:width:2]  # every second pixel is enough for something so soft
    rays = np.stack((x - 0.5 * (width - 1), y - 0.5 * (height - 1), np.full(x.shape, focal)), axis=-1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ camera_axes(camera)
    light = np.sin(rays @ _WAVES.T + _PHASES).sum(axis=-1) / math.sqrt(len(_WAVES))
    pattern = np.repeat(np.repeat(1.0 + 0.22 * np.clip(light, -2.0, 2.0), 2, axis=0), 2, axis=1)[..., None]
    return np.where(there, image, np.clip(empty * pattern, 0.0, 255.0)).astype(np.float32)
