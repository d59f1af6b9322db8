"""Skinned meshes: the default body for humanoid skeletons, rounded segments for any other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from kinestream.io.body.figure import Figure
from kinestream.io.body.fitting import SOLE_M, BodyFit, rest_positions_m
from kinestream.skeleton import Skeleton, smpl22

FloatArray = NDArray[np.float32]

_POSITION_STEPS_PER_M = 10_000.0
_RINGS = 5
_AROUND = 14


@dataclass(frozen=True, eq=False)
class BodyMesh:
    """A closed, skinned surface around a skeleton in its bind pose, the root joint at the origin.

    `positions_m`, `normals` [V, 3]; `joints` [V, 4] indices and `weights` [V, 4] in 255ths that sum to 255; `faces`
    [F, 3] counter-clockwise from outside; part k has the faces `part_starts[k]:part_starts[k + 1]` and the material
    `part_materials[k]` (an index into figure.MATERIAL_NAMES). `bind_positions_m` [J, 3] and `bind_rotations` [J, 3, 3]
    are the joints' in the world of the bind pose. `floor_m` is the height of the soles in it.
    """

    positions_m: FloatArray
    normals: FloatArray
    joints: NDArray[np.uint16]
    weights: NDArray[np.uint8]
    faces: NDArray[np.int64]
    part_starts: NDArray[np.int64]
    part_materials: NDArray[np.int64]
    bind_positions_m: NDArray[np.float64]
    bind_rotations: NDArray[np.float64]
    floor_m: float

    @property
    def inverse_bind(self) -> NDArray[np.float64]:
        """[J, 3, 4]: what takes points of the bind pose into each joint's frame."""
        inverse = self.bind_rotations.transpose(0, 2, 1)
        return np.concatenate([inverse, -inverse @ self.bind_positions_m[..., None]], axis=-1)

    @property
    def sole_drop_m(self) -> float:
        """How far the soles are below the lowest joint when the body stands."""
        return float(self.bind_positions_m[:, 1].min()) - self.floor_m

    def part_faces(self, material: int) -> NDArray[np.int64]:
        """All faces of one material."""
        starts = self.part_starts
        chosen = [self.faces[starts[k] : starts[k + 1]] for k in np.flatnonzero(self.part_materials == material)]
        return np.concatenate(chosen) if chosen else np.empty((0, 3), np.int64)


def human_mesh(fit: BodyFit) -> BodyMesh:
    """The default body on a humanoid skeleton."""
    body = _default_body()
    rest = rest_positions_m(smpl22())
    shares = (body.weights / 255.0)[..., None]
    offsets = body.positions_m[:, None] - rest[body.joints]
    moved = fit.anchors_m[body.joints] + np.einsum("vkij,vkj->vki", fit.matrices[body.joints], offsets)
    positions = (shares * moved).sum(axis=1).astype(np.float32)
    joints, weights = _merged(fit.joints[body.joints], body.weights)
    return replace(
        body,
        positions_m=positions,
        normals=_normals(positions, body.faces),
        joints=joints,
        weights=weights,
        bind_positions_m=fit.bind_positions_m,
        bind_rotations=fit.bind_rotations,
        floor_m=float(positions[:, 1].min()),
    )


def _merged(joints: NDArray[np.int64], weights: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Each joint once a vertex: where a skeleton has one joint for two of SMPL's, their weights are added."""
    joints, total = joints.copy(), weights.astype(np.int64)
    for k in range(1, 4):
        for earlier in range(k):
            same = (joints[:, earlier] == joints[:, k]) & (total[:, earlier] > 0)
            total[:, earlier] += np.where(same, total[:, k], 0)
            total[:, k] = np.where(same, 0, total[:, k])
    joints[total == 0] = 0
    return joints.astype(np.uint16), total.astype(np.uint8)


@lru_cache(maxsize=1)
def _default_body() -> BodyMesh:
    with as_file(files("kinestream.io.body").joinpath("default_body.npz")) as path, np.load(path) as arrays:
        positions = (arrays["positions"] / _POSITION_STEPS_PER_M).astype(np.float32)
        faces = np.cumsum(arrays["face_steps"], dtype=np.int64).reshape(-1, 3)
        return BodyMesh(
            positions_m=positions,
            normals=_normals(positions, faces),
            joints=arrays["joints"].astype(np.uint16),
            weights=arrays["weights"],
            faces=faces,
            part_starts=arrays["part_starts"].astype(np.int64),
            part_materials=arrays["part_materials"].astype(np.int64),
            bind_positions_m=rest_positions_m(smpl22()),
            bind_rotations=np.tile(np.eye(3), (smpl22().num_joints, 1, 1)),
            floor_m=float(positions[:, 1].min()),
        )


def _normals(positions: FloatArray, faces: NDArray[np.int64]) -> FloatArray:
    """Unit vertex normals: the mean of the faces' normals, weighted by area."""
    a, b, c = (positions[faces[:, k]].astype(np.float64) for k in range(3))
    face_normals = np.cross(b - a, c - a)
    total = np.zeros((len(positions), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner], face_normals)
    lengths = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.where(lengths > 0, total / np.maximum(lengths, 1e-30), (0.0, 1.0, 0.0)).astype(np.float32)


def segment_mesh(skeleton: Skeleton, figure: Figure) -> BodyMesh:
    """A rounded segment for each bone, rigid on the joint where the bone starts."""
    rest = rest_positions_m(skeleton)
    positions, normals, joints, faces, starts = [], [], [], [], [0]
    count = 0
    for (start, end), offsets, radii in zip(figure.joints, figure.offsets_m, figure.radii_m, strict=True):
        points, outwards, triangles = _rounded_cone(rest[start] + offsets[0], rest[end] + offsets[1], *radii)
        positions.append(points)
        normals.append(outwards)
        joints.append(np.full(len(points), start, np.uint16))
        faces.append(triangles + count)
        count += len(points)
        starts.append(starts[-1] + len(triangles))
    owner = np.concatenate(joints)
    everything = np.concatenate(positions).astype(np.float32)
    return BodyMesh(
        positions_m=everything,
        normals=np.concatenate(normals).astype(np.float32),
        joints=np.stack([owner, *[np.zeros_like(owner)] * 3], axis=1),
        weights=np.tile(np.array([255, 0, 0, 0], np.uint8), (count, 1)),
        faces=np.concatenate(faces),
        part_starts=np.array(starts),
        part_materials=figure.materials,
        bind_positions_m=rest,
        bind_rotations=np.tile(np.eye(3), (skeleton.num_joints, 1, 1)),
        floor_m=float(rest[:, 1].min()) - SOLE_M,
    )


def _rounded_cone(
    start: FloatArray, end: FloatArray, start_radius: float, end_radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Points [V, 3], normals [V, 3] and triangles of a closed rounded cone: rings on both balls and two poles."""
    axis = (end - start).astype(np.float64)
    length = float(np.linalg.norm(axis))
    axis = axis / length if length > 1e-9 else np.array([0.0, 1.0, 0.0])
    side = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    side /= np.linalg.norm(side)
    slope = np.clip((start_radius - end_radius) / max(length, 1e-9), -0.95, 0.95)
    tangent = float(np.arcsin(slope))
    low = np.linspace(-0.5 * np.pi, tangent, _RINGS + 1)[1:]
    high = np.linspace(tangent, 0.5 * np.pi, _RINGS + 1)[:-1]
    angle = np.arange(_AROUND) * (2.0 * np.pi / _AROUND)
    around = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
    points, normals = [(start - start_radius * axis)[None]], [-axis[None]]
    for centre, radius, latitudes in ((start, start_radius, low), (end, end_radius, high)):
        for latitude in latitudes:
            normal = np.cos(latitude) * around + np.sin(latitude) * axis
            normals.append(normal)
            points.append(centre + radius * normal)
    points.append((end + end_radius * axis)[None])
    normals.append(axis[None])
    return np.concatenate(points), np.concatenate(normals), _ring_faces(2 * _RINGS)


def _ring_faces(rings: int) -> NDArray[np.int64]:
    """Triangles of a closed surface of rings between two poles."""
    k = np.arange(_AROUND)
    following = (k + 1) % _AROUND
    last = rings * _AROUND + 1
    faces = [np.stack([np.zeros_like(k), 1 + following, 1 + k], axis=1)]
    for ring in range(rings - 1):
        a, b = 1 + ring * _AROUND + k, 1 + ring * _AROUND + following
        faces.append(np.stack([a, b, b + _AROUND], axis=1))
        faces.append(np.stack([a, b + _AROUND, a + _AROUND], axis=1))
    top = 1 + (rings - 1) * _AROUND
    faces.append(np.stack([top + k, top + following, np.full_like(k, last)], axis=1))
    return np.concatenate(faces)
