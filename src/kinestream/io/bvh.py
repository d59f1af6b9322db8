"""BVH files: any hierarchy, channel order, unit and up axis <-> Motion."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from kinestream.errors import BadInputError
from kinestream.io.axes import FoundUp, find_up, spread_frames, turned_skeleton, upright
from kinestream.io.bvh_hierarchy import BvhHierarchy
from kinestream.io.bvh_text import read_bvh_text
from kinestream.io.bvh_writing import SAME_TRANSLATION_M, write_bvh
from kinestream.io.motion_file import BvhLayout, MotionFile, warn
from kinestream.io.text_bytes import MAX_FILE_BYTES
from kinestream.motion import Motion
from kinestream.rotations import quat_from_euler_rad
from kinestream.skeleton import Skeleton
from kinestream.skeleton.up_axis import turn_to_y

__all__ = [
    "MAX_FILE_BYTES",
    "BvhHierarchy",
    "read_bvh",
    "read_bvh_file",
    "read_bvh_hierarchy",
    "read_bvh_rig",
    "write_bvh",
]

# The rate of a rig's take: an example of poses needs none, and its Frame Time may be anything.
_ANY_FPS = 30.0
_JOINT_FRAMES_AT_ONCE = 200_000
_MAX_METRES = 1e6
_AXIS = {"X": 0, "Y": 1, "Z": 2}
_Floats = npt.NDArray[np.float64]


def read_bvh(
    path: str | os.PathLike[str],
    *,
    metres_per_unit: float | None = None,
    up: str | None = None,
    fps: float | None = None,
) -> Motion:
    """A BVH file as a Motion with the file's joints, metres, Y up; see `read_bvh_file`.

    What is odd about the file is said with `warnings.warn` as an `InputWarning`.
    """
    found = read_bvh_file(path, metres_per_unit=metres_per_unit, up=up, fps=fps)
    warn(found.warnings)
    return found.motion


def read_bvh_file(
    path: str | os.PathLike[str],
    *,
    metres_per_unit: float | None = None,
    up: str | None = None,
    fps: float | None = None,
) -> MotionFile:
    """A BVH file as a Motion (metres, Y up) with its axes, unit and layout, and how these were found.

    Position channels replace a joint's OFFSET, as BVH programs do; an OFFSET of zero is taken from them. Where a joint
    other than the root moves against its OFFSET by more than 0.01 mm, the motion carries `joint_translations_m`.
    `metres_per_unit` None guesses the unit from the body's size (`BvhHierarchy.guess_metres_per_unit`); `up` None
    ("x", "y", "z", "-y", ...: the file's up axis) finds it from rest pose and movement; `fps` replaces the file's rate.
    A Frame Time that is a whole frame rate but for its rounding is read as that rate (0.0333333: 30).
    Raises BadInputError, with the line where there is one, for files that are no whole, sound BVH.
    """
    path = Path(path)
    text = read_bvh_text(path, fps=fps)
    assert text.values is not None
    hierarchy = _with_recorded_offsets(text.hierarchy, text.values)
    unit = _unit(hierarchy, metres_per_unit, path)
    raw = _motion_from_values(text.values, hierarchy, unit, text.fps, path)
    found = find_up(raw.skeleton, raw, up, "y")
    notes = list(text.warnings)
    return MotionFile(
        motion=upright(_with_added_offset(raw, found, notes, path), found),
        up=found.world,
        up_how=found.how,
        metres_per_unit=unit,
        unit_how="given" if metres_per_unit is not None else "the body's size",
        layout=_layout(hierarchy, unit, "y"),
        warnings=tuple(notes),
    )


def read_bvh_hierarchy(path: str | os.PathLike[str]) -> BvhHierarchy:
    """Only the joints of a BVH file (a rig), with channel orders, in file units; its MOTION part may be empty."""
    text = read_bvh_text(Path(path), frames="not read")
    warn(text.warnings)
    return text.hierarchy


def read_bvh_rig(
    path: str | os.PathLike[str], *, metres_per_unit: float | None = None, up: str | None = None
) -> tuple[Skeleton, BvhLayout, Motion | None]:
    """A rig: its skeleton (metres, Y up), how to write BVH for it, and its take as an example of how its bones lie.

    The layout has the rig's own unit, channels and up axis. The take is None where it isn't needed, because zero
    rotations are a natural pose, or isn't there: then frames, if any, are not looked at.
    """
    path = Path(path)
    text = read_bvh_text(path, frames="not read")
    warn(text.warnings)
    hierarchy, take = text.hierarchy, None
    shown = _shows_its_bones(hierarchy) and find_up(hierarchy.to_skeleton("", 1.0), None, None, "y").rest is not None
    if not shown:
        try:
            take = read_bvh_text(path, fps=_ANY_FPS, frames="if any")
        except BadInputError as error:
            warn([f"{error}; the rig's frames are left out"])
    if take is None or take.values is None:
        unit = _unit(hierarchy, metres_per_unit, path)
        skeleton = _skeleton(hierarchy, unit, path)
        rest = find_up(skeleton, None, None, "y").rest or "y"
        return turned_skeleton(skeleton, turn_to_y(rest)), _layout(hierarchy, unit, rest), None
    hierarchy = _with_recorded_offsets(hierarchy, take.values)
    unit = _unit(hierarchy, metres_per_unit, path)
    raw = _motion_from_values(take.values, hierarchy, unit, take.fps, path)
    found = find_up(raw.skeleton, raw, up, "y")
    example = upright(raw, found)
    return example.skeleton, _layout(hierarchy, unit, found.rest or "y"), example


def _shows_its_bones(hierarchy: BvhHierarchy) -> bool:
    """Whether bones stand in OFFSETs, none of them only in position channels."""
    return all(
        any(offset) or not any(kind == "position" for kind, _ in channels)
        for offset, channels in list(zip(hierarchy.offsets, hierarchy.channels, strict=True))[1:]
    )


def _layout(hierarchy: BvhHierarchy, unit: float, up: str) -> BvhLayout:
    return BvhLayout(1.0 / unit, dict(zip(hierarchy.joint_names, hierarchy.channels, strict=True)), up)


def _with_recorded_offsets(hierarchy: BvhHierarchy, values: _Floats) -> BvhHierarchy:
    """OFFSETs of zero whose bones stand in the position channels, from there: the median over the recording."""
    offsets, column = list(hierarchy.offsets), 0
    for joint, channels in enumerate(hierarchy.channels):
        moves = [column + i for i, (kind, _) in enumerate(channels) if kind == "position"]
        axes = [_AXIS[axis] for kind, axis in channels if kind == "position"]
        column += len(channels)
        if joint and moves and not any(offsets[joint]):
            place = np.zeros(3)
            place[axes] = np.median(values[:, moves], axis=0)
            offsets[joint] = (float(place[0]), float(place[1]), float(place[2]))
    return replace(hierarchy, offsets=tuple(offsets))


def _with_added_offset(motion: Motion, found: FoundUp, notes: list[str], path: Path) -> Motion:
    """The root's OFFSET added to its channels, for files that are written so.

    Most programs let the channels replace the OFFSET. A file is written for those that add both where the body would
    else hang below the floor by its legs, and stands on it with the OFFSET.
    """
    if not found.body:
        return motion
    offset = motion.skeleton.offsets_m[0]
    along, sign = "xyz".index(found.world[-1]), -1.0 if found.world.startswith("-") else 1.0
    lowest = float((spread_frames(motion).joint_positions_m()[..., along] * sign).amin(dim=1).median())
    raised = float(offset[along]) * sign
    if raised < 0.2 or lowest > -0.5 * raised or abs(lowest + raised) > 0.2 * raised:
        return motion
    notes.append(f"{path}: the root's channels are read as added to its OFFSET ({raised:.2f} m up); else it sinks in")
    return replace(motion, root_position_m=motion.root_position_m + offset)


def _unit(hierarchy: BvhHierarchy, metres_per_unit: float | None, path: Path) -> float:
    if metres_per_unit is None:
        try:
            return hierarchy.guess_metres_per_unit()
        except BadInputError as error:
            raise BadInputError(f"{path}: {error}") from None
    if not (math.isfinite(metres_per_unit) and metres_per_unit > 0):
        raise BadInputError(f"metres_per_unit must be a positive number, got {metres_per_unit}")
    return metres_per_unit


def _skeleton(hierarchy: BvhHierarchy, unit: float, path: Path) -> Skeleton:
    try:
        return hierarchy.to_skeleton(path.stem, unit)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def _motion_from_values(values: _Floats, hierarchy: BvhHierarchy, unit: float, fps: float, path: Path) -> Motion:
    skeleton = _skeleton(hierarchy, unit, path)
    frames, joints = len(values), len(hierarchy.joint_names)
    offsets = np.array(hierarchy.offsets)
    root = np.repeat(offsets[:1], frames, axis=0)
    moving: dict[int, _Floats] = {}
    by_order: dict[str, list[tuple[int, list[int]]]] = defaultdict(list)
    column = 0
    for joint, channels in enumerate(hierarchy.channels):
        turns = [column + i for i, (kind, _) in enumerate(channels) if kind == "rotation"]
        moves = {_AXIS[axis]: column + i for i, (kind, axis) in enumerate(channels) if kind == "position"}
        by_order["".join(axis for kind, axis in channels if kind == "rotation")].append((joint, turns))
        column += len(channels)
        if not moves:
            continue
        translation = root if joint == 0 else np.repeat(offsets[joint : joint + 1], frames, axis=0)
        translation[:, list(moves)] = values[:, list(moves.values())]
        _check_reach(translation, unit, hierarchy.joint_names[joint], path)
        if joint and np.abs(translation - offsets[joint]).max() * unit > SAME_TRANSLATION_M:
            moving[joint] = translation
    local = torch.empty(frames, joints, 4, dtype=torch.float32)
    rows = max(1, _JOINT_FRAMES_AT_ONCE // joints)
    for order, members in by_order.items():
        turn_columns = np.array([turns for _, turns in members], dtype=np.intp)
        turning = [joint for joint, _ in members]
        for first in range(0, frames, rows):
            angles = torch.from_numpy(np.radians(values[first : first + rows, turn_columns]))
            local[first : first + rows, turning] = quat_from_euler_rad(angles, order).float()
    translations_m = None
    if moving:
        translations_m = skeleton.offsets_m.repeat(frames, 1, 1)
        for joint, translation in moving.items():
            translations_m[:, joint] = torch.from_numpy(translation * unit).float()
    return Motion(
        skeleton=skeleton,
        local_rotations=local,
        root_position_m=torch.from_numpy(root * unit).float(),
        fps=fps,
        joint_translations_m=translations_m,
        name=path.stem,
    )


def _check_reach(translation: _Floats, unit: float, joint_name: str, path: Path) -> None:
    far = float(np.abs(translation).max()) * unit
    if far > _MAX_METRES:
        raise BadInputError(
            f"{path}: joint {joint_name!a} is moved {far:.3g} m; check the unit ({unit:g} m) and the file"
        )
