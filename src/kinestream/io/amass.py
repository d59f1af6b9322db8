"""AMASS-style npz files (SMPL, SMPL-H, SMPL-X body parameters) <-> Motion."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kinestream.errors import BadInputError
from kinestream.io.arrays import read_headers, write_npz
from kinestream.io.smpl_arrays import is_smpl, read_smpl_arrays
from kinestream.io.smpl_parameters import UpAxis, checked_fps, motion_from_smpl, smpl_from_motion
from kinestream.motion import Motion

BodyModel = Literal["smpl", "smplh", "smplx"]

# Root, then 23 joints (SMPL); 21 joints and 30 finger joints (SMPL-H); 21 joints, jaw, eyes, 30 finger joints (SMPL-X).
POSE_WIDTHS: Mapping[BodyModel, int] = {"smpl": 72, "smplh": 156, "smplx": 165}
_BODY_WIDTH = 66


def read_amass_npz(path: str | os.PathLike[str], *, fps: float | None = None, up: UpAxis = "z") -> Motion:
    """An AMASS-style npz file as a Motion on the SMPL-22 skeleton, Y up, metres.

    The names and shapes of `kinestream.io.smpl_arrays`; the rate from `mocap_framerate` or `mocap_frame_rate`; `fps`
    overrides the rate, and is needed where the file has none. AMASS is Z up: `up="y"` for files that are not
    (`kinestream.io.read_motion` finds out). Hands, jaw, eyes and soft tissue are left out. The body is SMPL's mean
    shape whatever `betas` and `gender` say (they act through licensed model files), so a tall person's feet are off the
    floor by the difference in leg length until `kinestream.motion.ground`. Raises BadInputError; pickled objects are
    never loaded.
    """
    path = Path(path)
    headers = read_headers(path)
    if not is_smpl(headers):
        raise BadInputError(f"{path}: no body parameters ('poses', or 'root_orient' and 'pose_body') in the file")
    found = read_smpl_arrays(path, headers)
    rate = found.fps if fps is None else fps
    if rate is None:
        raise BadInputError(f"{path}: the file does not say its frame rate ('mocap_framerate'); give fps")
    if found.trans is None:
        raise BadInputError(f"{path}: no array 'trans' or 'transl' in the file")
    return motion_from_smpl(found.pose_rotvec, found.trans, checked_fps(rate, str(path)), up, path.stem)


def write_amass_npz(
    motion: Motion, path: str | os.PathLike[str], *, body_model: BodyModel = "smplh", up: UpAxis = "z"
) -> None:
    """Write SMPL-22 motion as an AMASS-style npz file with the body model's key names; Z up as AMASS.

    `poses` has 72 (SMPL), 156 (SMPL-H) or 165 (SMPL-X) columns, fingers and face at rest; SMPL-X files also have
    `root_orient`, `pose_body`, `pose_hand`, `pose_jaw` and `pose_eye`. `betas` are zero and `gender` neutral: the mean
    body. Raises BadInputError where the motion is on another skeleton (retarget first).
    """
    if body_model not in POSE_WIDTHS:
        raise BadInputError(f"expected the body model smpl, smplh or smplx, got {body_model!r}")
    rotvec, trans = smpl_from_motion(motion, up)
    poses = np.zeros((motion.num_frames, POSE_WIDTHS[body_model]), dtype=np.float32)
    poses[:, :_BODY_WIDTH] = rotvec.flatten(1).numpy()
    arrays: dict[str, npt.ArrayLike] = {
        "poses": poses,
        "trans": trans.numpy(),
        "betas": np.zeros(10 if body_model == "smpl" else 16, dtype=np.float32),
        "gender": "neutral",
        "mocap_frame_rate" if body_model == "smplx" else "mocap_framerate": float(motion.fps),
    }
    if body_model == "smplx":
        parts = {"root_orient": (0, 3), "pose_body": (3, 66), "pose_jaw": (66, 69), "pose_eye": (69, 75)}
        parts["pose_hand"] = (75, 165)
        arrays |= {name: poses[:, start:stop] for name, (start, stop) in parts.items()}
        arrays["surface_model_type"] = "smplx"
    write_npz(path, arrays)
