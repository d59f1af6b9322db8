"""npy and npz files as motions, by what their arrays are called and shaped.

| array | is |
| --- | --- |
| named as SMPL's parameters (`smpl_arrays`) | SMPL pose and translation |
| [T, 66, 72, 156, 159 or 165], [T, J, 3, 3] | an SMPL pose alone: the body stays in place |
| [T, 85] | SMPL pose, translation, shape (MotionStreamer's preparation) |
| [T, 322] | Motion-X: SMPL-X pose, hands, face, translation, shape |
| [T, 263], [T, 264], [T, 259], [T, 272] | features of HumanML3D, InfiniteDance, MotionStreamer |
| [T, 22, 3] | joint positions |
| [T, 24, 52, 53 or 55, 3] | joint positions where bones have SMPL's proportions, else an SMPL pose |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import motion_from_motion272
from kinestream.features.aiming import rotations_from_positions
from kinestream.features.humanml import motion_from_humanml259, motion_from_humanml263, motion_from_humanml264
from kinestream.io.arrays import Header, how_to_convert, read_headers, read_numbers
from kinestream.io.axes import find_up, upright
from kinestream.io.motion_file import MotionFile
from kinestream.io.smpl85 import TRANS as SMPL85_TRANS
from kinestream.io.smpl85 import WIDTH as SMPL85_WIDTH
from kinestream.io.smpl_arrays import is_pose_shape, is_smpl, pose_rotvec, read_smpl_arrays
from kinestream.io.smpl_parameters import checked_fps, motion_from_smpl
from kinestream.motion import Motion, ground
from kinestream.skeleton import Skeleton, smpl22

_MOTION_X_WIDTH, _MOTION_X_TRANS = 322, slice(309, 312)
_FEATURES: Mapping[int, tuple[float, Callable[[Tensor], Motion]]] = {
    263: (20.0, motion_from_humanml263),
    264: (30.0, motion_from_humanml264),
    259: (30.0, motion_from_humanml259),
    272: (30.0, motion_from_motion272),
}
_POSITIONS_FPS, _POSE_FPS = 20.0, 30.0
_MAX_FEATURE = 1e4
# Bones of joint positions lie to SMPL's as this correlation, or the numbers are rotations.
_SMPL_PROPORTIONS = 0.9
# Thigh and shin of a person, in metres: what joint positions' unit is guessed by.
_LEG_M = (0.35, 1.8)
_POSITION_UNITS = (1.0, 0.01, 0.001)
_SAME_BONES_M = 0.005


def read_array_file(
    path: Path, *, fps: float | None = None, up: str | None = None, metres_per_unit: float | None = None
) -> MotionFile:
    """The motion in an npy or npz file. `fps` for arrays that do not say their rate; `up` and `metres_per_unit` None:
    found from the movement, metres. BadInputError for other arrays, damaged files and pickled objects.
    """
    headers = read_headers(path)
    if is_smpl(headers):
        return _smpl_file(path, headers, fps, up, metres_per_unit)
    name, shape = _one_array(path, headers)
    if len(shape) == 2 and shape[1] in _FEATURES:
        return _feature_file(path, name, shape[1], fps, up, metres_per_unit)
    values = read_numbers(path, [name])[name]
    if len(shape) == 3 and shape[2] == 3:
        positions = torch.from_numpy(values)
        if shape[1] == 22 or _has_smpl_proportions(positions):
            return _position_file(path, positions[:, :22], fps, up, metres_per_unit)
    notes: list[str] = []
    if fps is None and not (len(shape) == 2 and shape[1] == SMPL85_WIDTH):
        notes.append(f"{path}: the array says no rate; it is read as {_POSE_FPS:g} frames per second")
    trans = None
    if len(shape) == 2 and shape[1] == SMPL85_WIDTH:
        values, trans = values[:, :72], torch.from_numpy(values[:, SMPL85_TRANS].copy())
    elif len(shape) == 2 and shape[1] == _MOTION_X_WIDTH:
        values, trans = values[:, :66], torch.from_numpy(values[:, _MOTION_X_TRANS].copy())
    rate = checked_fps(_POSE_FPS if fps is None else fps, str(path))
    return _smpl_motion(path, pose_rotvec(values), trans, rate, "y", up, metres_per_unit, notes)


def _one_array(path: Path, headers: Mapping[str, Header]) -> tuple[str, tuple[int, ...]]:
    """The one array that can be a motion by its shape."""
    known = {
        name: shape
        for name, (shape, dtype) in headers.items()
        if not dtype.hasobject
        and (is_pose_shape(shape) or (len(shape) == 2 and shape[1] in (*_FEATURES, SMPL85_WIDTH, _MOTION_X_WIDTH)))
    }
    if len(known) == 1:
        return next(iter(known.items()))
    if not known and any(dtype.hasobject for _, dtype in headers.values()):
        raise BadInputError(f"{path}: holds pickled Python objects, which are never loaded. {how_to_convert(path)}")
    shapes = ", ".join(f"{name!a} {shape}" if name else str(shape) for name, (shape, _) in list(headers.items())[:10])
    raise BadInputError(
        f"{path}: expected body parameters ('poses', 'trans'), or one array of SMPL poses (frames, 66 | 72 | 85 | 156 "
        "| 159 | 165 | 322), of features (frames, 259 | 263 | 264 | 272) or of joint positions (frames, 22, 3), got "
        f"{shapes or 'no arrays'}"
    )


def _smpl_file(
    path: Path, headers: Mapping[str, Header], fps: float | None, up: str | None, metres_per_unit: float | None
) -> MotionFile:
    found = read_smpl_arrays(path, headers)
    rate = found.fps if fps is None else fps
    if rate is None:
        raise BadInputError(
            f"{path}: the file does not say its frame rate ('mocap_framerate' or 'mocap_frame_rate'); give fps "
            "(--input-fps 30)"
        )
    rate = checked_fps(rate, str(path))
    return _smpl_motion(path, found.pose_rotvec, found.trans, rate, found.custom_up, up, metres_per_unit, [])


def _smpl_motion(
    path: Path,
    pose: Tensor,
    trans: Tensor | None,
    fps: float,
    custom_up: str,
    up: str | None,
    metres_per_unit: float | None,
    notes: list[str],
) -> MotionFile:
    if trans is None:
        notes.append(f"{path}: no translation; the body stays in place, on the floor")
    metres = trans if trans is not None else torch.zeros(len(pose), 3)
    metres = metres * (1.0 if metres_per_unit is None else metres_per_unit)
    raw = motion_from_smpl(pose, metres, fps, "y", path.stem)
    found = find_up(raw.skeleton, raw, up, custom_up, rest_decides=False)
    motion = upright(raw, found)
    return MotionFile(
        motion=ground(motion) if trans is None else motion,
        up=found.world,
        up_how=found.how,
        metres_per_unit=1.0 if metres_per_unit is None else metres_per_unit,
        unit_how="the format's" if metres_per_unit is None else "given",
        warnings=tuple(notes),
    )


def _feature_file(
    path: Path, name: str, width: int, fps: float | None, up: str | None, metres_per_unit: float | None
) -> MotionFile:
    rate, read = _FEATURES[width]
    if fps not in (None, rate):
        raise BadInputError(f"{path}: features of width {width} are {rate:g} fps by definition, got fps={fps}")
    if up not in (None, "y") or metres_per_unit not in (None, 1.0):
        raise BadInputError(f"{path}: features of width {width} are in metres with Y up by definition")
    values = read_numbers(path, [name])[name]
    largest = float(abs(values).max(initial=0.0))
    if len(values) == 0 or largest > _MAX_FEATURE:
        raise BadInputError(f"{path}: expected features of some frames, got {len(values)} up to {largest:.3g}")
    motion = replace(read(torch.from_numpy(values)), name=path.stem)
    return MotionFile(motion, "y", "the format's", 1.0, "the format's")


def _position_file(
    path: Path, positions: Tensor, fps: float | None, up: str | None, metres_per_unit: float | None
) -> MotionFile:
    if len(positions) == 0:
        raise BadInputError(f"{path}: the recording has no frames")
    notes = []
    if fps is None:
        notes.append(f"{path}: the array says no rate; it is read as {_POSITIONS_FPS:g} a second, as HumanML3D")
    rate = checked_fps(_POSITIONS_FPS if fps is None else fps, str(path))
    bones = _bone_lengths(positions)
    if float(bones.max()) <= 0.0 or float(positions.abs().max()) > 1e6:
        raise BadInputError(f"{path}: expected joint positions in metres, got values without bones or out of reach")
    unit, how = _position_unit(bones) if metres_per_unit is None else (metres_per_unit, "given")
    positions = positions.float() * unit
    skeleton = _with_lengths(bones * unit)
    local = rotations_from_positions(skeleton, positions)
    raw = Motion(skeleton, local, positions[:, 0].clone(), rate, name=path.stem)
    found = find_up(skeleton, raw, up, "y", rest_decides=False)
    return MotionFile(upright(raw, found), found.world, found.how, unit, how, warnings=tuple(notes))


def _bone_lengths(positions: Tensor) -> Tensor:
    """Median length [22] of SMPL-22's bones in joint positions [T, 22 or more, 3]; 0 for the root."""
    parents = list(smpl22().parents[1:])
    lengths: Tensor = (positions[:, 1:22] - positions[:, parents]).float().norm(dim=-1).median(dim=0).values
    return torch.cat((lengths.new_zeros(1), lengths))


def _has_smpl_proportions(positions: Tensor) -> bool:
    if len(positions) == 0:
        return False
    both = torch.stack((_bone_lengths(positions)[1:], smpl22().offsets_m[1:].norm(dim=-1)))
    return float(torch.corrcoef(both)[0, 1].nan_to_num()) > _SMPL_PROPORTIONS


def _position_unit(bones: Tensor) -> tuple[float, str]:
    index = smpl22().index
    leg = float(sum(bones[index(f"{side}_{part}")] for side in ("left", "right") for part in ("knee", "ankle"))) / 2.0
    for unit in _POSITION_UNITS:
        if _LEG_M[0] <= leg * unit <= _LEG_M[1]:
            return unit, "the body's size"
    return 1.0, "the format's custom; the size is no person's"


def _with_lengths(bones: Tensor) -> Skeleton:
    """SMPL-22 with these bone lengths; SMPL-22 itself where they are its own."""
    own = smpl22()
    lengths = own.offsets_m.norm(dim=-1)
    if float((bones - lengths)[1:].abs().max()) < _SAME_BONES_M:
        return own
    scale = torch.where(torch.arange(len(bones)) > 0, bones / lengths.clamp_min(1e-6), torch.ones_like(bones))
    return replace(own, offsets_m=own.offsets_m * scale[:, None])
