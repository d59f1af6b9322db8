"""Where persons stand and where the camera is, frame by frame: what pictures, video and the viewer share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.errors import BadInputError
from kinestream.io.body import Body, body_for
from kinestream.io.body.figure import MATERIAL_NAMES
from kinestream.io.render import Camera, Scene
from kinestream.io.render_kernels import skin
from kinestream.motion import Motion, resample
from kinestream.rotations import matrix_from_quat, quat_normalize, quat_rotate, quat_yaw

FloatArray = NDArray[np.float32]

SPACING_M = 1.5  # between persons that are shown side by side
FIELD_OF_VIEW_RAD = 0.48
MARGIN_M = 0.17  # what a body is wider than its joints
CAMERA_SMOOTHING_S = 0.7
MAX_PERSONS = 16

# Linear RGB and gloss; persons differ in their tops.
_PARTS = {
    "skin": (0.70, 0.41, 0.28, 0.05),
    "trousers": (0.045, 0.052, 0.075, 0.05),
    "shoes": (0.74, 0.73, 0.71, 0.10),
    "hair": (0.055, 0.032, 0.020, 0.10),
    "eyes": (0.012, 0.010, 0.012, 0.50),
    "lips": (0.42, 0.17, 0.13, 0.08),
}
TOPS = (
    (0.055, 0.21, 0.36, 0.06),
    (0.62, 0.16, 0.07, 0.06),
    (0.10, 0.27, 0.12, 0.06),
    (0.60, 0.38, 0.05, 0.06),
    (0.26, 0.10, 0.34, 0.06),
    (0.48, 0.10, 0.18, 0.06),
)


def palette(person: int) -> FloatArray:
    """[materials, 4] linear RGB and gloss of a person's parts."""
    rows = {**_PARTS, "top": TOPS[person % len(TOPS)]}
    return np.array([rows[name] for name in MATERIAL_NAMES], np.float32)


def floor_height_m(motion: Motion, sole_drop_m: float) -> float:
    """Where the floor under a motion is drawn: the soles' height in the frames in which the body is lowest.

    `sole_drop_m` is how far soles are below the lowest joint. A motion that never comes near the ground (all of it
    above 0.25 m) keeps the floor at 0.
    """
    lowest = motion.joint_positions_m()[..., 1].amin(dim=1)
    floor = float(torch.quantile(lowest, 0.05)) - sole_drop_m
    return 0.0 if floor > 0.25 else floor


@dataclass(frozen=True, eq=False)
class Person:
    """One body on the stage: its body, its joints' places [T, J, 3] and orientations [T, J, 4], its shift [3]."""

    motion: Motion
    body: Body
    positions_m: FloatArray
    rotations: FloatArray
    shift_m: FloatArray

    def surface(self, frame: int) -> tuple[FloatArray, FloatArray]:
        """Vertices and normals [V, 3] of the body at a frame."""
        mesh = self.body.mesh
        turn = matrix_from_quat(torch.from_numpy(self.rotations[frame]).double()).numpy()
        matrices = turn @ mesh.inverse_bind
        matrices[..., 3] += self.positions_m[frame]
        placed, turned = np.empty_like(mesh.positions_m), np.empty_like(mesh.normals)
        skin(mesh.positions_m, mesh.normals, mesh.joints, mesh.weights, matrices, placed, turned)
        return placed, turned


@dataclass(frozen=True, eq=False)
class Stage:
    """Persons on a floor at height 0, at one rate; shorter motions hold their last pose."""

    persons: tuple[Person, ...]
    fps: float

    @property
    def num_frames(self) -> int:
        """Frames of the longest motion."""
        return max(len(person.positions_m) for person in self.persons)

    @cached_property
    def _still(self) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray, NDArray[np.int64], NDArray[np.bool_]]:
        """What no frame changes: faces, their paints, colours, the cones' figures and whether they cast shadows."""
        faces, paints, first = [], [], 0
        for number, person in enumerate(self.persons):
            mesh = person.body.mesh
            faces.append(mesh.faces + first)
            paints.append(np.repeat(mesh.part_materials, np.diff(mesh.part_starts)) + number * len(MATERIAL_NAMES))
            first += len(mesh.positions_m)
        colours = np.concatenate([palette(number) for number in range(len(self.persons))])
        figures = [np.full(len(person.body.figure.radii_m), number) for number, person in enumerate(self.persons)]
        casts = np.concatenate([person.body.figure.casts_shadow for person in self.persons])
        return np.concatenate(faces), np.concatenate(paints), colours, np.concatenate(figures), casts

    def scene(self, frame: int) -> Scene:
        """What is to be drawn at a frame."""
        vertices, normals, cones = [], [], []
        for person in self.persons:
            k = min(frame, len(person.positions_m) - 1)
            placed, turned = person.surface(k)
            vertices.append(placed)
            normals.append(turned)
            cones.append(person.body.figure.pose(person.positions_m[k : k + 1], person.rotations[k : k + 1])[0])
        faces, paints, colours, figures, casts = self._still
        join = np.concatenate
        return Scene(join(vertices), join(normals), faces, paints, colours, join(cones), figures, casts)


def stage_motions(motions: Motion | Sequence[Motion], fps: float | None = None) -> Stage:
    """Set motions side by side along X, each with its own floor at height 0; several start in one row.

    At `fps`, else the first motion's rate. BadInputError for no motion or more than 16.
    """
    several = [motions] if isinstance(motions, Motion) else list(motions)
    if not 1 <= len(several) <= MAX_PERSONS:
        raise BadInputError(f"expected 1 to {MAX_PERSONS} motions to show, got {len(several)}")
    rate = float(fps if fps is not None else several[0].fps)
    persons = []
    for number, given in enumerate(several):
        motion = resample(given, rate)
        body = body_for(motion.skeleton, motion)
        shift = torch.tensor([0.0, -floor_height_m(motion, body.mesh.sole_drop_m), 0.0])
        if len(several) > 1:
            shift[0] = SPACING_M * (number - 0.5 * (len(several) - 1)) - motion.root_position_m[0, 0]
            shift[2] = -motion.root_position_m[0, 2]
        positions = (motion.joint_positions_m() + shift).numpy().astype(np.float32)
        rotations = motion.world_rotations().numpy().astype(np.float32)
        persons.append(Person(motion, body, positions, rotations, shift.numpy()))
    return Stage(tuple(persons), rate)


def heading_rad(motion: Motion) -> float:
    """Which way the first frame faces about Y, 0 being +Z, by the root's orientation."""
    yaw = quat_yaw(quat_normalize(motion.local_rotations[0, 0]))
    facing = quat_rotate(yaw, torch.tensor([0.0, 0.0, 1.0]).to(yaw))
    return float(torch.atan2(facing[0], facing[2]))


def travelling_joint(motion: Motion) -> int:
    """The first joint that goes where the body goes: some files have a top joint that stays while its child travels."""
    joint, translations = 0, motion.joint_translations_m
    while translations is not None and len(motion.skeleton.children(joint)) == 1:
        child = motion.skeleton.children(joint)[0]
        if float((translations[:, child] - translations[:1, child]).norm(dim=-1).max()) < 0.01:
            break
        joint = child
    return joint


def follow(stage: Stage, aspect: float, azimuth_rad: float | None = None, elevation_rad: float = 0.19) -> list[Camera]:
    """A camera for each frame: it keeps its direction, glides along with the persons and keeps all of them in view.

    `aspect` is width over height. `azimuth_rad` is where it stands about Y, 0 being +Z; by default a little to the
    side of where the first person looks.
    """
    azimuth = heading_rad(stage.persons[0].motion) + 0.55 if azimuth_rad is None else azimuth_rad
    back = np.array(
        [np.sin(azimuth) * np.cos(elevation_rad), np.sin(elevation_rad), np.cos(azimuth) * np.cos(elevation_rad)]
    )
    held = [np.minimum(np.arange(stage.num_frames), len(person.positions_m) - 1) for person in stage.persons]
    points = np.concatenate(
        [
            person.positions_m[rows, travelling_joint(person.motion) :]
            for person, rows in zip(stage.persons, held, strict=True)
        ],
        axis=1,
    ).astype(np.float64)
    roots = np.stack(
        [
            person.positions_m[rows, travelling_joint(person.motion)]
            for person, rows in zip(stage.persons, held, strict=True)
        ],
        axis=1,
    )
    sigma = CAMERA_SMOOTHING_S * stage.fps
    target = _smoothed(roots.mean(axis=1).astype(np.float64), sigma)
    target[:, 1] = 0.5 * float(np.quantile(points[..., 1].max(axis=1), 0.98) + 0.12) - 0.03
    needed = _distance_needed(points - target[:, None], back, aspect)
    distance = np.maximum(_smoothed(_rolling_max(needed, int(2 * sigma)), sigma), needed)
    positions = target + back * distance[:, None]
    return [
        Camera(tuple(position.tolist()), tuple(aim.tolist()), FIELD_OF_VIEW_RAD)
        for position, aim in zip(positions, target, strict=True)
    ]


def _distance_needed(offsets: NDArray[np.float64], back: NDArray[np.float64], aspect: float) -> NDArray[np.float64]:
    """How far along `back` a camera must be in each frame to have all points [T, P, 3] in its picture."""
    right = np.cross((0.0, 1.0, 0.0), back)
    right /= np.linalg.norm(right)
    tangent = np.tan(0.5 * FIELD_OF_VIEW_RAD)
    depth = offsets @ back
    sideways = (np.abs(offsets @ right) + MARGIN_M) / (tangent * aspect)
    upright = (np.abs(offsets @ np.cross(back, right)) + MARGIN_M) / tangent
    return np.asarray((np.maximum(sideways, upright) + depth).max(axis=1) * 1.06)


def _smoothed(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian mean over time (first axis); beyond the ends the movement goes on as it came, so that nothing lags."""
    reach = max(int(3 * sigma), 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    kernel /= kernel.sum()
    columns = values.reshape(len(values), -1)
    if len(columns) > 1:
        padded = np.pad(columns, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    else:
        padded = np.repeat(columns, 2 * reach + 1, axis=0)
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1).reshape(values.shape)


def _rolling_max(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1))
