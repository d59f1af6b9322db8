"""Reading files through assimp's C interface, as far as the tests of FBX need it: nodes, channels, keys, bones."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.io.fbx import _assimp

_uint, _double, _float = ctypes.c_uint, ctypes.c_double, ctypes.c_float


def _pointer(kind: Any) -> Any:
    return ctypes.POINTER(kind)


class _Text(ctypes.Structure):
    _fields_ = (("length", _uint), ("data", ctypes.c_char * 1024))


class _Node(ctypes.Structure):
    pass


_Node._fields_ = (
    ("name", _Text),
    ("matrix", _float * 16),
    ("parent", _pointer(_Node)),
    ("child_count", _uint),
    ("children", _pointer(_pointer(_Node))),
)


class _VectorKey(ctypes.Structure):
    _fields_ = (("time", _double), ("value", _float * 3), ("interpolation", _uint))


class _QuaternionKey(ctypes.Structure):
    _fields_ = (("time", _double), ("value", _float * 4), ("interpolation", _uint))


class _Channel(ctypes.Structure):
    _fields_ = (
        ("name", _Text),
        ("position_count", _uint),
        ("positions", _pointer(_VectorKey)),
        ("rotation_count", _uint),
        ("rotations", _pointer(_QuaternionKey)),
        ("scaling_count", _uint),
        ("scalings", _pointer(_VectorKey)),
    )


class _Animation(ctypes.Structure):
    _fields_ = (
        ("name", _Text),
        ("duration", _double),
        ("ticks_per_second", _double),
        ("channel_count", _uint),
        ("channels", _pointer(_pointer(_Channel))),
    )


class _Mesh(ctypes.Structure):
    _fields_ = (("primitive_types", _uint), ("vertex_count", _uint), ("face_count", _uint))


class _Scene(ctypes.Structure):
    _fields_ = (
        ("flags", _uint),
        ("root", _pointer(_Node)),
        ("mesh_count", _uint),
        ("meshes", _pointer(_pointer(_Mesh))),
        ("material_count", _uint),
        ("materials", ctypes.c_void_p),
        ("animation_count", _uint),
        ("animations", _pointer(_pointer(_Animation))),
    )


@dataclass
class Imported:
    """What assimp found: parents of all nodes by name, world positions [T, J, 3] of the named joints, key times."""

    parents: dict[str, str]
    positions: NDArray[np.float64]
    times_s: NDArray[np.float64]
    rotation_key_counts: dict[str, int]
    vertex_count: int


def read_with_assimp(path: Path, joints: tuple[str, ...], frames: int) -> Imported:
    """Import a file and evaluate its hierarchy by hand at every key."""
    library = _assimp()
    library.aiImportFile.restype = ctypes.c_void_p
    library.aiImportFile.argtypes = (ctypes.c_char_p, _uint)
    handle = library.aiImportFile(str(path).encode(), 0)
    assert handle, library.aiGetErrorString()
    try:
        scene = ctypes.cast(handle, _pointer(_Scene)).contents
        assert scene.animation_count == 1
        animation = scene.animations[0].contents
        channels = {}
        for k in range(animation.channel_count):
            channel = animation.channels[k].contents
            channels[_name(channel)] = channel
        parents, positions = {}, np.zeros((frames, len(joints), 3))
        for frame in range(frames):
            for node, parent, world in _placed(scene.root.contents, "", np.eye(4), channels, frame):
                parents[node] = parent
                if node in joints:
                    positions[frame, joints.index(node)] = world[:3, 3]
        moving = next(channel for channel in channels.values() if channel.rotation_count == frames)
        ticks = np.array([moving.rotations[k].time for k in range(frames)])
        return Imported(
            parents=parents,
            positions=positions,
            times_s=ticks / animation.ticks_per_second,
            rotation_key_counts={name: channel.rotation_count for name, channel in channels.items()},
            vertex_count=sum(scene.meshes[k].contents.vertex_count for k in range(scene.mesh_count)),
        )
    finally:
        library.aiReleaseImport(handle)


def _name(thing: Any) -> str:
    return bytes(thing.name.data[: thing.name.length]).decode()


def _placed(
    node: Any, parent: str, above: NDArray[np.float64], channels: dict[str, Any], frame: int
) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    name = _name(node)
    local = np.array(node.matrix).reshape(4, 4)
    if name in channels:
        local = _keyed(channels[name], frame)
    world = above @ local
    yield name, parent, world
    for k in range(node.child_count):
        yield from _placed(node.children[k].contents, name, world, channels, frame)


def _keyed(channel: Any, frame: int) -> NDArray[np.float64]:
    def at(keys: Any, count: int) -> list[float]:
        return list(keys[min(frame, count - 1)].value)

    w, x, y, z = at(channel.rotations, channel.rotation_count)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.array(at(channel.scalings, channel.scaling_count))
    matrix[:3, 3] = at(channel.positions, channel.position_count)
    return matrix
