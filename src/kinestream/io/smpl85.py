"""85-d SMPL arrays, as MotionStreamer's data preparation uses them, <-> Motion."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from kinestream.errors import BadInputError
from kinestream.io.arrays import read_headers, read_numbers, write_npy, write_npz
from kinestream.io.smpl_parameters import UpAxis, checked_fps, motion_from_smpl, smpl_from_motion
from kinestream.motion import Motion

WIDTH = 85
POSE, TRANS, BETAS = slice(0, 72), slice(72, 75), slice(75, 85)
_BODY = slice(0, 66)


def read_smpl85(path: str | os.PathLike[str], *, fps: float = 30.0, up: UpAxis = "y") -> Motion:
    """An npy or npz file with one array [T, 85] as a Motion on the SMPL-22 skeleton, Y up, metres.

    Columns: 72 pose (axis-angle of SMPL's 24 joints; the two hand joints are left out), 3 translation (metres), 10
    shape. The array says no rate, so `fps` does (MotionStreamer's is 30), and `up` says its axes. The body is SMPL's
    mean shape: shape coefficients act through licensed model files, so the pelvis' height can be off by a constant
    until `kinestream.motion.ground`. In an npz file the array is the one of that width. Raises BadInputError.
    """
    path = Path(path)
    headers = read_headers(path)
    found = [name for name, (shape, _) in headers.items() if len(shape) == 2 and shape[1] == WIDTH]
    if len(found) != 1:
        shapes = ", ".join(f"{name!a} {shape}" for name, (shape, _) in list(headers.items())[:10])
        raise BadInputError(f"{path}: expected one array of shape (frames, {WIDTH}), got {shapes or 'none'}")
    values = read_numbers(path, found)[found[0]]
    rotvec = torch.from_numpy(np.ascontiguousarray(values[:, _BODY])).reshape(-1, 22, 3)
    trans = torch.from_numpy(np.ascontiguousarray(values[:, TRANS]))
    return motion_from_smpl(rotvec, trans, checked_fps(fps, str(path)), up, path.stem)


def write_smpl85(motion: Motion, path: str | os.PathLike[str], *, up: UpAxis = "y") -> None:
    """Write SMPL-22 motion as an array [T, 85] (npy, or npz under the name "smpl85"): pose, translation, zero shape.

    The rate is not in the file; MotionStreamer's tools take it to be 30. Raises BadInputError where the motion is on
    another skeleton (retarget first).
    """
    rotvec, trans = smpl_from_motion(motion, up)
    values = np.zeros((motion.num_frames, WIDTH), dtype=np.float32)
    values[:, _BODY] = rotvec.flatten(1).numpy()
    values[:, TRANS] = trans.numpy()
    if Path(path).suffix.lower() == ".npz":
        write_npz(path, {"smpl85": values})
    else:
        write_npy(path, values)
