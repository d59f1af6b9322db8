"""A split of a built data set in memory: what the training recipes read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kinestream.data.layout import (
    MOTION_FOLDER,
    STREAM_SPLITS,
    TEXT_FOLDER,
    read_features,
    read_split,
    read_stream_lines,
    read_text_lines,
    statistics_folder,
)
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.errors import BadInputError
from kinestream.features import Statistics


@dataclass(frozen=True)
class MotionClips:
    """Clips of one split: features [T, 272] (un-normalised, fp32), names, captions, and the data set's statistics."""

    features: list[Tensor]
    names: list[str]
    captions: list[list[str]]
    statistics: Statistics
    weights: list[float]

    @classmethod
    def load(cls, roots: Sequence[str | Path], split: str) -> MotionClips:
        """Read folders in the HumanML3D-272 layout; the first folder's statistics hold for all.

        Captions that hold for a part of a clip only (start and end seconds) make a clip of that part.
        Where a manifest tells the contents, a content's weight as a whole grows with the root of its number of clips:
        rare actions are met more often than their share. BadInputError when a folder, its split file or a clip is
        missing or unsound.
        """
        features, names, captions, weights = [], [], [], []
        for root in map(Path, roots):
            weight_of = _content_weights(root, split)
            for name in read_split(root, split):
                clip = torch.from_numpy(read_features(root / MOTION_FOLDER / f"{name}.npy"))
                parts: dict[tuple[int, int], list[str]] = {}
                for line in read_text_lines(root / TEXT_FOLDER / f"{name}.txt"):
                    start, stop = round(line.start_s * 30.0), round(line.end_s * 30.0) or len(clip)
                    parts.setdefault((start, min(stop, len(clip))), []).append(line.caption)
                for (start, stop), lines in parts.items():
                    if stop > start:
                        features.append(clip[start:stop])
                        names.append(name)
                        weights.append(weight_of.get(name, 1.0))
                        captions.append(lines)
        return cls(features, names, captions, Statistics.load(statistics_folder(Path(roots[0]))), weights)


def _content_weights(root: Path, split: str) -> dict[str, float]:
    """1 / sqrt(clips of the same content) relative to the mean, by clip name; empty without a manifest."""
    if not (root / MANIFEST_NAME).is_file():
        return {}
    clips = load_manifest(root).split_clips(split)
    counts = Counter(clip.content for clip in clips)
    mean = sum(counts[clip.content] ** -0.5 for clip in clips) / max(1, len(clips))
    return {clip.name: counts[clip.content] ** -0.5 / mean for clip in clips}


@dataclass(frozen=True)
class StreamPairs:
    """Motions under two prompts: features [T, 272], the captions of both parts and the frames of the first."""

    features: list[Tensor]
    before: list[str]
    after: list[str]
    frames_before: list[int]

    @classmethod
    def load(cls, roots: Sequence[str | Path], split: str) -> StreamPairs:
        """Read {split}_stream and {split}_stream_text (BABEL-272-stream's layout) where a folder has them."""
        pairs = cls([], [], [], [])
        if split not in STREAM_SPLITS:
            raise BadInputError(f"contextual pairs come in the splits {', '.join(STREAM_SPLITS)}, got {split!r}")
        for root in map(Path, roots):
            for path in sorted((root / f"{split}_stream").glob("*.npy")):
                clip = torch.from_numpy(read_features(path))
                for line in read_stream_lines(root / f"{split}_stream_text" / f"{path.stem}.txt"):
                    pairs.features.append(clip)
                    pairs.before.append(line.before)
                    pairs.after.append(line.after)
                    pairs.frames_before.append(min(line.frames_before, len(clip)))
        return pairs
