"""What sampling codes asks of the network: slots in which windows are read, and the next codes' logits."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Positions that are read at once at a window's beginning: what a reader needs room for, and what others wait for.
BLOCK = 64


class CacheSlot:
    """Where one window is read: its row in the caches, and how many positions it holds."""

    def __init__(self, row: int) -> None:
        self.row = row
        self.length = 0


class CacheSlots(ABC):
    """Windows that are read together, each at its own position, with KV caches of a whole window each.

    A slot belongs to who holds it: one that nobody holds any more is given away again. Without any slot there are no
    caches. Used by one caller at a time.
    """

    def __init__(self) -> None:
        self._slots: list[weakref.ref[CacheSlot]] = []
        self._room = 0

    def open(self) -> CacheSlot:
        """The first free slot, at the beginning of a window."""
        self._trim()
        row = next((row for row, slot in enumerate(self._slots) if slot() is None), len(self._slots))
        slot = CacheSlot(row)
        self._slots[row : row + 1] = [weakref.ref(slot)]
        if len(self._slots) > self._room:
            self._room = max(len(self._slots), 2 * self._room)
            self._resize(self._room)
        return slot

    def close(self, slot: CacheSlot) -> None:
        """Give a slot back; nobody reads there any more."""
        self._slots[slot.row] = _NOBODY
        self._trim()

    def read(self, inputs: Float[Tensor, "b n h"], slots: Sequence[CacheSlot]) -> Float[Tensor, "b h"]:
        """Read the next n positions in each of these slots; gives the last ones' outputs.

        There has to be room: a slot takes the positions of one window. Rows between those slots are computed for
        nothing, and left as they were.
        """
        first, stop = min(slot.row for slot in slots), max(slot.row for slot in slots) + 1
        rows = [slot.row - first for slot in slots]
        straight = rows == list(range(stop - first))
        if not straight:
            inputs = inputs.new_zeros(stop - first, *inputs.shape[1:]).index_copy_(0, _index(rows, inputs), inputs)
        held = [slot() for slot in self._slots[first:stop]]
        lengths = [0 if slot is None else slot.length for slot in held]
        out = self._read(inputs, first, lengths, rows)
        for slot in slots:
            slot.length += inputs.shape[1]
        return out if straight else out[_index(rows, out)]

    def _trim(self) -> None:
        while self._slots and self._slots[-1]() is None:
            self._slots.pop()
        if not self._slots and self._room:
            self._room = 0
            self._resize(0)

    @abstractmethod
    def _resize(self, rows: int) -> None:
        """Have caches of so many rows, what the first ones hold kept."""

    @abstractmethod
    def _read(self, inputs: Tensor, first: int, lengths: Sequence[int], moving: Sequence[int]) -> Float[Tensor, "r h"]:
        """Read positions [R, n, H] in the rows from `first` on, that hold `lengths`; only `moving` ones count."""


class Reader(Protocol):
    """A ChoreoLLaMA that reads: the network itself, or a compiled copy.

    `notes` says what the machine lacks and what is done instead; for people.
    """

    notes: tuple[str, ...]

    def slots(self) -> CacheSlots:
        """Caches, as yet without any slot."""
        ...

    def embed(self, codes: Int[Tensor, "b"], level: int) -> Float[Tensor, "b 1 h"]:
        """The inputs that codes of a level become."""
        ...

    def logits(self, hidden: Float[Tensor, "b h"], level: int) -> Float[Tensor, "b n"]:
        """The logits of a level's codes, and of no other level's."""
        ...


_NOBODY = weakref.ref(CacheSlot(0))


def _index(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)
