"""Torch datasets over the published layouts: clips with a caption, crops for the autoencoder, contextual pairs.

Files are memory-mapped, so that sets larger than memory can be used. What a sample is depends on the dataset's seed,
the epoch and the index alone: workers and their number change nothing.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from kinestream.data.layout import read_features, statistics_folder
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.data.sources.babel_272_stream import StreamPair, stream_pairs
from kinestream.data.sources.humanml3d_272 import ClipPart, clip_parts
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics

# The paper's lengths for the autoregressive model and the autoencoder's crops (section 4.1 and appendix A).
MIN_FRAMES = 40
MAX_FRAMES = 300
CROP_FRAMES = 64


@dataclass(frozen=True, eq=False)
class MotionSample:
    """Normalised features; the first `history` frames only condition. `ends`: the motion is over afterwards."""

    features: Float[Tensor, "t 272"]
    caption: str
    name: str
    history: int = 0
    ends: bool = True


class MotionDataset(Dataset[MotionSample]):
    """Clips of one split in the HumanML3D-272 layout, normalised by `statistics` (the folder's own by default).

    With `crop` every sample is a random window of that many frames (shorter clips hold their last pose); without, it
    is the clip, or a random window of `max_frames` when it is longer. Clips shorter than `min_frames` are left out.
    `rejects` tells what could not be used. BadInputError when nothing can.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        crop: int | None = None,
        min_frames: int = MIN_FRAMES,
        max_frames: int = MAX_FRAMES,
        statistics: Statistics | None = None,
        seed: int = 0,
    ) -> None:
        if not 1 <= min_frames <= max_frames or (crop is not None and crop < 1):
            got = f"{min_frames}, {max_frames} and {crop}"
            raise BadInputError(f"expected 1 <= min_frames <= max_frames and a crop of at least 1, got {got}")
        parts, self.rejects = clip_parts(root, split)
        self.parts: list[ClipPart] = [part for part in parts if part.frames >= min_frames]
        if not self.parts:
            raise BadInputError(f"{root}: no clip of the split {split!r} has {min_frames} frames or more")
        self.statistics = statistics or Statistics.load(statistics_folder(Path(root)))
        self.crop, self.max_frames, self.seed, self.epoch = crop, max_frames, seed, 0
        self._root = Path(root)

    def set_epoch(self, epoch: int) -> None:
        """Other crops and captions for another pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> MotionSample:
        part = self.parts[index]
        rng = _rng(self.seed, self.epoch, part.name, part.start)
        wanted = self.crop or min(part.frames, self.max_frames)
        start = part.start + rng.randint(0, max(0, part.frames - wanted))
        features = _window(part.path, start, min(start + wanted, part.stop))
        if len(features) < wanted:
            features = held(features, wanted)
        caption = rng.choice(part.captions)
        ends = start + wanted >= part.stop
        return MotionSample(self.statistics.normalize(features), caption, part.name, ends=ends)

    def weights(self) -> list[float]:
        """How often each clip should be drawn: 1 / sqrt(clips of its content), from the manifest; 1 without one."""
        if not (self._root / MANIFEST_NAME).is_file():
            return [1.0] * len(self.parts)
        contents = {clip.name: clip.content for clip in load_manifest(self._root).clips}
        labels = [contents.get(part.name, part.name) for part in self.parts]
        counts = Counter(labels)
        return [counts[label] ** -0.5 for label in labels]


class StreamPairDataset(Dataset[MotionSample]):
    """Contextual pairs of one split in the BABEL-272-stream layout: the second caption, its motion and the history.

    `max_frames` bounds history and motion together: the oldest history goes first. `statistics` are needed, because the
    published folder has none. BadInputError when there is no usable pair.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        statistics: Statistics,
        *,
        min_frames: int = MIN_FRAMES,
        max_frames: int = MAX_FRAMES,
        frames_per_latent: int = 4,
    ) -> None:
        pairs, self.rejects = stream_pairs(root, split)
        self.pairs: list[StreamPair] = [pair for pair in pairs if pair.frames >= min_frames]
        if not self.pairs:
            raise BadInputError(f"{root}: no pair of the split {split!r} has {min_frames} frames or more")
        self.statistics, self.max_frames, self.frames_per_latent = statistics, max_frames, frames_per_latent

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> MotionSample:
        pair = self.pairs[index]
        after = min(pair.frames - pair.frames_before, self.max_frames - self.frames_per_latent)
        room = min(pair.frames_before, self.max_frames - after)
        history = room // self.frames_per_latent * self.frames_per_latent
        features = _window(pair.path, pair.frames_before - history, pair.frames_before + after)
        ends = pair.frames_before + after == pair.frames
        return MotionSample(self.statistics.normalize(features), pair.after, pair.name, history, ends)


def held(features: Float[Tensor, "t 272"], count: int) -> Float[Tensor, "n 272"]:
    """The features with their last pose held, standing still, up to `count` frames."""
    last = features[-1:].clone()
    last[:, MOTION272.slices["root_velocity"]] = 0.0
    last[:, MOTION272.slices["velocities"]] = 0.0
    still = torch.tensor((1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    last[:, MOTION272.slices["heading_change_rot6d"]] = still
    return torch.cat((features, last.expand(count - len(features), -1)))


def _window(path: Path, start: int, stop: int) -> Float[Tensor, "t 272"]:
    return torch.from_numpy(np.array(read_features(path, mmap=True)[start:stop]))


def _rng(seed: int, epoch: int, name: str, start: int) -> random.Random:
    digest = hashlib.sha256(f"{seed} {epoch} {name} {start}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
