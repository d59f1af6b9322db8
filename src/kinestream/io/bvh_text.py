"""The text of a BVH file: bytes to hierarchy, rate and numbers, lenient where the meaning is plain."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kinestream.errors import BadInputError
from kinestream.io.bvh_hierarchy import BvhHierarchy, parse_hierarchy
from kinestream.io.text_bytes import read_text_bytes

MAX_HEADER_BYTES = 16 * 2**20
MAX_HEADER_LINES = 400_000
MAX_JOINT_FRAMES = 20_000_000
"""Joints times frames that one file may hold (22 joints: 8 hours at 30 fps), so that memory stays bounded."""

_COMMON_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 72.0, 90.0, 100.0, 120.0, 144.0, 200.0, 240.0)
_NTSC_FPS = (24_000 / 1001, 30_000 / 1001, 60_000 / 1001, 120_000 / 1001)
Frames = Literal["needed", "if any", "not read"]

_SAME_SCALE = 1e-3
_Floats = npt.NDArray[np.float64]

# Encodings of bone names that are not UTF-8, with words that such names hold when the encoding is right.
_ENCODINGS = (
    ("cp932", ("\u5de6", "\u53f3", "\u9996", "\u982d", "\u4e0a\u534a\u8eab", "\u30bb\u30f3\u30bf\u30fc")),
    ("euc_jp", ("\u5de6", "\u53f3", "\u9996", "\u982d", "\u4e0a\u534a\u8eab", "\u30bb\u30f3\u30bf\u30fc")),
    ("gb18030", ("\u5de6", "\u53f3", "\u5934", "\u9888", "\u624b", "\u817f")),
    ("big5", ("\u5de6", "\u53f3", "\u982d", "\u9838", "\u624b", "\u817f")),
    ("euc_kr", ("\uc67c", "\uc624\ub978", "\uba38\ub9ac", "\ubaa9", "\ud314", "\ub2e4\ub9ac")),
)


@dataclass(frozen=True)
class BvhText:
    """A BVH file's hierarchy (in file units), rate, numbers [frames, channels], and what was odd about its text.

    `values` is None where there are no frames, or they were not to be read.
    """

    hierarchy: BvhHierarchy
    fps: float
    values: _Floats | None
    warnings: tuple[str, ...]


def read_bvh_text(path: Path, *, fps: float | None = None, frames: Frames = "needed") -> BvhText:
    """Read a file's text; `fps` replaces the rate that it says. `frames` says whether a file may lack them, and "not
    read" does not even look at them.

    BadInputError, with the line where there is one, for files that are no whole, sound BVH.
    """
    data = read_text_bytes(path, "BVH")
    found = _MOTION_LINE.search(data, 0, MAX_HEADER_BYTES)
    notes: list[str] = []
    hierarchy = _hierarchy(data, found.start() if found else None, path, notes)
    if found is None:
        raise BadInputError(f"{path}: no MOTION line after the hierarchy; the file was cut off")
    line = _FRAMES_LINE.match(data, found.end())
    if frames == "not read" or (frames == "if any" and line is not None and int(line[1]) == 0):
        return BvhText(hierarchy, 0.0, None, tuple(notes))
    count, rate, start = _motion_header(data, found.end(), path, fps)
    values = _values(data, start, count, hierarchy, path, notes)
    return BvhText(hierarchy, rate, _without_scale(values, hierarchy, path), tuple(notes))


_MOTION_LINE = re.compile(rb"(?:^|[\r\n])[ \t]*MOTION[ \t]*(?=[\r\n]|\Z)", re.IGNORECASE)
_FRAMES_LINE = re.compile(rb"\s*Frames[ \t]*:[ \t]*(\d{1,15})[ \t]*(?=[\r\n]|\Z)", re.IGNORECASE)
_FRAME_TIME_LINE = re.compile(rb"\s*Frame[ \t]*Time[ \t]*:[ \t]*(\S{1,40})[ \t]*(?=[\r\n]|\Z)", re.IGNORECASE)
_COMMA_OFFSET = re.compile(rb"^[ \t]*OFFSET[ \t]+-?\d+,\d", re.IGNORECASE | re.MULTILINE)


def _hierarchy(data: bytes, end: int | None, path: Path, notes: list[str]) -> BvhHierarchy:
    header = data[: MAX_HEADER_BYTES if end is None else end]
    if header.count(b"\n") + header.count(b"\r") > MAX_HEADER_LINES:
        raise BadInputError(f"{path}: no MOTION line in the first {MAX_HEADER_LINES} lines")
    commas = _COMMA_OFFSET.search(header) is not None
    # Not str.splitlines: that also breaks lines at characters which may stand in names.
    lines = re.split(r"\r\n|\n|\r", _decoded(header, path, notes))
    hierarchy, odd = parse_hierarchy(lines, str(path), commas=commas)
    notes += odd
    return hierarchy


def _decoded(header: bytes, path: Path, notes: list[str]) -> str:
    try:
        return header.decode("utf-8")
    except UnicodeDecodeError:
        pass
    for encoding, words in _ENCODINGS:
        try:
            text = header.decode(encoding)
        except UnicodeDecodeError:
            continue
        if any(word in text for word in words):
            notes.append(f"{path}: the bones' names are not UTF-8; they are read as {encoding}")
            return text
    notes.append(f"{path}: the bones' names are not UTF-8; they are read as Latin-1")
    return header.decode("latin-1")


def _line_number(data: bytes, position: int) -> int:
    head = data[:position]
    return 1 + head.count(b"\n") + head.count(b"\r") - head.count(b"\r\n")


def _motion_header(data: bytes, start: int, path: Path, given_fps: float | None) -> tuple[int, float, int]:
    """(frames, fps, where the numbers begin)."""
    line = _FRAMES_LINE.match(data, start)
    if not line:
        raise _bad_line(data, start, path, "expected 'Frames: COUNT' after MOTION")
    frames = int(line[1])
    if frames == 0:
        raise BadInputError(f"{path}, line {_line_number(data, line.end())}: the file has no frames")
    time_line = _FRAME_TIME_LINE.match(data, line.end())
    try:
        fps = _fps_from_frame_time(time_line[1].decode("ascii").replace(",", ".")) if time_line else None
    except (UnicodeDecodeError, ValueError):
        fps = None
    if time_line is None or (fps is None and given_fps is None):
        message = (
            "expected 'Frame Time: SECONDS' (between 0.00001 and 10,000) after Frames; mend the line, or say the rate "
            "(--input-fps 30, or fps=30)"
        )
        raise _bad_line(data, line.end(), path, message)
    rate = fps if given_fps is None else given_fps
    assert rate is not None
    return frames, rate, time_line.end()


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


def _values(data: bytes, start: int, frames: int, hierarchy: BvhHierarchy, path: Path, notes: list[str]) -> _Floats:
    """The figure's numbers as [frames, channels]; memory is bounded by the file's size, whatever it announces."""
    channels = hierarchy.num_channels + hierarchy.other_channels
    if hierarchy.num_channels == 0:
        raise BadInputError(f"{path}: no joint has CHANNELS, so the file holds no motion")
    body = _with_points(data[start:], path, notes)
    # Bytes above the space begin a token where the byte before is not one.
    inked = np.frombuffer(body, dtype=np.uint8) > 32
    count = int(np.count_nonzero(inked[1:] & ~inked[:-1])) + int(inked[:1].sum())
    held = count // channels
    if count != held * channels or abs(held - frames) > 1 or held == 0:
        raise _wrong_count(data, start, count, frames, channels, path)
    if held != frames:
        notes.append(f"{path}: the file announces {frames} frames and holds {held}; what it holds is read")
    if held * len(hierarchy.joint_names) > MAX_JOINT_FRAMES:
        raise BadInputError(
            f"{path}: {held} frames of {len(hierarchy.joint_names)} joints are too many for one file; cut it in parts"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # older numpy only warns of trailing garbage
            values = np.fromstring(body, dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        values = np.empty(0)
    if values.size != count or not np.isfinite(values).all():
        raise _bad_number(body, _line_number(data, start), channels, hierarchy, path)
    return values.reshape(held, channels)[:, : hierarchy.num_channels]


def _with_points(body: bytes, path: Path, notes: list[str]) -> bytes:
    """Decimal commas ("0,5 1,25") as points, and commas between numbers ("0.5, 1.25") as spaces."""
    if b"," not in body:
        return body
    if b"." in body:
        notes.append(f"{path}: commas stand between the numbers; they are read as spaces")
        return body.replace(b",", b" ")
    notes.append(f"{path}: numbers are written with decimal commas; they are read as points")
    return body.replace(b",", b".")


def _without_scale(values: _Floats, hierarchy: BvhHierarchy, path: Path) -> _Floats:
    """The numbers, once scale channels are known to leave the body as it is."""
    column = 0
    for name, channels in zip(hierarchy.joint_names, hierarchy.channels, strict=True):
        for kind, axis in channels:
            if kind == "scale" and np.abs(values[:, column] - 1.0).max() > _SAME_SCALE:
                raise BadInputError(
                    f"{path}: joint {name!a} is scaled along {axis} (up to {np.abs(values[:, column]).max():g}); bones "
                    "that change their size are not supported. Export without scale channels, or bake the scale"
                )
            column += 1
    return values


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


def _bad_number(body: bytes, first_line: int, channels: int, hierarchy: BvhHierarchy, path: Path) -> BadInputError:
    labels = [
        f"{axis}{kind} of {name!a}"
        for name, joint_channels in zip(hierarchy.joint_names, hierarchy.channels, strict=True)
        for kind, axis in joint_channels
    ]
    for index, found in enumerate(_WORD.finditer(body)):
        word = found[0]
        try:
            good = math.isfinite(float(word)) and b"_" not in word
        except ValueError:
            good = False
        if not good:
            column = index % channels
            label = labels[column] if column < len(labels) else "another figure"
            line = first_line - 1 + _line_number(body, found.start())
            return BadInputError(
                f"{path}, line {line}: expected finite numbers, got {word[:40].decode('latin-1')!a} as {label} in "
                f"frame {index // channels + 1}; write a number there (the frame's before, say), or delete the frame "
                "and lower Frames by one"
            )
    return BadInputError(f"{path}: the frames are not plain numbers")
