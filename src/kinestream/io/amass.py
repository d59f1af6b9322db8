"""AMASS-style npz files (SMPL, SMPL-H, SMPL-X body parameters) <-> Motion."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from kinestream.errors import BadInputError
from kinestream.io.arrays import Header, read_arrays, read_headers, read_numbers, write_npz
from kinestream.io.smpl_parameters import UpAxis, checked_fps, motion_from_smpl, smpl_from_motion
from kinestream.motion import Motion

BodyModel = Literal["smpl", "smplh", "smplx"]

# Root, then 23 joints (SMPL); 21 joints and 30 finger joints (SMPL-H); 21 joints, jaw, eyes, 30 finger joints (SMPL-X).
POSE_WIDTHS: Mapping[BodyModel, int] = {"smpl": 72, "smplh": 156, "smplx": 165}
_ROOT_KEYS = ("root_orient", "global_orient")
_BODY_KEYS = ("pose_body", "body_pose")
_TRANS_KEYS = ("trans", "transl")
_FPS_KEYS = ("mocap_framerate", "mocap_frame_rate", "framerate", "frame_rate", "fps")
_BODY_WIDTH = 66


def is_amass(headers: Mapping[str, Header]) -> bool:
    """Whether an npz file's arrays are body parameters by their names."""
    return "poses" in headers or any(key in headers for key in (*_ROOT_KEYS, *_BODY_KEYS))


def read_amass_npz(path: str | os.PathLike[str], *, fps: float | None = None, up: UpAxis = "z") -> Motion:
    """An AMASS-style npz file as a Motion on the SMPL-22 skeleton, Y up, metres.

    Takes `poses` [T, 72 | 156 | 165] or `root_orient` [T, 3] with `pose_body` [T, 63 | 69] (also SMPL-X's names
    `global_orient`, `body_pose`), `trans` or `transl` [T, 3], and the rate from `mocap_framerate` or
    `mocap_frame_rate`; `fps` overrides the rate, and is needed where the file has none. AMASS is Z up: `up="y"` for
    files that are not. Hands, jaw, eyes and soft tissue are left out. The body is SMPL's mean shape whatever `betas`
    and `gender` say (they act through licensed model files), so a tall person's feet are off the floor by the
    difference in leg length until `kinestream.motion.ground`. Raises BadInputError; pickled objects are never loaded.
    """
    path = Path(path)
    headers = read_headers(path)
    if not is_amass(headers):
        raise BadInputError(f"{path}: no body parameters ('poses', or 'root_orient' and 'pose_body') in the file")
    pose = _pose(path, headers)
    trans_key = _present(_TRANS_KEYS, headers, path)
    trans = read_numbers(path, [trans_key])[trans_key]
    if trans.shape != (len(pose), 3):
        raise BadInputError(f"{path}: expected {trans_key!r} of shape ({len(pose)}, 3), got {trans.shape}")
    rate = _fps(path, headers) if fps is None else fps
    rotvec = torch.from_numpy(np.ascontiguousarray(pose)).reshape(-1, 22, 3)
    return motion_from_smpl(rotvec, torch.from_numpy(trans), checked_fps(rate, str(path)), up, path.stem)


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


def _pose(path: Path, headers: Mapping[str, Header]) -> npt.NDArray[np.float32]:
    """Root and 21 body joints as axis-angle [T, 66]."""
    if "poses" in headers:
        shape = headers["poses"][0]
        if len(shape) != 2 or shape[1] not in POSE_WIDTHS.values():
            widths = "72 for SMPL, 156 for SMPL-H, 165 for SMPL-X"
            raise BadInputError(f"{path}: expected 'poses' of shape (frames, {widths}), got {shape}")
        return read_numbers(path, ["poses"])["poses"][:, :_BODY_WIDTH]
    root_key, body_key = _present(_ROOT_KEYS, headers, path), _present(_BODY_KEYS, headers, path)
    arrays = read_numbers(path, [root_key, body_key])
    root, body = arrays[root_key], arrays[body_key]
    if (
        root.ndim != 2
        or root.shape[1] != 3
        or body.ndim != 2
        or body.shape[1] not in (63, 69)
        or len(root) != len(body)
    ):
        raise BadInputError(
            f"{path}: expected {root_key!r} (frames, 3) and {body_key!r} (frames, 63 or 69), "
            f"got {root.shape} and {body.shape}"
        )
    return np.concatenate((root, body[:, :63]), axis=1)


def _present(keys: tuple[str, ...], headers: Mapping[str, Header], path: Path) -> str:
    for key in keys:
        if key in headers:
            return key
    raise BadInputError(f"{path}: no array {' or '.join(map(repr, keys))} in the file")


def _fps(path: Path, headers: Mapping[str, Header]) -> float:
    for key in _FPS_KEYS:
        if key in headers:
            value = read_arrays(path, [key])[key]
            if value.size != 1 or value.dtype.kind not in "fiu":
                raise BadInputError(f"{path}: expected one number as {key!r}, got {value.dtype} of shape {value.shape}")
            return float(value.reshape(-1)[0])
    raise BadInputError(f"{path}: the file does not say its frame rate ({' or '.join(_FPS_KEYS[:2])}); give fps")
