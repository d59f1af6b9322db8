"""Data sets in the HumanML3D-272 layout, as MotionStreamer publishes it and as our own build writes it.

The published sets are not perfect: some names of a split have no motion file, some time tags are nan or empty ranges.
Reading a split therefore gives what can be used, and a reject with its reason for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinestream.data.layout import MOTION_FOLDER, TEXT_FOLDER, TextLine, read_split, read_text_lines
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.features import MOTION272

SOURCE_NAME = "humanml3d-272"


@dataclass(frozen=True)
class ClipPart:
    """The frames `start` to `stop` of a motion file and the captions that hold for them."""

    name: str
    path: Path
    start: int
    stop: int
    captions: tuple[str, ...]

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return self.stop - self.start


def clip_parts(root: str | Path, split: str) -> tuple[list[ClipPart], list[Reject]]:
    """All usable parts of a split, in its order, and what is not usable and why.

    A caption with the time tags 0 and 0 holds for the whole file; captions with other tags make parts of their own.
    Only files' headers are read. BadInputError when the split itself cannot be read or nothing in it is usable.
    """
    root = Path(root)
    parts: list[ClipPart] = []
    rejects: list[Reject] = []
    for name in dict.fromkeys(read_split(root, split)):
        try:
            path = root / MOTION_FOLDER / f"{name}.npy"
            found = list(_parts(name, path, feature_count(path), read_text_lines(root / TEXT_FOLDER / f"{name}.txt")))
        except BadInputError as error:
            rejects.append(Reject(name, SOURCE_NAME, str(error)))
            continue
        parts += found
        if not found:
            rejects.append(Reject(name, SOURCE_NAME, "all its captions have empty time ranges"))
    if not parts:
        reason = rejects[0].reason if rejects else "no names"
        raise BadInputError(f"{root}: nothing usable in the split {split!r}; the first reason: {reason}")
    return parts, rejects


def feature_count(path: Path) -> int:
    """Frames in a motion file, from its header and size alone; BadInputError when it is none."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BadInputError(f"{path.name}: there is no such motion file") from None
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, SyntaxError) as error:
        raise BadInputError(f"{path.name}: not a complete .npy array: {str(error)[:200]}") from None
    if (
        not isinstance(array, np.ndarray)
        or array.ndim != 2
        or array.shape[1] != MOTION272.width
        or array.dtype.kind != "f"
    ):
        raise BadInputError(
            f"{path.name}: expected floating point [T, {MOTION272.width}], got {getattr(array, 'shape', None)}"
        )
    return int(array.shape[0])


def _parts(name: str, path: Path, frames: int, lines: list[TextLine]) -> Iterator[ClipPart]:
    ranges: dict[tuple[int, int], list[str]] = {}
    for line in lines:
        start = int(line.start_s * MOTION272.fps)
        stop = int(line.end_s * MOTION272.fps) if line.end_s > 0 else frames
        ranges.setdefault((start, min(stop, frames)), []).append(line.caption)
    for (start, stop), captions in ranges.items():
        if stop > start:
            yield ClipPart(name, path, start, stop, tuple(captions))
