"""FBX files: our GLB handed to assimp's exporter, which a pip wheel carries (extra `fbx`)."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError, KinestreamError, MissingExtraError
from kinestream.io.atomic import atomic_path
from kinestream.io.fbx_binary import FbxFile, FbxProperty
from kinestream.io.gltf import glb_bytes
from kinestream.motion import Motion

_UNITS_PER_METRE = 100.0  # FBX programs take lengths for centimetres
_TICKS_PER_S = 46_186_158_000
_MAX_NAME_BYTES = 255
# The format's own numbers for frame rates; anything else is mode 14 with the rate beside it.
_TIME_MODES = {120.0: 1, 100.0: 2, 60.0: 3, 50.0: 4, 48.0: 5, 30.0: 6, 24.0: 11, 25.0: 10}
_CUSTOM_RATE = 14
_LINEAR = 4


class _Blob(ctypes.Structure):
    """The start of assimp's aiExportDataBlob."""

    _fields_ = (("size", ctypes.c_size_t), ("data", ctypes.c_void_p))


def write_fbx(motion: Motion, path: str | Path) -> None:
    """Write a motion as binary FBX 7.5: skinned body, joints, one take with a key for each frame.

    Centimetres, Y up, the rest pose faces +Z; the file's frame rate is the motion's, its curves are linear and turn
    without jumps.
    Raises MissingExtraError without assimp, BadInputError for joint names longer than 255 bytes, KinestreamError where
    assimp fails.
    """
    library = _assimp()
    if any(len(name.encode()) > _MAX_NAME_BYTES for name in motion.skeleton.joint_names):
        raise BadInputError(f"FBX files hold joint names of at most {_MAX_NAME_BYTES} bytes: rename the joints")
    file = FbxFile(_converted(library, glb_bytes(motion, _UNITS_PER_METRE)))
    last = round((motion.num_frames - 1) / motion.fps * _TICKS_PER_S)
    mode = _TIME_MODES.get(float(motion.fps), _CUSTOM_RATE)
    _set_globals(file, {b"TimeMode": mode, b"CustomFrameRate": motion.fps, b"TimeSpanStop": last})
    _make_curves_continuous(file)
    with atomic_path(path) as temporary:
        temporary.write_bytes(file.data)


@lru_cache(maxsize=1)
def _assimp() -> ctypes.CDLL:
    """assimp's library out of the installed wheel; MissingExtraError where there is none."""
    try:
        installed = metadata.files("cmeel-assimp") or []
    except metadata.PackageNotFoundError:
        installed = []
    found = [Path(str(file.locate())) for file in installed if file.name.startswith(("libassimp.", "assimp.dll"))]
    found = sorted((path for path in found if path.exists()), key=lambda path: len(path.name))
    if not found:
        raise MissingExtraError("writing FBX", "fbx")
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise KinestreamError(f"assimp's library {found[0]} cannot be loaded: {error}") from error
    library.aiImportFileFromMemory.restype = ctypes.c_void_p
    library.aiImportFileFromMemory.argtypes = (ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_char_p)
    library.aiExportSceneToBlob.restype = ctypes.POINTER(_Blob)
    library.aiExportSceneToBlob.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint)
    library.aiReleaseExportBlob.argtypes = (ctypes.POINTER(_Blob),)
    library.aiReleaseImport.argtypes = (ctypes.c_void_p,)
    library.aiGetErrorString.restype = ctypes.c_char_p
    return library


def _converted(library: ctypes.CDLL, glb: bytes) -> bytes:
    """A GLB's bytes as FBX."""
    scene = library.aiImportFileFromMemory(glb, len(glb), 0, b"glb")
    if not scene:
        raise KinestreamError(f"assimp could not take the motion over: {_reason(library)}")
    try:
        blob = library.aiExportSceneToBlob(scene, b"fbx", 0)
        if not blob:
            raise KinestreamError(f"assimp could not write FBX: {_reason(library)}")
        try:
            return ctypes.string_at(blob.contents.data, blob.contents.size)
        finally:
            library.aiReleaseExportBlob(blob)
    finally:
        library.aiReleaseImport(scene)


def _reason(library: ctypes.CDLL) -> str:
    return bytes(library.aiGetErrorString()).decode(errors="replace") or "no reason given"


def _set_globals(file: FbxFile, values: dict[bytes, float]) -> None:
    """Replace global settings: assimp writes 24 frames a second whatever the animation's rate."""
    for node in file.root.child("GlobalSettings").child("Properties70").all("P"):
        name = file.value(node.properties[0])
        if name in values:
            file.replace(node.properties[4], values.pop(name))
    if values:
        raise KinestreamError(f"assimp wrote FBX without the settings {sorted(values)}: expected what version 6 writes")


def _make_curves_continuous(file: FbxFile) -> None:
    """Give rotation curves angles without jumps, and mark all curves as linear.

    FBX keys Euler angles; assimp turns each quaternion into angles by itself, so that a body that turns round jumps
    from 180 to -180 degrees, and programs that interpolate between frames spin it back.
    """
    objects = file.root.child("Objects")
    curves = {file.value(node.properties[0]): node for node in objects.all("AnimationCurve")}
    rotations = {
        file.value(node.properties[0])
        for node in objects.all("AnimationCurveNode")
        if file.value(node.properties[1]).startswith(b"R\x00") or file.value(node.properties[1]) == b"AnimCurveNode::R"
    }
    axes: dict[int, dict[bytes, FbxProperty]] = {}
    for node in file.root.child("Connections").all("C"):
        kind, child, parent, *axis = (file.value(prop) for prop in node.properties)
        if kind == b"OP" and child in curves and parent in rotations:
            axes.setdefault(parent, {})[axis[0]] = curves[child].child("KeyValueFloat").properties[0]
    for channels in axes.values():
        properties = [channels[axis] for axis in (b"d|X", b"d|Y", b"d|Z")]
        angles = continuous_euler_deg(np.stack([file.value(prop) for prop in properties], axis=1))
        for prop, column in zip(properties, angles.T, strict=True):
            file.replace(prop, column)
    for curve in curves.values():
        flags = curve.child("KeyAttrFlags").properties[0]
        file.replace(flags, np.full(flags.count, _LINEAR))


def continuous_euler_deg(angles: NDArray[np.float32]) -> NDArray[np.float64]:
    """XYZ Euler angles [T, 3] in degrees that turn the same way without jumps between frames.

    Each frame takes, of the two triples that mean its rotation and all their full turns, the nearest to the last.
    """
    result = angles.astype(np.float64)
    for frame in range(1, len(result)):
        x, y, z = result[frame]
        choices = np.array([[x, y, z], [x + 180.0, 180.0 - y, z + 180.0]])
        choices -= 360.0 * np.round((choices - result[frame - 1]) / 360.0)
        result[frame] = choices[np.abs(choices - result[frame - 1]).sum(axis=1).argmin()]
    return result
