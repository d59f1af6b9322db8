"""Files to Motion and back: a module for each format; `read_motion` and `write_motion` choose by the file's name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kinestream.errors import BadInputError
from kinestream.motion import Motion

__all__ = ["READ_SUFFIXES", "WRITE_SUFFIXES", "read_motion", "write_motion"]

READ_SUFFIXES = (".bvh", ".amc", ".npz", ".npy")
WRITE_SUFFIXES = (".bvh", ".glb", ".fbx", ".mp4", ".html", ".npz", ".npy")

_FEATURE_WIDTH = 272
_FEATURE_FPS = 30.0


def read_motion(
    path: str | os.PathLike[str], *, fps: float | None = None, metres_per_unit: float | None = None
) -> Motion:
    """The motion in a file: BVH, AMC (its ASF lies beside it), AMASS-style npz, 85-d SMPL arrays or `motion272`
    features (npy, npz by their width).

    `metres_per_unit` belongs to BVH (None: guessed) and AMC files (None: what the ASF states); `fps` to arrays and AMC
    files, which need not say their rate (None: what the file says, else 30 for 85-d arrays and 120 for AMC). Features
    are 30 fps and un-normalised by definition.
    Raises BadInputError for files that are not what their name says, are damaged, or have another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        from kinestream.io.bvh import read_bvh

        if fps is not None:
            raise BadInputError(f"{path}: a BVH file says its own frame rate; resample the motion instead")
        return read_bvh(path, metres_per_unit=metres_per_unit)
    if suffix == ".amc":
        from kinestream.io.asf_amc import read_asf_amc

        return read_asf_amc(path, fps=fps, metres_per_unit=metres_per_unit)
    if suffix not in READ_SUFFIXES:
        raise BadInputError(f"cannot read {path}: expected a file named {', '.join(READ_SUFFIXES)}, got {suffix!a}")
    if metres_per_unit is not None:
        raise BadInputError(f"{path}: metres_per_unit is for BVH and AMC files; {suffix} files are in metres")
    return _read_arrays_as_motion(path, fps)


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


def _read_arrays_as_motion(path: Path, fps: float | None) -> Motion:
    from kinestream.io import amass, smpl85
    from kinestream.io.arrays import read_headers

    headers = read_headers(path)
    if amass.is_amass(headers):
        return amass.read_amass_npz(path, fps=fps)
    shapes = [shape for shape, _ in headers.values()]
    if any(len(shape) == 2 and shape[1] == smpl85.WIDTH for shape in shapes):
        return smpl85.read_smpl85(path, fps=30.0 if fps is None else fps)
    features = [name for name, (shape, _) in headers.items() if len(shape) == 2 and shape[1] == _FEATURE_WIDTH]
    if len(features) == 1:
        return _read_motion272(path, features[0], fps)
    raise BadInputError(
        f"{path}: expected body parameters ('poses', 'trans'), or one array (frames, 85) of SMPL parameters or "
        f"(frames, 272) of motion272 features, got {', '.join(str(shape) for shape in shapes[:10]) or 'no arrays'}"
    )


def _read_motion272(path: Path, name: str, fps: float | None) -> Motion:
    from dataclasses import replace

    import torch

    from kinestream.features import motion_from_motion272
    from kinestream.io.arrays import read_numbers

    if fps not in (None, _FEATURE_FPS):
        raise BadInputError(f"{path}: motion272 features are 30 fps by definition, got fps={fps}")
    values = read_numbers(path, [name])[name]
    largest = float(abs(values).max(initial=0.0))
    if len(values) == 0 or largest > 1e4:
        raise BadInputError(
            f"{path}: expected motion272 features of some frames, got {len(values)} up to {largest:.3g}"
        )
    return replace(motion_from_motion272(torch.from_numpy(values)), name=path.stem)
