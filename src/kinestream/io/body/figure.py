"""The figure: rounded cones hung on a skeleton's joints, the body that pictures show and meshes are built from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinestream.io.body.fitting import BodyFit
from kinestream.skeleton import Skeleton, smpl22

FloatArray = NDArray[np.float32]

SKIN, TOP, TROUSERS, SHOES, HAIR, EYES, LIPS = range(7)
MATERIAL_NAMES = ("skin", "top", "trousers", "shoes", "hair", "eyes", "lips")


class _Point(NamedTuple):
    """A point that moves with a joint: the joint and where the point rests from it, metres."""

    joint: str
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


class _Cone(NamedTuple):
    """Two spheres and what spans them."""

    material: int
    start: _Point
    start_radius: float
    end: _Point
    end_radius: float
    casts_shadow: bool = True


@dataclass(frozen=True, eq=False)
class Figure:
    """N rounded cones on a skeleton's joints; each end follows its own joint, so that spines bend without gaps.

    `joints` [N, 2] indices, `offsets_m` [N, 2, 3] in those joints' frames, `radii_m` [N, 2], `materials` [N] indices
    into MATERIAL_NAMES, `casts_shadow` [N] (details too small to throw one say no).
    """

    joints: NDArray[np.int64]
    offsets_m: FloatArray
    radii_m: FloatArray
    materials: NDArray[np.int64]
    casts_shadow: NDArray[np.bool_]

    def pose(self, positions_m: FloatArray, rotations: FloatArray) -> FloatArray:
        """Cones in the world, [T, N, 8] as (start xyz, radius, end xyz, radius).

        From world joint positions [T, J, 3] and world orientations [T, J, 4] (wxyz).
        """
        offsets = np.broadcast_to(self.offsets_m, (len(positions_m), *self.offsets_m.shape))
        ends = positions_m[:, self.joints] + _rotate(rotations[:, self.joints], offsets)
        radii = np.broadcast_to(self.radii_m[None, ..., None], (*ends.shape[:-1], 1))
        return np.concatenate([ends, radii], axis=-1).reshape(len(ends), -1, 8).astype(np.float32)


def _rotate(quaternions: FloatArray, vectors: FloatArray) -> FloatArray:
    real, axis = quaternions[..., :1], quaternions[..., 1:]
    twice = 2.0 * np.cross(axis, vectors)
    rotated: FloatArray = vectors + real * twice + np.cross(axis, twice)
    return rotated


def human_figure(fit: BodyFit) -> Figure:
    """The clothed person on a humanoid skeleton."""
    cones, index = human_cones(), smpl22().index
    roles = np.array([[index(p.joint) for p in (cone.start, cone.end)] for cone in cones])
    offsets = np.array([[p[1:] for p in (cone.start, cone.end)] for cone in cones])
    joints = fit.joints[roles]
    placed = fit.anchors_m[roles] + np.einsum("neij,nej->nei", fit.matrices[roles], offsets)
    local = np.einsum("neji,nej->nei", fit.bind_rotations[joints], placed - fit.bind_positions_m[joints])
    radii = np.array([[cone.start_radius, cone.end_radius] for cone in cones])
    return Figure(
        joints=joints,
        offsets_m=local.astype(np.float32),
        radii_m=(radii * fit.thickness).astype(np.float32),
        materials=np.array([cone.material for cone in cones]),
        casts_shadow=np.array([cone.casts_shadow for cone in cones]),
    )


@lru_cache(maxsize=1)
def human_cones() -> tuple[_Cone, ...]:
    """The clothed person on SMPL-22's joints, in its rest pose's axes (Y up, faces +Z, the left is +X)."""
    P, C = _Point, _Cone
    middle = [
        C(TROUSERS, P("pelvis", 0.052, -0.035, -0.002), 0.104, P("pelvis", -0.052, -0.035, -0.002), 0.104),
        C(TOP, P("neck", 0.0, -0.045, 0.002), 0.062, P("spine3", 0.0, 0.11, -0.01), 0.10),
        C(SKIN, P("neck", 0.0, -0.03, 0.006), 0.052, P("head", 0.0, 0.03, -0.022), 0.049),
        C(SKIN, P("head", 0.0, 0.105, -0.018), 0.084, P("head", 0.0, 0.098, 0.022), 0.078),
        C(SKIN, P("head", 0.0, 0.088, 0.026), 0.073, P("head", 0.0, 0.020, 0.048), 0.040),
        C(SKIN, P("head", 0.0, 0.078, 0.096), 0.007, P("head", 0.0, 0.054, 0.104), 0.012, False),
        C(HAIR, P("head", 0.0, 0.126, -0.022), 0.086, P("head", 0.0, 0.088, -0.036), 0.079),
    ]
    left = [*_left_leg(), *_left_trunk(), *_left_arm(), *_left_hand(), *_left_face()]
    return (*middle, *left, *(_mirrored(cone) for cone in left))


def _left_leg() -> list[_Cone]:
    P, C = _Point, _Cone
    hip, knee, ankle, toe = "left_hip", "left_knee", "left_ankle", "left_foot"
    return [
        C(TROUSERS, P(hip, 0.014, 0.0, 0.0), 0.088, P(knee, 0.002, 0.01, 0.004), 0.058),
        C(TROUSERS, P(knee, 0.002, 0.01, 0.004), 0.058, P(knee, 0.002, -0.12, -0.016), 0.056),
        C(TROUSERS, P(knee, 0.002, -0.12, -0.016), 0.056, P(ankle, 0.0, 0.045, -0.002), 0.046),
        C(SKIN, P(ankle, 0.0, 0.05, 0.0), 0.036, P(ankle, 0.0, 0.0, 0.0), 0.036),
        C(SHOES, P(ankle, 0.0, -0.008, -0.004), 0.041, P(toe, -0.004, 0.020, -0.018), 0.031),
        C(SHOES, P(ankle, 0.0, -0.042, -0.030), 0.036, P(toe, 0.014, 0.010, 0.0), 0.032),
        C(SHOES, P(ankle, 0.0, -0.042, -0.030), 0.036, P(toe, -0.014, 0.010, 0.006), 0.032),
        C(SHOES, P(toe, 0.014, 0.010, 0.0), 0.032, P(toe, 0.006, 0.005, 0.052), 0.026),
        C(SHOES, P(toe, -0.014, 0.010, 0.006), 0.032, P(toe, -0.006, 0.005, 0.060), 0.026),
    ]


def _left_trunk() -> list[_Cone]:
    P, C = _Point, _Cone
    return [
        C(TOP, P("pelvis", 0.050, 0.030, 0.006), 0.100, P("spine2", 0.040, 0.0, 0.022), 0.096),
        C(TOP, P("spine2", 0.040, 0.0, 0.022), 0.096, P("spine3", 0.066, 0.085, -0.010), 0.104),
        C(TOP, P("neck", 0.030, -0.045, 0.002), 0.052, P("left_shoulder", -0.010, -0.004, 0.0), 0.060),
        C(TOP, P("spine3", 0.066, 0.085, -0.010), 0.100, P("left_shoulder", -0.012, -0.014, 0.0), 0.062),
    ]


def _left_arm() -> list[_Cone]:
    P, C = _Point, _Cone
    shoulder, elbow, wrist = "left_shoulder", "left_elbow", "left_wrist"
    return [
        C(TOP, P(shoulder, -0.006, -0.008, 0.0), 0.062, P(shoulder, 0.150, -0.010, -0.014), 0.052),
        C(SKIN, P(shoulder, 0.10, -0.008, -0.010), 0.044, P(elbow), 0.039),
        C(SKIN, P(elbow), 0.039, P(elbow, 0.07, 0.0, 0.004), 0.040),
        C(SKIN, P(elbow, 0.07, 0.0, 0.004), 0.040, P(wrist), 0.026),
    ]


def _left_hand() -> list[_Cone]:
    """Palm down, fingers along +X and a little curled, thumb towards +Z."""
    P, C = _Point, _Cone
    wrist = "left_wrist"
    cones = [
        C(SKIN, P(wrist), 0.025, P(wrist, 0.078, -0.008, 0.020), 0.020),
        C(SKIN, P(wrist), 0.025, P(wrist, 0.074, -0.008, -0.018), 0.019),
        C(SKIN, P(wrist, 0.018, -0.008, 0.018), 0.017, P(wrist, 0.055, -0.014, 0.046), 0.0125, False),
        C(SKIN, P(wrist, 0.055, -0.014, 0.046), 0.0125, P(wrist, 0.086, -0.022, 0.054), 0.0095, False),
    ]
    for spread, length, radius in (
        (0.030, 0.92, 0.0112),
        (0.010, 1.0, 0.0114),
        (-0.010, 0.94, 0.0110),
        (-0.028, 0.76, 0.0098),
    ):
        knuckle = P(wrist, 0.082, -0.008, spread)
        middle = P(wrist, 0.082 + 0.042 * length, -0.014, spread * 1.12)
        tip = P(wrist, 0.082 + 0.076 * length, -0.030, spread * 1.12)
        cones.append(C(SKIN, knuckle, radius, middle, radius * 0.95, False))
        cones.append(C(SKIN, middle, radius * 0.95, tip, radius * 0.82, False))
    return cones


def _left_face() -> list[_Cone]:
    P, C = _Point, _Cone
    return [
        C(SKIN, P("head", 0.082, 0.082, -0.008), 0.012, P("head", 0.079, 0.060, -0.002), 0.009, False),
        C(EYES, P("head", 0.031, 0.086, 0.083), 0.0125, P("head", 0.031, 0.081, 0.083), 0.0125, False),
    ]


def _mirrored(cone: _Cone) -> _Cone:
    def flip(point: _Point) -> _Point:
        return _Point(point.joint.replace("left", "right"), -point.x, point.y, point.z)

    return cone._replace(start=flip(cone.start), end=flip(cone.end))


def segment_figure(skeleton: Skeleton) -> Figure:
    """A rounded segment for each bone, as thick as its length and place allow; leaves end in their tips."""
    offsets = skeleton.offsets_m.numpy().astype(np.float32)
    lengths = np.linalg.norm(offsets, axis=-1)
    size = max(float(np.max(lengths[1:], initial=0.0)), 1e-3)
    joints, ends, radii = [], [], []

    def add(start: int, start_offset: FloatArray, end: int, end_offset: FloatArray, length: float) -> None:
        radius = min(max(0.16 * length, 0.02 * size), 0.16 * size)
        joints.append((start, end))
        ends.append((start_offset, end_offset))
        radii.append((radius, 0.8 * radius))

    zero = np.zeros(3, np.float32)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0 and lengths[joint] > 1e-4 * size:
            add(parent, zero, joint, zero, float(lengths[joint]))
        tip = np.array(skeleton.end_sites.get(skeleton.joint_names[joint], zero), np.float32)
        if np.linalg.norm(tip) > 1e-4 * size:
            add(joint, zero, joint, tip, float(np.linalg.norm(tip)))
    if not joints:
        add(0, zero, 0, zero, size)
    return Figure(
        joints=np.array(joints),
        offsets_m=np.array(ends, np.float32),
        radii_m=np.array(radii, np.float32),
        materials=np.full(len(joints), TOP),
        casts_shadow=np.ones(len(joints), np.bool_),
    )
