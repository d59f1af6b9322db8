"""SMPL body parameters in the shapes and under the names that people have, as rotation vectors and translations.

Names: AMASS and SMPL-X (`poses`; `root_orient` with `pose_body`; `global_orient` with `body_pose`), AIST++
(`smpl_poses`, `smpl_trans`, `smpl_scaling`), WHAM (`pose_world`, `trans_world`), and GVHMR's, bare or within
`smpl_params_global`. Shapes of a pose: flat rotation vectors [T, 66 | 72 | 156 | 159 | 165], [T, J, 3], or rotation
matrices [T, J, 3, 3] with 22, 24, 52, 53 or 55 joints; the first 22 are the body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.io.arrays import Header, how_to_convert, read_arrays, read_numbers
from kinestream.rotations import quat_from_matrix, rotvec_from_quat

# Root, then the body's 21 joints (66); 23 joints (SMPL: 72); with fingers (SMPL-H: 156), jaw (159), eyes (SMPL-X: 165).
POSE_WIDTHS = (66, 72, 156, 159, 165)
POSE_JOINTS = (22, 24, 52, 53, 55)

_WHOLE_KEYS = ("poses", "smpl_poses", "pose_world", "fullpose", "full_pose")
_ROOT_KEYS = ("root_orient", "global_orient")
_BODY_KEYS = ("pose_body", "body_pose")
_TRANS_KEYS = ("trans", "transl", "smpl_trans", "trans_world", "translation")
_FPS_KEYS = ("mocap_framerate", "mocap_frame_rate", "framerate", "frame_rate", "fps")
# Files of these programs have Y up; AMASS, and what follows its names, Z up.
_Y_UP_KEYS = ("smpl_poses", "pose_world", "global_orient")
# What a nested dictionary's name may come before the array's own.
_PREFIX = re.compile(r"^(?:.*[/.])?(?:smpl_params_(?:global|world)[_/.]|smplx?_params[_/.])?")


@dataclass(frozen=True)
class SmplArrays:
    """`pose_rotvec` [T, 22, 3]; `trans` [T, 3] in the file's unit or None; its rate or None; `custom_up` as its format
    has it.
    """

    pose_rotvec: Float[Tensor, "t 22 3"]
    trans: Float[Tensor, "t 3"] | None
    fps: float | None
    custom_up: str


def own_names(headers: Mapping[str, Header]) -> dict[str, str]:
    """The file's array for each name without the dictionary that it came from."""
    return {_PREFIX.sub("", name): name for name in reversed(list(headers))}


def is_smpl(headers: Mapping[str, Header]) -> bool:
    """Whether an npz file's arrays are body parameters by their names."""
    return any(key in own_names(headers) for key in (*_WHOLE_KEYS, *_ROOT_KEYS, *_BODY_KEYS))


def is_pose_shape(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape can be an SMPL pose over time."""
    if len(shape) == 2:
        return shape[1] in POSE_WIDTHS
    return len(shape) in (3, 4) and shape[1] in POSE_JOINTS and set(shape[2:]) == {3}


def pose_rotvec(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Float[Tensor, "t 22 3"]:
    """The body's rotation vectors from a pose in any of the shapes."""
    values = torch.from_numpy(np.ascontiguousarray(array))
    if values.ndim == 4:
        return rotvec_from_quat(quat_from_matrix(values[:, :22]))
    joints = values if values.ndim == 3 else values.unflatten(1, (-1, 3))
    return joints[:, :22].contiguous()


def read_smpl_arrays(path: Path, headers: Mapping[str, Header]) -> SmplArrays:
    """The body parameters of a file whose names say that it has them. BadInputError for shapes that do not fit."""
    names = own_names(headers)
    whole = next((key for key in _WHOLE_KEYS if key in names), None)
    if whole is not None:
        shape = headers[names[whole]][0]
        if headers[names[whole]][1].hasobject:
            raise BadInputError(f"{path}: {whole!r} is a pickled Python object, never loaded. {how_to_convert(path)}")
        if not is_pose_shape(shape):
            raise BadInputError(
                f"{path}: expected {whole!r} of shape (frames, {' | '.join(map(str, POSE_WIDTHS))}), or (frames, "
                f"joints, 3) with {', '.join(map(str, POSE_JOINTS))} joints, got {shape}"
            )
        pose = pose_rotvec(read_numbers(path, [names[whole]])[names[whole]])
    else:
        pose = _root_and_body(path, headers, names)
    used = [key for key in (whole, *_ROOT_KEYS) if key in names]
    return SmplArrays(
        pose,
        _translation(path, names, len(pose)),
        _fps(path, names),
        "y" if any(key in _Y_UP_KEYS for key in used) else "z",
    )


def _root_and_body(path: Path, headers: Mapping[str, Header], names: Mapping[str, str]) -> Float[Tensor, "t 22 3"]:
    root_key, body_key = _present(_ROOT_KEYS, names, path), _present(_BODY_KEYS, names, path)
    arrays = read_numbers(path, [names[root_key], names[body_key]])
    root, body = arrays[names[root_key]], arrays[names[body_key]]
    count = len(root) if root.ndim else -1
    matrices = root.shape in ((count, 1, 3, 3), (count, 3, 3)) and body.ndim == 4
    fits = root.shape in ((count, 3), (count, 1, 3)) or matrices
    bones = body.shape[1:] in ((63,), (69,), (21, 3), (23, 3)) or (
        matrices and body.shape[1:] in ((21, 3, 3), (23, 3, 3))
    )
    if not fits or not bones or len(body) != count:
        raise BadInputError(
            f"{path}: expected {root_key!r} (frames, 3) and {body_key!r} (frames, 63 or 69), or (frames, 21 or 23, 3), "
            f"got {root.shape} and {body.shape}"
        )
    tail = (3, 3) if matrices else (3,)
    joined = np.concatenate((root.reshape(count, 1, *tail), body.reshape(count, -1, *tail)[:, :21]), axis=1)
    return pose_rotvec(joined)


def _translation(path: Path, names: Mapping[str, str], frames: int) -> Float[Tensor, "t 3"] | None:
    key = next((key for key in _TRANS_KEYS if key in names), None)
    if key is None:
        return None
    trans = read_numbers(path, [names[key]])[names[key]]
    if trans.shape != (frames, 3):
        raise BadInputError(f"{path}: expected {key!r} of shape ({frames}, 3), got {trans.shape}")
    if key == "smpl_trans" and "smpl_scaling" in names:
        scale = read_numbers(path, [names["smpl_scaling"]])[names["smpl_scaling"]].reshape(-1)
        if scale.size != 1 or not float(scale[0]) > 0.0:
            raise BadInputError(f"{path}: expected one positive number as 'smpl_scaling', got shape {scale.shape}")
        trans = trans / scale[0]
    return torch.from_numpy(np.ascontiguousarray(trans))


def _present(keys: tuple[str, ...], names: Mapping[str, str], path: Path) -> str:
    for key in keys:
        if key in names:
            return key
    raise BadInputError(f"{path}: no array {' or '.join(map(repr, keys))} in the file")


def _fps(path: Path, names: Mapping[str, str]) -> float | None:
    for key in _FPS_KEYS:
        if key in names:
            value = read_arrays(path, [names[key]])[names[key]]
            if value.size != 1 or value.dtype.kind not in "fiu":
                raise BadInputError(f"{path}: expected one number as {key!r}, got {value.dtype} of shape {value.shape}")
            return float(value.reshape(-1)[0])
    return None
