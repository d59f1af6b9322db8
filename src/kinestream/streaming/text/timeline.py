"""What a session remembers of the latents it made: bounded, and enough to go back to any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features import RootState
from kinestream.inference.networks import DecoderState
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.text.control import Control

# A decoder state is kept after every so many latents; going back replays at most that many.
SNAPSHOT_EVERY = 16


@dataclass(frozen=True, eq=False)
class Record:
    """A step's chunk and what going on after it needs; `feet` where they are locked, `decoder` where a snapshot is."""

    chunk: Chunk
    control: Control
    root: RootState
    feet: FootLockState | None
    decoder: DecoderState | None


class Timeline:
    """The newest records of a stream, numbered like its latents.

    Args:
        rewindable: latents that can be gone back.
        look_back: latents before a moment that making the next one needs (the model's context).
    """

    def __init__(self, rewindable: int, look_back: int) -> None:
        self._look_back = look_back
        self._capacity = rewindable + look_back + SNAPSHOT_EVERY
        self._records: list[Record] = []
        self._first = 0

    @property
    def first(self) -> int:
        """Index of the oldest record that is kept."""
        return self._first

    @property
    def end(self) -> int:
        """Index of the next latent."""
        return self._first + len(self._records)

    @property
    def earliest(self) -> int:
        """The oldest moment (latent index) from which the stream can go on."""
        return 0 if self._first == 0 else min(self._first + self._look_back, self.end)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __getitem__(self, index: int) -> Record:
        assert self._first <= index < self.end, "the record was dropped or is not made yet"
        return self._records[index - self._first]

    def append(self, record: Record) -> None:
        """Add the next record; drops the oldest, a block at a time, when there are too many."""
        self._records.append(record)
        if len(self._records) >= self._capacity + SNAPSHOT_EVERY:
            del self._records[:SNAPSHOT_EVERY]
            self._first += SNAPSHOT_EVERY

    def truncate(self, end: int) -> None:
        """Forget the records from `end` on."""
        assert self.earliest <= end <= self.end, "only a kept moment can be gone back to"
        del self._records[end - self._first :]

    def latents(self, start: int, stop: int) -> Float[Tensor, "l c"]:
        """Latents `start` to `stop` (exclusive)."""
        return torch.stack([self[index].chunk.tokens for index in range(start, stop)])

    def features(self, start: int, stop: int) -> Float[Tensor, "t 272"]:
        """Features of the latents `start` to `stop` (exclusive)."""
        return torch.cat([self[index].chunk.features for index in range(start, stop)])

    def snapshot(self, end: int) -> tuple[int, DecoderState | None]:
        """The newest decoder state at or before the moment `end`: (moment, state); (0, None) before any latent."""
        for index in range(end - 1, self._first - 1, -1):
            state = self[index].decoder
            if state is not None:
                return index + 1, state
        assert self._first == 0, "a block that was dropped always leaves a snapshot behind"
        return 0, None

    def copy(self) -> Timeline:
        """The same records in a timeline of its own; records are immutable and shared."""
        twin = Timeline(self._capacity - self._look_back - SNAPSHOT_EVERY, self._look_back)
        twin._records, twin._first = list(self._records), self._first
        return twin

    def restore(self, first: int, records: list[Record]) -> None:
        """Take over records that were saved."""
        self._records, self._first = list(records), first


def keeps_snapshot(index: int) -> bool:
    """Whether the decoder's state after the latent `index` is kept."""
    return index % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1
