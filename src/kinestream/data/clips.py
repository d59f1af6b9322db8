"""Data sets in the published layouts as training reads them: clips with captions, and motions under two prompts.

Motion files are memory-mapped, so a set may be larger than memory. What cannot be used is left out and listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import STREAM_SPLITS, statistics_folder
from kinestream.data.manifest import MANIFEST_NAME, MIX_MARK, load_manifest
from kinestream.data.sources.babel_272_stream import StreamPair, stream_pairs
from kinestream.data.sources.humanml3d_272 import ClipPart, clip_parts
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.features import Statistics


@dataclass(frozen=True)
class MotionClips:
    """Clips of one split, their weights for drawing, the data set's statistics, and what could not be used."""

    parts: list[ClipPart]
    weights: list[float]
    statistics: Statistics
    rejects: list[Reject]

    @classmethod
    def load(cls, roots: Sequence[str | Path], split: str, leave_out: Collection[str] = ()) -> MotionClips:
        """Read folders in the HumanML3D-272 layout; the first folder's statistics hold for all.

        leave_out: contents of the manifests whose clips are not taken.

        Captions that hold for a part of a clip only (start and end seconds) make a clip of that part. Where a manifest
        tells the contents, a content's weight as a whole grows with the cube root of its number of clips: rare actions
        are met more often than their share. BadInputError when a split cannot be read or nothing in it is usable.
        """
        parts, weights, rejects = [], [], []
        for root in map(Path, roots):
            found, unusable = clip_parts(root, split)
            content_of = _contents(root, split)
            found = [part for part in found if content_of.get(part.name) not in leave_out]
            weight_of = _content_weights(content_of)
            parts += found
            weights += [weight_of.get(part.name, 1.0) for part in found]
            rejects += unusable
        return cls(parts, weights, Statistics.load(statistics_folder(Path(roots[0]))), rejects)

    def features(self, index: int, start: int = 0, stop: int | None = None) -> Float[Tensor, "t 272"]:
        """Frames of a clip, un-normalised, fp32; only these frames are read."""
        part = self.parts[index]
        last = part.stop if stop is None else min(part.stop, part.start + stop)
        return _frames(part.path, part.start + start, last)


@dataclass(frozen=True)
class StreamPairs:
    """Motions under two prompts (BABEL-272-stream's layout), and what could not be used."""

    pairs: list[StreamPair]
    rejects: list[Reject]

    @classmethod
    def load(cls, roots: Sequence[str | Path], split: str) -> StreamPairs:
        """Read {split}_stream and {split}_stream_text of the folders that have them; none is no error."""
        if split not in STREAM_SPLITS:
            raise BadInputError(f"contextual pairs come in the splits {', '.join(STREAM_SPLITS)}, got {split!r}")
        pairs: list[StreamPair] = []
        rejects: list[Reject] = []
        for root in map(Path, roots):
            if (root / f"{split}_stream").is_dir():
                found, unusable = stream_pairs(root, split)
                pairs += found
                rejects += unusable
        return cls(pairs, rejects)

    def features(self, index: int) -> Float[Tensor, "t 272"]:
        """All frames of a pair, un-normalised, fp32."""
        pair = self.pairs[index]
        return _frames(pair.path, 0, pair.frames)


def _frames(path: Path, start: int, stop: int) -> Tensor:
    try:
        frames = np.array(np.load(path, mmap_mode="r", allow_pickle=False)[start:stop], dtype=np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path}: the motion file changed since the split was read: {error}") from None
    if not np.isfinite(frames).all():
        raise BadInputError(f"{path}: the clip holds NaN or infinity; remove it from the split or repair it")
    return torch.from_numpy(frames)


def _contents(root: Path, split: str) -> dict[str, str]:
    """Contents by clip name; empty without a manifest. A mix counts as its first content.

    So many combinations do not drown what was recorded.
    """
    if not (root / MANIFEST_NAME).is_file():
        return {}
    return {clip.name: clip.content.partition(MIX_MARK)[0] for clip in load_manifest(root).split_clips(split)}


def _content_weights(content_of: dict[str, str]) -> dict[str, float]:
    """(Clips of the same content)^(-2/3) relative to the mean, by clip name."""
    counts = Counter(content_of.values())
    weights = {name: float(counts[content]) ** (-2 / 3) for name, content in content_of.items()}
    mean = sum(weights.values()) / max(1, len(weights))
    return {name: weight / mean for name, weight in weights.items()}
