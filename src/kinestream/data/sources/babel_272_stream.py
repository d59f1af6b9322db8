"""Data sets in the BABEL-272-stream layout: motions under two texts, `A*B#length` with the frames of A as length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kinestream.data.layout import STREAM_SPLITS, read_stream_lines, safe_name
from kinestream.data.sources.humanml3d_272 import feature_count
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError

SOURCE_NAME = "babel-272-stream"


@dataclass(frozen=True)
class StreamPair:
    """A motion file whose first `frames_before` of `frames` show `before`, the rest `after`."""

    name: str
    path: Path
    before: str
    after: str
    frames_before: int
    frames: int


def stream_pairs(root: str | Path, split: str) -> tuple[list[StreamPair], list[Reject]]:
    """All usable pairs of a split ("train" or "val"), one for each text line, and what is not usable and why.

    BadInputError when the folders are missing or nothing in them is usable.
    """
    root = Path(root)
    if split not in STREAM_SPLITS:
        raise BadInputError(f"contextual pairs come in the splits {', '.join(STREAM_SPLITS)}, got {split!r}")
    motions, texts = root / f"{split}_stream", root / f"{split}_stream_text"
    if not motions.is_dir() or not texts.is_dir():
        raise BadInputError(f"{root}: expected the folders {motions.name} and {texts.name}")
    pairs: list[StreamPair] = []
    rejects: list[Reject] = []
    for path in sorted(motions.glob("*.npy")):
        try:
            frames = feature_count(path)
            lines = read_stream_lines(texts / f"{safe_name(path.stem)}.txt")
        except BadInputError as error:
            rejects.append(Reject(path.stem, SOURCE_NAME, str(error)))
            continue
        for line in lines:
            if 0 < line.frames_before < frames:
                pairs.append(StreamPair(path.stem, path, line.before, line.after, line.frames_before, frames))
            else:
                reason = f"the first text has {line.frames_before} of {frames} frames, nothing is left for the other"
                rejects.append(Reject(path.stem, SOURCE_NAME, reason))
    if not pairs:
        reason = rejects[0].reason if rejects else "no .npy files"
        raise BadInputError(f"{motions}: no usable pair; the first reason: {reason}")
    return pairs, rejects
