"""Skinned meshes: the default body for SMPL-22's joints, rounded segments for any other skeleton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.io.body.figure import SOLE_M, Figure, figure_for
from kinestream.rotations import matrix_from_quat, quat_between
from kinestream.skeleton import Skeleton, forward_kinematics, smpl22

FloatArray = NDArray[np.float32]

_POSITION_STEPS_PER_M = 10_000.0
_RINGS = 5
_AROUND = 14


@dataclass(frozen=True, eq=False)
class BodyMesh:
    """A closed, skinned surface around a skeleton that rests (identity rotations) with its root joint at the origin.

    `positions_m`, `normals` [V, 3]; `joints` [V, 4] indices and `weights` [V, 4] in 255ths that sum to 255; `faces`
    [F, 3] counter-clockwise from outside; part k has the faces `part_starts[k]:part_starts[k + 1]` and the material
    `part_materials[k]` (an index into figure.MATERIAL_NAMES). `floor_m` is how far below the root the soles rest.
    """

    positions_m: FloatArray
    normals: FloatArray
    joints: NDArray[np.uint16]
    weights: NDArray[np.uint8]
    faces: NDArray[np.int64]
    part_starts: NDArray[np.int64]
    part_materials: NDArray[np.int64]
    floor_m: float

    def part_faces(self, material: int) -> NDArray[np.int64]:
        """All faces of one material."""
        starts = self.part_starts
        chosen = [self.faces[starts[k] : starts[k + 1]] for k in np.flatnonzero(self.part_materials == material)]
        return np.concatenate(chosen) if chosen else np.empty((0, 3), np.int64)


def mesh_for(skeleton: Skeleton) -> BodyMesh:
    """The mesh that fits a skeleton; the default body is stretched to other proportions of SMPL-22's joints."""
    if skeleton.joint_names != smpl22().joint_names:
        return _segment_mesh(skeleton, figure_for(skeleton))
    if torch.allclose(skeleton.offsets_m[1:], smpl22().offsets_m[1:], atol=1e-6):
        return _default_body()
    return _fitted(_default_body(), skeleton)


def rest_positions_m(skeleton: Skeleton) -> FloatArray:
    """Where the joints rest [J, 3] when the root is at the origin."""
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(skeleton.num_joints, 4)
    return forward_kinematics(skeleton, identity, torch.zeros(3))[0].numpy().astype(np.float32)


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


def _fitted(body: BodyMesh, skeleton: Skeleton) -> BodyMesh:
    """The body on joints that rest elsewhere: each joint's share is turned and stretched along its bone."""
    old, new = rest_positions_m(smpl22()), rest_positions_m(skeleton)
    matrices = np.stack([_bone_stretch(joint, old, new, skeleton) for joint in range(skeleton.num_joints)])
    shares = (body.weights / 255.0).astype(np.float32)[..., None]
    local = body.positions_m[:, None] - old[body.joints]
    moved = new[body.joints] + np.einsum("vkij,vkj->vki", matrices[body.joints], local)
    positions = (shares * moved).sum(axis=1).astype(np.float32)
    return replace(
        body, positions_m=positions, normals=_normals(positions, body.faces), floor_m=float(positions[:, 1].min())
    )


def _bone_stretch(joint: int, old: FloatArray, new: FloatArray, skeleton: Skeleton) -> FloatArray:
    """[3, 3]: what takes the bone from a joint to its first child (a leaf: from its parent) to its new rest."""
    children = skeleton.children(joint)
    a, b = (joint, children[0]) if children else (skeleton.parents[joint], joint)
    before, after = old[b] - old[a], new[b] - new[a]
    length = float(np.linalg.norm(before))
    ratio = float(np.linalg.norm(after)) / length
    if not children:
        return np.eye(3, dtype=np.float32) * np.float32(np.clip(ratio, 0.5, 2.0))
    axis = before / length
    stretch = np.eye(3) + (ratio - 1.0) * np.outer(axis, axis)
    turn = matrix_from_quat(quat_between(torch.from_numpy(before), torch.from_numpy(after))).numpy()
    return np.asarray(turn @ stretch, np.float32)


def _segment_mesh(skeleton: Skeleton, figure: Figure) -> BodyMesh:
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
