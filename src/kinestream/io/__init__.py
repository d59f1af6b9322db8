"""Files to Motion and back: a module for each format; `read_motion` and `write_motion` choose by the file's name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.errors import BadInputError
from kinestream.motion import Motion

if TYPE_CHECKING:
    from kinestream.io.motion_file import MotionFile

__all__ = ["READ_SUFFIXES", "WRITE_SUFFIXES", "read_motion", "read_motion_file", "write_motion"]

READ_SUFFIXES = (".bvh", ".amc", ".npz", ".npy", ".glb", ".vrm", ".vrma")
WRITE_SUFFIXES = (".bvh", ".glb", ".fbx", ".mp4", ".html", ".npz", ".npy")

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth")


def read_motion(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    metres_per_unit: float | None = None,
    up: str | None = None,
) -> Motion:
    """The motion in a file, in metres with Y up; see `read_motion_file`.

    What is odd about the file is said with `warnings.warn` as an `InputWarning`.
    """
    from kinestream.io.motion_file import warn

    found = read_motion_file(path, fps=fps, metres_per_unit=metres_per_unit, up=up)
    warn(found.warnings)
    return found.motion


def read_motion_file(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    metres_per_unit: float | None = None,
    up: str | None = None,
    clip: str | None = None,
) -> MotionFile:
    """A file's motion with how it was read: BVH, AMC with its ASF beside it, GLB, VRM, VRMA, or npz and npy arrays.

    `kinestream.io.array_files` lists the arrays. `fps` replaces the rate that a file says, and is needed where it says
    none (AMC: 120 then); `up` ("x", "y", "z", "-y", ...) is the file's up axis and `metres_per_unit` its unit (None:
    found from rest pose, movement and size); `clip` chooses an animation of a GLB by name or number from 0. Features
    have rate, axes and unit by definition. Raises BadInputError for files that are not what their name says, are
    damaged, or have another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    from kinestream.skeleton.up_axis import AXES

    if up is not None and up not in AXES:
        raise BadInputError(f"expected an up axis out of {', '.join(AXES)}, got {up!r}")
    if metres_per_unit is not None and not 1e-6 < metres_per_unit < 1e6:
        raise BadInputError(f"metres_per_unit must be a positive number, got {metres_per_unit}")
    if fps is not None:
        from kinestream.io.smpl_parameters import checked_fps

        fps = checked_fps(fps, str(path))
    if suffix == ".bvh":
        from kinestream.io.bvh import read_bvh_file

        return read_bvh_file(path, fps=fps, metres_per_unit=metres_per_unit, up=up)
    if suffix == ".amc":
        from kinestream.io.asf_amc import read_amc_file

        return read_amc_file(path, fps=fps, metres_per_unit=metres_per_unit, up=up)
    if clip is not None and suffix not in (".glb", ".vrm", ".vrma"):
        raise BadInputError(f"{path}: a clip is chosen from .glb, .vrm and .vrma files; {suffix} files hold one motion")
    if suffix in (".glb", ".vrm", ".vrma"):
        if metres_per_unit not in (None, 1.0):
            raise BadInputError(f"{path}: glTF files are in metres by definition; leave out the unit")
        from kinestream.io.gltf_motion import read_gltf_motion_file

        return read_gltf_motion_file(path, fps=fps, up=up, clip=clip)
    if suffix in _PICKLE_SUFFIXES and path.is_file():
        from kinestream.io.arrays import how_to_convert

        raise BadInputError(
            f"cannot read {path}: {suffix} files are pickles, which are never run. {how_to_convert(path)}"
        )
    if suffix not in READ_SUFFIXES:
        raise BadInputError(f"cannot read {path}: expected a file named {', '.join(READ_SUFFIXES)}, got {suffix!a}")
    from kinestream.io.array_files import read_array_file

    return read_array_file(path, fps=fps, metres_per_unit=metres_per_unit, up=up)


def write_motion(motion: Motion | Sequence[Motion], path: str | os.PathLike[str]) -> None:
    """Write a motion in the format that the file's suffix names: BVH, GLB, FBX, MP4, HTML, npz (AMASS), npy (SMPL).

    An npy file holds 85-d SMPL parameters. HTML and MP4 show several motions side by side; the other formats hold one.
    Written whole or not at all.
    Raises BadInputError for other suffixes, several motions where one goes, and motions that the format cannot hold.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    motions = [motion] if isinstance(motion, Motion) else list(motion)
    if suffix not in WRITE_SUFFIXES:
        raise BadInputError(f"cannot write {path}: expected a file named {', '.join(WRITE_SUFFIXES)}, got {suffix!a}")
    if suffix == ".html" and motions:
        from kinestream.io.viewer import write_html

        write_html(motions, path)
    elif suffix == ".mp4" and motions:
        from kinestream.io.video import write_mp4

        write_mp4(motions, path)
    elif len(motions) != 1:
        raise BadInputError(f"cannot write {path}: a {suffix} file holds one motion, got {len(motions)}")
    else:
        _write_one(motions[0], path, suffix)


def _write_one(motion: Motion, path: Path, suffix: str) -> None:
    if suffix == ".bvh":
        from kinestream.io.bvh import write_bvh

        write_bvh(motion, path)
    elif suffix == ".glb":
        from kinestream.io.gltf import write_glb

        write_glb(motion, path)
    elif suffix == ".fbx":
        from kinestream.io.fbx import write_fbx

        write_fbx(motion, path)
    elif suffix == ".npz":
        from kinestream.io.amass import write_amass_npz

        write_amass_npz(motion, path)
    else:
        from kinestream.io.smpl85 import write_smpl85

        write_smpl85(motion, path)
