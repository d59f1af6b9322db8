"""A BVH file with some frames changed: all other bytes stay as they are."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinestream.io.atomic import atomic_path
from kinestream.io.bvh_hierarchy import BvhHierarchy
from kinestream.io.bvh_text import BvhText, read_bvh_text
from kinestream.io.bvh_writing import write_bvh
from kinestream.io.motion_file import BvhLayout
from kinestream.io.text_bytes import read_text_bytes
from kinestream.motion import Motion

_FRAME_TIME = re.compile(rb"Frame[ \t]*Time[ \t]*:[ \t]*\S+[ \t]*(?:\r\n|\n|\r)", re.IGNORECASE)
# Numbers that differ by less are the same when written.
_SAME = 2e-6

_Floats = npt.NDArray[np.float64]
_Column = tuple[str, str, str]


def write_bvh_changes(
    source: Path, target: str | os.PathLike[str], before: Motion, after: Motion, layout: BvhLayout,
    spans: Sequence[tuple[int, int]],
) -> bool:  # fmt: skip
    """Write the source file with the frames of the spans [start, stop) as `after` has them where it differs.

    `before` is the motion that was read from the source, `layout` its layout. Numbers that did not change, and all
    frames outside the spans, keep their very text; changed ones go on from the source's own numbers, so its OFFSETs,
    whole turns and further channels stay good. Gives False, with nothing written, where the source does not have one
    line a frame or one rate; the caller writes a whole file then.
    """
    data = read_text_bytes(source, "BVH")
    text = read_bvh_text(source)
    header = _FRAME_TIME.search(data)
    if header is None or text.values is None or len(text.values) != before.num_frames:
        return False
    lines = data[header.end() :].splitlines(keepends=True)
    width = text.hierarchy.num_channels + text.hierarchy.other_channels
    rows = [number for number, line in enumerate(lines) if line.strip()]
    if len(rows) != before.num_frames or any(len(lines[number].split()) != width for number in rows):
        return False
    columns = _columns(text.hierarchy)
    was, now = (_written(motion, layout) for motion in (before, after))
    for start, stop in spans:
        for frame in range(start, stop):
            number = rows[frame]
            lines[number] = _changed(lines[number], columns, text.values[frame], *(one(frame) for one in (was, now)))
    with atomic_path(target) as temporary:
        temporary.write_bytes(data[: header.end()] + b"".join(lines))
    return True


def _columns(hierarchy: BvhHierarchy) -> list[_Column]:
    """Joint, kind and axis of each number of a line."""
    return [
        (name, kind, axis)
        for name, channels in zip(hierarchy.joint_names, hierarchy.channels, strict=True)
        for kind, axis in channels
    ]


class _Rows:
    """A motion's numbers by frame as our writer writes them, found by joint, kind and axis."""

    def __init__(self, text: BvhText) -> None:
        assert text.values is not None, "a motion has frames"
        self.values = text.values
        self.place = {column: place for place, column in enumerate(_columns(text.hierarchy))}

    def __call__(self, frame: int) -> dict[_Column, float]:
        row = self.values[frame]
        return {column: float(row[place]) for column, place in self.place.items()}


def _written(motion: Motion, layout: BvhLayout) -> _Rows:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "motion.bvh"
        write_bvh(motion, path, layout=layout)
        return _Rows(read_bvh_text(path))


def _changed(
    line: bytes, columns: Sequence[_Column], given: _Floats, was: dict[_Column, float], now: dict[_Column, float]
) -> bytes:
    """The line with what differs between `was` and `now` changed by as much."""
    parts = re.split(rb"(\S+)", line)  # numbers stand at the odd places, what is between them at the even ones
    # Another triple of angles may stand for the same rotation: then the source's numbers cannot be gone on from.
    other = {
        column[0]
        for column, value in zip(columns, given, strict=True)
        if column[1] == "rotation" and column in was and abs(_turned(float(value) - was[column])) > 1e-3
    }
    moved = {column[0] for column in now if abs(_change(column, was, now)) > _SAME}
    for place, column in enumerate(columns):
        joint, kind, _ = column
        if column not in now or joint not in moved:
            continue
        value = float(given[place])
        if kind == "rotation" and joint in other:
            value += _turned(now[column] - value)
        elif abs(_change(column, was, now)) > _SAME:
            value += _change(column, was, now)
        else:
            continue
        parts[2 * place + 1] = b"%.6f" % value
    return b"".join(parts)


def _change(column: _Column, was: dict[_Column, float], now: dict[_Column, float]) -> float:
    change = now[column] - was[column]
    return _turned(change) if column[1] == "rotation" else change


def _turned(degrees: float) -> float:
    """An angle between -180 and 180 degrees."""
    return (degrees + 180.0) % 360.0 - 180.0
