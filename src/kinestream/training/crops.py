"""Random crops of recordings, and held-out recordings to reconstruct: what autoencoders train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from kinestream.data.clips import MotionClips
from kinestream.features import MOTION272, held
from kinestream.training.motion_layouts import MotionLayout


class Crops:
    """Clips of the train split in a layout, each as likely as its length times its weight, and those of val.

    `converted` are the training clips in another layout than motion272, all in memory; none where they are read from
    the files.
    """

    def __init__(self, data: Sequence[str], frames: int, layout: MotionLayout) -> None:
        self.frames, self.layout = frames, layout
        self.clips, self.held_out = MotionClips.load(data, "train"), MotionClips.load(data, "val")
        self.converted: list[Tensor] = []
        if layout.layout is not MOTION272:
            count = len(self.clips.parts)
            self.converted = [layout.from_motion272(self.clips.features(index)) for index in range(count)]
        lengths = np.array([part.frames for part in self.clips.parts], dtype=np.float64)
        self._cumulative = np.cumsum(np.maximum(lengths, frames) * np.asarray(self.clips.weights))

    def draw(self, count: int, rng: np.random.Generator) -> list[Tensor]:
        """So many crops [N, D], un-normalised; shorter clips hold their last pose to the end."""
        crops = []
        for where in np.searchsorted(self._cumulative, rng.random(count) * self._cumulative[-1], side="right"):
            index = min(int(where), len(self.clips.parts) - 1)
            whole = len(self.converted[index]) if self.converted else self.clips.parts[index].frames
            start = int(rng.integers(0, max(1, whole - self.frames + 1)))
            stop = start + self.frames
            crop = self.converted[index][start:stop] if self.converted else self.clips.features(index, start, stop)
            crops.append(held(crop, self.frames, self.layout.layout))
        return crops

    def validation(self, most: int, multiple: int) -> Iterator[Tensor]:
        """Held-out clips, evenly spread over the split, cut to a multiple of so many frames."""
        for index in evenly_spread(len(self.held_out.parts), most):
            clip = self.layout.from_motion272(self.held_out.features(index))
            clip = clip[: len(clip) - len(clip) % multiple]
            if len(clip):
                yield clip


def evenly_spread(count: int, most: int) -> list[int]:
    """At most so many of the places 0 to count - 1, evenly spread, both ends among them."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))]
