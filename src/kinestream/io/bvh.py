"""BVH files: any hierarchy, channel order and unit <-> Motion."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path
from kinestream.io.bvh_hierarchy import BvhHierarchy, parse_hierarchy
from kinestream.io.text_bytes import read_text_bytes
from kinestream.motion import Motion
from kinestream.rotations import euler_from_quat_rad, quat_from_euler_rad

__all__ = ["BvhHierarchy", "read_bvh", "read_bvh_hierarchy", "write_bvh"]

MAX_HEADER_BYTES = 16 * 2**20
MAX_HEADER_LINES = 400_000
MAX_JOINT_FRAMES = 20_000_000
"""Joints times frames that one file may hold (22 joints: 8 hours at 30 fps), so that memory stays bounded."""

_JOINT_FRAMES_AT_ONCE = 200_000
_MAX_METRES = 1e6
_SAME_TRANSLATION_M = 1e-5
_COMMON_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 72.0, 90.0, 100.0, 120.0, 144.0, 200.0, 240.0)
_NTSC_FPS = (24_000 / 1001, 30_000 / 1001, 60_000 / 1001, 120_000 / 1001)
_AXIS = {"X": 0, "Y": 1, "Z": 2}
_Floats = npt.NDArray[np.float64]


def read_bvh(path: str | os.PathLike[str], *, metres_per_unit: float | None = None) -> Motion:
    """A BVH file as a Motion whose joints, rest offsets and end sites are the file's.

    Position channels replace a joint's OFFSET, as BVH programs do. Where a joint other than the root moves against its
    OFFSET by more than 0.01 mm, the motion carries `joint_translations_m`. Axes are taken as they are (BVH is Y up by
    custom). `metres_per_unit` None guesses the unit from the skeleton's size: `BvhHierarchy.guess_metres_per_unit`.
    A Frame Time that is a whole frame rate but for its rounding is read as that rate (0.0333333: 30).
    Raises BadInputError, with the line where there is one, for files that are no whole, sound BVH.
    """
    path = Path(path)
    data = read_text_bytes(path, "BVH")
    hierarchy, motion_start = _split(data, path)
    frames, fps, body_start = _parse_motion_header(data, motion_start, path)
    unit = _unit(hierarchy, metres_per_unit, path)
    values = _parse_values(data, body_start, frames, hierarchy, path)
    return _motion_from_values(values, hierarchy, unit, fps, path)


def read_bvh_hierarchy(path: str | os.PathLike[str]) -> BvhHierarchy:
    """Only the joints of a BVH file (a rig), with channel orders, in file units; its MOTION part may be empty."""
    path = Path(path)
    return _split(read_text_bytes(path, "BVH"), path)[0]


def write_bvh(
    motion: Motion,
    path: str | os.PathLike[str],
    *,
    units_per_metre: float = 100.0,
    rotation_order: str | Mapping[str, str] = "ZXY",
) -> None:
    """Write a Motion as BVH, whole or not at all; centimetres unless `units_per_metre` says otherwise.

    `rotation_order` is a permutation of XYZ for all joints, or one by joint name (others: "ZXY"; an order of fewer than
    three axes counts as "ZXY"). The root has six channels, a joint with animated translation too, the others three.
    Joints are written depth first, so their order (never their names or tree) can differ from the motion's; leaves
    without an end site get one of length zero. Raises BadInputError for names or values that BVH cannot hold.
    """
    if not (math.isfinite(units_per_metre) and units_per_metre > 0):
        raise BadInputError(f"units_per_metre must be a positive number, got {units_per_metre}")
    moving = _moving_joints(motion)
    orders = _orders(motion.skeleton.joint_names, rotation_order)
    header, joint_order = _hierarchy_text(motion, orders, moving, units_per_metre)
    columns: list[_Floats] = []
    local = motion.local_rotations.detach().cpu().double()
    for joint in joint_order:
        if joint == 0:
            columns.append(motion.root_position_m.detach().cpu().double().numpy() * units_per_metre)
        elif joint in moving:
            assert motion.joint_translations_m is not None
            columns.append(motion.joint_translations_m[:, joint].detach().cpu().double().numpy() * units_per_metre)
        angles = euler_from_quat_rad(local[:, joint], orders[joint]).numpy()
        # Whole turns are added so that curves stay continuous in an animation program.
        columns.append(np.degrees(np.unwrap(angles, axis=0)))
    rows = np.concatenate(columns, axis=1)
    line = " ".join(["%.6f"] * rows.shape[1]) + "\n"
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(header)
        file.write(f"MOTION\nFrames: {len(rows)}\nFrame Time: {1.0 / motion.fps:.15f}\n")
        for row in rows.tolist():
            file.write(line % tuple(row))


# --- reading -------------------------------------------------------------------------------------------------------


_MOTION_LINE = re.compile(rb"(?:^|[\r\n])[ \t]*MOTION[ \t]*(?=[\r\n]|\Z)", re.IGNORECASE)
_FRAMES_LINE = re.compile(rb"\s*Frames[ \t]*:[ \t]*(\d{1,15})[ \t]*(?=[\r\n]|\Z)", re.IGNORECASE)
_FRAME_TIME_LINE = re.compile(rb"\s*Frame[ \t]*Time[ \t]*:[ \t]*(\S{1,40})[ \t]*(?=[\r\n]|\Z)", re.IGNORECASE)


def _split(data: bytes, path: Path) -> tuple[BvhHierarchy, int]:
    """The hierarchy and the position after the MOTION line."""
    found = _MOTION_LINE.search(data, 0, MAX_HEADER_BYTES)
    header = data[: found.start() if found else MAX_HEADER_BYTES]
    if header.count(b"\n") + header.count(b"\r") > MAX_HEADER_LINES:
        raise BadInputError(f"{path}: no MOTION line in the first {MAX_HEADER_LINES} lines")
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        text = header.decode("latin-1")
    # Not str.splitlines: that also breaks lines at characters which may stand in names.
    hierarchy = parse_hierarchy(re.split(r"\r\n|\n|\r", text), str(path))
    if not found:
        raise BadInputError(f"{path}: no MOTION line after the hierarchy; the file was cut off")
    return hierarchy, found.end()


def _line_number(data: bytes, position: int) -> int:
    head = data[:position]
    return 1 + head.count(b"\n") + head.count(b"\r") - head.count(b"\r\n")


def _parse_motion_header(data: bytes, start: int, path: Path) -> tuple[int, float, int]:
    """(frames, fps, where the numbers begin)."""
    line = _FRAMES_LINE.match(data, start)
    if not line:
        raise _bad_line(data, start, path, "expected 'Frames: COUNT' after MOTION")
    frames = int(line[1])
    if frames == 0:
        raise BadInputError(f"{path}, line {_line_number(data, line.end())}: the file has no frames")
    time_line = _FRAME_TIME_LINE.match(data, line.end())
    try:
        fps = _fps_from_frame_time(time_line[1].decode("ascii")) if time_line else None
    except (UnicodeDecodeError, ValueError):
        fps = None
    if fps is None or time_line is None:
        message = "expected 'Frame Time: SECONDS' (between 0.00001 and 10,000) after Frames"
        raise _bad_line(data, line.end(), path, message)
    return frames, fps, time_line.end()


def _bad_line(data: bytes, position: int, path: Path, message: str) -> BadInputError:
    rest = data[position : position + 400]
    position += len(rest) - len(rest.lstrip())
    shown = ascii(rest.lstrip().split(b"\n")[0][:60].decode("latin-1").strip())
    return BadInputError(f"{path}, line {_line_number(data, position)}: {message}, got {shown}")


def _fps_from_frame_time(text: str) -> float | None:
    """Frames per second; None where the time is not a usable number.

    Files print few digits, so a common rate whose frame time agrees to within one of the last printed digit is taken to
    be meant (0.033: 30); rarer whole rates and NTSC rates such as 29.97 only where they agree to 0.1 % besides.
    """
    seconds = float(text)
    if not 1e-5 <= seconds <= 1e4:
        return None
    fps = 1.0 / seconds
    if fps >= 1.0 and abs(fps - round(fps)) < 1e-9 * fps:
        return float(round(fps))
    mantissa, _, exponent = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
    last_digit = 10.0**-digits if digits < 15 else 0.0

    def nearest(rates: Sequence[float], tolerance: float) -> list[float]:
        close = [rate for rate in rates if abs(1.0 / rate - seconds) <= min(last_digit, tolerance * seconds)]
        return sorted(close, key=lambda rate: abs(1.0 / rate - seconds))

    whole = [float(round(fps))] if fps >= 1.0 else []
    found = nearest(_COMMON_FPS, 0.025) or nearest(whole, 0.001) or nearest(_NTSC_FPS, 0.001)
    return found[0] if found else fps


def _unit(hierarchy: BvhHierarchy, metres_per_unit: float | None, path: Path) -> float:
    if metres_per_unit is None:
        try:
            return hierarchy.guess_metres_per_unit()
        except BadInputError as error:
            raise BadInputError(f"{path}: {error}") from None
    if not (math.isfinite(metres_per_unit) and metres_per_unit > 0):
        raise BadInputError(f"metres_per_unit must be a positive number, got {metres_per_unit}")
    return metres_per_unit


def _parse_values(data: bytes, start: int, frames: int, hierarchy: BvhHierarchy, path: Path) -> _Floats:
    """The numbers as [frames, channels]; memory is bounded by the file's size, whatever it announces."""
    channels = hierarchy.num_channels
    if channels == 0:
        raise BadInputError(f"{path}: no joint has CHANNELS, so the file holds no motion")
    body = data[start:]
    # Bytes above the space begin a token where the byte before is not one.
    inked = np.frombuffer(body, dtype=np.uint8) > 32
    count = int(np.count_nonzero(inked[1:] & ~inked[:-1])) + int(inked[:1].sum())
    if count != frames * channels:
        raise _wrong_count(data, start, count, frames, channels, path)
    if frames * len(hierarchy.joint_names) > MAX_JOINT_FRAMES:
        raise BadInputError(
            f"{path}: {frames} frames of {len(hierarchy.joint_names)} joints are too many for one file; cut it in parts"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # older numpy only warns of trailing garbage
            values = np.fromstring(body, dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        values = np.empty(0)
    if values.size != count or not np.isfinite(values).all():
        raise _bad_number(data, start, path)
    return values.reshape(frames, channels)


_LINE = re.compile(rb"[^\r\n]+")
_WORD = re.compile(rb"\S+")


def _wrong_count(data: bytes, start: int, count: int, frames: int, channels: int, path: Path) -> BadInputError:
    message = f"the file announces {frames} frames of {channels} channels and holds {count} numbers"
    for line in _LINE.finditer(data, start):
        words = sum(1 for _ in islice(_WORD.finditer(data, line.start(), line.end()), channels + 1))
        if words and words != channels:
            held = words if words < channels else "more"
            where = f"{path}, line {_line_number(data, line.start())}"
            return BadInputError(f"{where}: expected {channels} numbers, got {held}; {message}")
    return BadInputError(f"{path}: {message} ({count / channels:g} frames); it was cut off, or Frames is wrong")


def _bad_number(data: bytes, start: int, path: Path) -> BadInputError:
    for found in _WORD.finditer(data, start):
        word = found[0]
        try:
            good = math.isfinite(float(word)) and b"_" not in word
        except ValueError:
            good = False
        if not good:
            shown = ascii(word[:40].decode("latin-1"))
            return BadInputError(
                f"{path}, line {_line_number(data, found.start())}: expected finite numbers, got {shown}"
            )
    return BadInputError(f"{path}: the frames are not plain numbers")


def _motion_from_values(values: _Floats, hierarchy: BvhHierarchy, unit: float, fps: float, path: Path) -> Motion:
    try:
        skeleton = hierarchy.to_skeleton(path.stem, unit)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
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
        if joint and np.abs(translation - offsets[joint]).max() * unit > _SAME_TRANSLATION_M:
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


# --- writing -------------------------------------------------------------------------------------------------------


def _moving_joints(motion: Motion) -> frozenset[int]:
    if motion.joint_translations_m is None:
        return frozenset()
    distance = (motion.joint_translations_m - motion.skeleton.offsets_m).abs().amax(dim=(0, 2))
    return frozenset(int(j) for j in torch.nonzero(distance > _SAME_TRANSLATION_M).flatten() if j)


def _orders(joint_names: tuple[str, ...], rotation_order: str | Mapping[str, str]) -> list[str]:
    if isinstance(rotation_order, str):
        wanted = [rotation_order] * len(joint_names)
    else:
        wanted = [order if len(order := rotation_order.get(name, "ZXY")) == 3 else "ZXY" for name in joint_names]
    for order in set(wanted):
        if sorted(order) != ["X", "Y", "Z"]:
            raise BadInputError(f"expected a rotation order with X, Y and Z once each, such as 'ZXY', got {order!r}")
    return wanted


def _hierarchy_text(
    motion: Motion, orders: list[str], moving: frozenset[int], units_per_metre: float
) -> tuple[str, list[int]]:
    """The HIERARCHY text and the joints in the order in which it names them."""
    skeleton = motion.skeleton
    children: list[list[int]] = [[] for _ in skeleton.parents]
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        children[parent].append(joint)
    lines = ["HIERARCHY"]
    joint_order: list[int] = []
    stack: list[tuple[int, int, bool]] = [(0, 0, False)]  # joint, depth, whether its block is to be closed

    def offset_line(indent: str, offset: tuple[float, ...]) -> str:
        return f"{indent}OFFSET " + " ".join(f"{x * units_per_metre:.6f}" for x in offset)

    while stack:
        joint, depth, closing = stack.pop()
        indent = "  " * min(depth, 40)  # endless chains must not make endless lines
        if closing:
            lines.append(f"{indent}}}")
            continue
        name = skeleton.joint_names[joint]
        if not name.strip() or name != name.strip() or not name.isprintable() or name[-1] == "{" or len(name) > 200:
            raise BadInputError(f"a BVH file cannot hold the joint name {name[:60]!a}; rename the joint")
        joint_order.append(joint)
        positions = "Xposition Yposition Zposition " if joint == 0 or joint in moving else ""
        rotations = " ".join(f"{axis}rotation" for axis in orders[joint])
        lines += [f"{indent}{'JOINT' if joint else 'ROOT'} {name}", f"{indent}{{"]
        lines.append(offset_line(indent + "  ", tuple(skeleton.offsets_m[joint].tolist())))
        lines.append(f"{indent}  CHANNELS {6 if positions else 3} {positions}{rotations}")
        tip = skeleton.end_sites.get(name, None if children[joint] else (0.0, 0.0, 0.0))
        if tip is not None:
            inner = indent + "  "
            lines += [f"{inner}End Site", f"{inner}{{", offset_line(inner + "  ", tip), f"{inner}}}"]
        stack.append((joint, depth, True))
        stack += [(child, depth + 1, False) for child in reversed(children[joint])]
    return "\n".join(lines) + "\n", joint_order
