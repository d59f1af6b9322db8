"""FBX files: our GLB handed to assimp's exporter, which a pip wheel carries (extra `fbx`)."""

from __future__ import annotations

import ctypes
import struct
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from kinestream.errors import BadInputError, KinestreamError, MissingExtraError
from kinestream.io.atomic import atomic_path
from kinestream.io.gltf import glb_bytes
from kinestream.motion import Motion

_UNITS_PER_METRE = 100.0  # FBX programs take the numbers for centimetres
_TICKS_PER_S = 46_186_158_000
_MAX_NAME_BYTES = 255
# The format's own numbers for frame rates; anything else is mode 14 with the rate beside it.
_TIME_MODES = {120.0: 1, 100.0: 2, 60.0: 3, 50.0: 4, 48.0: 5, 30.0: 6, 24.0: 11, 25.0: 10}
_CUSTOM_RATE = 14


class _Blob(ctypes.Structure):
    """The start of assimp's aiExportDataBlob."""

    _fields_ = (("size", ctypes.c_size_t), ("data", ctypes.c_void_p))


def write_fbx(motion: Motion, path: str | Path) -> None:
    """Write a motion as binary FBX 7.5: skinned body, joints, one take with a key for each frame.

    Centimetres, Y up, the rest pose faces +Z; the file's frame rate is the motion's.
    Raises MissingExtraError without assimp, BadInputError for joint names longer than 255 bytes, KinestreamError where
    assimp fails.
    """
    library = _assimp()
    if any(len(name.encode()) > _MAX_NAME_BYTES for name in motion.skeleton.joint_names):
        raise BadInputError(f"FBX files hold joint names of at most {_MAX_NAME_BYTES} bytes: rename the joints")
    data = _converted(library, glb_bytes(motion, _UNITS_PER_METRE))
    last = round((motion.num_frames - 1) / motion.fps * _TICKS_PER_S)
    mode = _TIME_MODES.get(float(motion.fps), _CUSTOM_RATE)
    data = _with_setting(data, "TimeMode", ("enum", ""), b"I", struct.pack("<i", mode))
    data = _with_setting(data, "CustomFrameRate", ("double", "Number"), b"D", struct.pack("<d", motion.fps))
    data = _with_setting(data, "TimeSpanStop", ("KTime", "Time"), b"L", struct.pack("<q", last))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


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


def _with_setting(data: bytes, name: str, kinds: tuple[str, str], code: bytes, value: bytes) -> bytes:
    """The file with one global setting replaced: assimp writes 24 frames a second whatever the animation's rate."""

    def text(word: str) -> bytes:
        return b"S" + struct.pack("<I", len(word)) + word.encode()

    head = text(name) + text(kinds[0]) + text(kinds[1])
    places = [data.find(head + text(flag) + code) + len(head + text(flag) + code) for flag in ("", "A")]
    places = [place for place, flag in zip(places, ("", "A"), strict=True) if head + text(flag) + code in data]
    if len(places) != 1:
        raise KinestreamError(f"this version of assimp writes FBX without the setting {name}: install cmeel-assimp 6")
    return data[: places[0]] + value + data[places[0] + len(value) :]
