"""The published folder layouts: where files lie, and how their text lines read.

HumanML3D-272: `motion_data/NAME.npy` [T, 272] un-normalised, `texts/NAME.txt` with `caption#tokens#start#end` lines
(seconds; 0 and 0 mean the whole clip), `split/{train,val,test}.txt`, `mean_std/{Mean,Std}.npy`. BABEL-272-stream:
`{train,val}_stream/NAME.npy` and `{train,val}_stream_text/NAME.txt` with lines `A*B#...#length`, where the first
`length` frames show A and the rest B.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.io.atomic import atomic_path

MOTION_FOLDER = "motion_data"
TEXT_FOLDER = "texts"
SPLIT_FOLDER = "split"
STATISTICS_FOLDERS = ("mean_std", "t2m_babel_mean_std")
STREAM_SPLITS = ("train", "val")
MAX_TEXT_BYTES = 4 * 2**20
_NPY_HEADER_BYTES = 128


@dataclass(frozen=True)
class TextLine:
    """One caption of (a part of) a clip; `end_s` 0 means up to the end."""

    caption: str
    start_s: float = 0.0
    end_s: float = 0.0


@dataclass(frozen=True)
class StreamLine:
    """Captions before and after a switch, and the number of frames before it."""

    before: str
    after: str
    frames_before: int


def safe_name(name: str) -> str:
    """The name itself; BadInputError when it would leave its folder or is no plain file name."""
    if not name or len(name) > 200 or name.startswith(".") or any(c in name for c in "/\\:\0\n\r"):
        raise BadInputError(f"refused the name {name[:80]!r}: expected a plain file name without folders")
    return name


def read_split(root: Path, split: str) -> list[str]:
    """Names of a split's clips; BadInputError when the file is missing, empty or holds unsafe names."""
    path = root / SPLIT_FOLDER / f"{safe_name(split)}.txt"
    names = [line.strip() for line in _read_text(path).splitlines()]
    names = [safe_name(name) for name in names if name]
    if not names:
        raise BadInputError(f"{path}: the split is empty; expected one clip name a line")
    return names


def read_text_lines(path: Path) -> list[TextLine]:
    """The captions in a texts/ file; BadInputError when it is missing or has none that can be read."""
    lines = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        caption, *rest = line.strip().split("#")
        if not caption.strip():
            raise BadInputError(f"{path}, line {number}: expected `caption#tokens#start#end`, the caption is empty")
        start, end = (_seconds(rest[-2]), _seconds(rest[-1])) if len(rest) >= 3 else (0.0, 0.0)
        lines.append(TextLine(caption.strip(), start, end))
    if not lines:
        raise BadInputError(f"{path}: expected lines `caption#tokens#start#end`, found none")
    return lines


def text_line(line: TextLine) -> str:
    """A line for a texts/ file; tokens are words without their part of speech."""
    caption = " ".join(line.caption.replace("#", " ").replace("*", " ").split())
    tokens = " ".join(f"{word.strip('.,')}/OTHER" for word in caption.split())
    return f"{caption}#{tokens}#{line.start_s:.3f}#{line.end_s:.3f}"


def read_stream_lines(path: Path) -> list[StreamLine]:
    """The lines of a *_stream_text/ file; BadInputError when none can be read."""
    lines = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        before, star, rest = line.strip().partition("*")
        after, *fields = rest.split("#")
        try:
            length = int(fields[-1])
        except (IndexError, ValueError):
            length = -1
        if not star or length < 0:
            raise BadInputError(f"{path}, line {number}: expected `A*B#length`, got {line.strip()[:80]!r}")
        if after.strip():
            lines.append(StreamLine(before.split("#")[0].strip(), after.strip(), length))
    if not lines:
        raise BadInputError(f"{path}: expected lines `A*B#length`, found none with a second text")
    return lines


def stream_line(line: StreamLine) -> str:
    """A line for a *_stream_text/ file."""
    before, after = (text.replace("#", " ").replace("*", " ") for text in (line.before, line.after))
    return f"{before}*{after}#{line.frames_before}"


def read_features(path: Path, *, mmap: bool = False) -> NDArray[np.float32]:
    """Features [T, 272] fp32 of one clip; BadInputError for damaged files, other shapes, NaN and infinity."""
    try:
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, SyntaxError) as error:
        raise BadInputError(f"{path}: expected a .npy array [T, {MOTION272.width}]: {str(error)[:200]}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != MOTION272.width or array.shape[0] < 1:
        shape = getattr(array, "shape", None)
        raise BadInputError(f"{path}: expected an array [T, {MOTION272.width}] of motion272 features, got {shape}")
    if array.dtype.kind != "f":
        raise BadInputError(f"{path}: expected floating point values, got {array.dtype}")
    if not np.isfinite(array).all():
        raise BadInputError(f"{path}: the clip holds NaN or infinity; remove it from the split or repair it")
    return array if array.dtype == np.float32 else array.astype(np.float32)


def write_features(path: Path, features: Tensor) -> None:
    """Write a motion file [T, 272], whole or not at all."""
    with atomic_path(path) as fresh:
        np.save(fresh, features.numpy())


def has_features(path: Path, frames: int) -> bool:
    """Whether a motion file that `write_features` wrote is there, whole (by its size)."""
    return path.is_file() and path.stat().st_size == _NPY_HEADER_BYTES + frames * MOTION272.width * 4


def write_text_lines(path: Path, lines: Iterable[TextLine]) -> None:
    """Write a texts/ file, whole or not at all."""
    with atomic_path(path) as fresh:
        fresh.write_text("".join(text_line(line) + "\n" for line in lines), encoding="utf-8")


def statistics_folder(root: Path) -> Path:
    """The folder with Mean.npy and Std.npy; BadInputError when there is none."""
    for name in STATISTICS_FOLDERS:
        if (root / name / "Mean.npy").is_file():
            return root / name
    raise BadInputError(f"{root}: found no mean_std/Mean.npy and mean_std/Std.npy")


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise BadInputError(f"{path}: expected a text file of at most {MAX_TEXT_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8", errors="strict")
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _seconds(field: str) -> float:
    """A time tag; what is no number counts as 0, as in the published data where some are nan."""
    try:
        value = float(field)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
