"""GLB files (binary glTF 2.0): a skinned body, its skeleton and one animation."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path
from kinestream.io.body import body_for
from kinestream.io.body.figure import MATERIAL_NAMES
from kinestream.io.body.mesh import BodyMesh
from kinestream.io.stage import palette
from kinestream.motion import Motion
from kinestream.rotations import quat_from_matrix, quat_normalize, quat_unrolled

_COMPONENT = {
    np.dtype(np.float32): 5126,
    np.dtype(np.uint8): 5121,
    np.dtype(np.uint16): 5123,
    np.dtype(np.uint32): 5125,
}
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
MAX_BYTES = 2**32 - 1


def write_glb(motion: Motion, path: str | Path) -> None:
    """Write a motion as GLB: a skinned body that plays it in any viewer, engine or modelling program.

    Metres, Y up, the rest pose faces +Z; joint names are the skeleton's. Rotations are keyed for each joint, positions
    for the root and for joints whose translation the motion animates: linear, a key for each frame.
    """
    data = glb_bytes(motion)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def glb_bytes(motion: Motion, units_per_metre: float = 1.0) -> bytes:
    """The bytes of the file that `write_glb` writes; glTF itself is in metres, other units serve converters.

    BadInputError for a motion too long for the format (4 GiB).
    """
    builder = _Builder(units_per_metre)
    mesh = body_for(motion.skeleton, motion).mesh
    _add_nodes(builder, motion, mesh)
    _add_mesh(builder, mesh)
    _add_animation(builder, motion)
    return builder.bytes()


class _Builder:
    """The JSON document and its one buffer, grown accessor by accessor."""

    def __init__(self, units_per_metre: float) -> None:
        self.units = np.float32(units_per_metre)
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "kinestream"},
            "scene": 0,
            "bufferViews": [],
            "accessors": [],
        }
        self._chunks: list[bytes] = []
        self._length = 0

    def accessor(
        self,
        values: NDArray[Any],
        kind: str,
        *,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Index of a new accessor with its own view; `kind` is SCALAR, VEC3, ..."""
        data = np.ascontiguousarray(values)
        raw = data.tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._length, "byteLength": len(raw)}
        if target is not None:
            view["target"] = target
        self.document["bufferViews"].append(view)
        entry: dict[str, Any] = {
            "bufferView": len(self.document["bufferViews"]) - 1,
            "componentType": _COMPONENT[data.dtype],
            "count": len(data),
            "type": kind,
        }
        if normalized:
            entry["normalized"] = True
        if bounds:
            flat = data.reshape(len(data), -1)
            entry["min"], entry["max"] = flat.min(axis=0).tolist(), flat.max(axis=0).tolist()
        padding = -len(raw) % 4
        self._chunks.append(raw + b"\0" * padding)
        self._length += len(raw) + padding
        self.document["accessors"].append(entry)
        return len(self.document["accessors"]) - 1

    def bytes(self) -> bytes:
        """The finished file."""
        self.document["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(self.document, separators=(",", ":"), ensure_ascii=True).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._length
        if total > MAX_BYTES:
            raise BadInputError(
                f"a GLB file holds at most 4 GiB and this motion needs {total} bytes: cut or resample it"
            )
        header = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
        return b"".join([header, text, struct.pack("<I4s", self._length, b"BIN\0"), *self._chunks])


def _add_nodes(builder: _Builder, motion: Motion, mesh: BodyMesh) -> None:
    """Joint nodes first (node k is joint k), in the bind pose with the soles at height 0; the body's node; the skin."""
    skeleton = motion.skeleton
    places = (mesh.bind_positions_m - np.array([0.0, mesh.floor_m, 0.0])) * builder.units
    turns = mesh.bind_rotations
    nodes: list[dict[str, Any]] = []
    for joint, (name, parent) in enumerate(zip(skeleton.joint_names, skeleton.parents, strict=True)):
        offset, turn = places[joint], turns[joint]
        if parent >= 0:
            offset, turn = turns[parent].T @ (offset - places[parent]), turns[parent].T @ turn
        node: dict[str, Any] = {"name": name, "translation": offset.astype(np.float32).tolist()}
        if not np.allclose(turn, np.eye(3), atol=1e-7):
            w, x, y, z = quat_from_matrix(torch.from_numpy(turn)).tolist()
            node["rotation"] = [x, y, z, w]
        if skeleton.children(joint):
            node["children"] = list(skeleton.children(joint))
        nodes.append(node)
    nodes.append({"name": _free_name("body", skeleton.joint_names), "mesh": 0, "skin": 0})
    inverse = np.zeros((skeleton.num_joints, 4, 4), np.float32)
    inverse[:, :3, :3] = turns  # columns first, as glTF stores matrices, of the transposed turns
    inverse[:, 3, :3] = -np.einsum("jki,jk->ji", turns, places)
    inverse[:, 3, 3] = 1.0
    matrices = builder.accessor(inverse.reshape(-1, 16), "MAT4")
    builder.document["scenes"] = [{"name": motion.name or "motion", "nodes": [0, len(nodes) - 1]}]
    builder.document["nodes"] = nodes
    builder.document["skins"] = [
        {
            "name": skeleton.name,
            "skeleton": 0,
            "joints": list(range(skeleton.num_joints)),
            "inverseBindMatrices": matrices,
        }
    ]


def _free_name(name: str, taken: Sequence[str]) -> str:
    """The name, with as many underscores behind it as it takes to be no joint's: programs find nodes by their names."""
    while name in taken:
        name += "_"
    return name


def _add_mesh(builder: _Builder, mesh: BodyMesh) -> None:
    """One primitive for each material, with the vertices that it uses."""
    positions = (mesh.positions_m - np.array([0.0, mesh.floor_m, 0.0], np.float32)) * builder.units
    joints = mesh.joints if mesh.joints.max() > 255 else mesh.joints.astype(np.uint8)
    primitives, materials = [], []
    for number, material in enumerate(sorted(set(mesh.part_materials.tolist()))):
        used, faces = np.unique(mesh.part_faces(material), return_inverse=True)
        index_type = np.uint16 if len(used) < 65535 else np.uint32
        attributes = {
            "POSITION": builder.accessor(positions[used], "VEC3", target=_ARRAY_BUFFER, bounds=True),
            "NORMAL": builder.accessor(mesh.normals[used], "VEC3", target=_ARRAY_BUFFER),
            "JOINTS_0": builder.accessor(joints[used], "VEC4", target=_ARRAY_BUFFER),
            "WEIGHTS_0": builder.accessor(mesh.weights[used], "VEC4", target=_ARRAY_BUFFER, normalized=True),
        }
        indices = builder.accessor(faces.reshape(-1).astype(index_type), "SCALAR", target=_ELEMENT_BUFFER)
        primitives.append({"attributes": attributes, "indices": indices, "material": number})
        red, green, blue, gloss = palette(0)[material].tolist()
        surface = {"baseColorFactor": [red, green, blue, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.9 - gloss}
        materials.append({"name": MATERIAL_NAMES[material], "pbrMetallicRoughness": surface})
    builder.document["meshes"] = [{"name": "body", "primitives": primitives}]
    builder.document["materials"] = materials


def _add_animation(builder: _Builder, motion: Motion) -> None:
    """Keys at k / fps seconds: rotations of all joints, positions of the root and of joints that are moved."""
    times = (np.arange(motion.num_frames) / motion.fps).astype(np.float32)
    clock = builder.accessor(times, "SCALAR", bounds=True)
    rotations = quat_unrolled(quat_normalize(motion.local_rotations.double()), dim=0)
    xyzw = torch.cat([rotations[..., 1:], rotations[..., :1]], dim=-1).float().numpy()
    samplers, channels = [], []

    def key(joint: int, path: str, values: NDArray[np.float32], kind: str) -> None:
        samplers.append({"input": clock, "output": builder.accessor(values, kind), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": joint, "path": path}})

    key(0, "translation", motion.root_position_m.float().numpy() * builder.units, "VEC3")
    for joint in range(motion.skeleton.num_joints):
        key(joint, "rotation", xyzw[:, joint], "VEC4")
    if motion.joint_translations_m is not None:
        moved = (motion.joint_translations_m - motion.skeleton.offsets_m).abs().amax(dim=(0, 2)) > 1e-6
        for joint in torch.nonzero(moved)[:, 0].tolist():
            if joint > 0:
                key(joint, "translation", motion.joint_translations_m[:, joint].float().numpy() * builder.units, "VEC3")
    builder.document["animations"] = [
        {"name": motion.name or "motion", "samplers": samplers, "channels": channels, "extras": {"fps": motion.fps}}
    ]
