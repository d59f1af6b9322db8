"""What drawing codes asks of the network: places in which windows are read, and the next codes' logits."""

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


class Place:
    """Where one window is read: its row in the caches, and how many positions it holds."""

    def __init__(self, row: int) -> None:
        self.row = row
        self.length = 0


class Rows(ABC):
    """Windows that are read together, each at its own position, with caches of a whole window each.

    A place belongs to who holds it: one that nobody holds any more is given away again. Without any place there are no
    caches. Used by one caller at a time.
    """

    def __init__(self) -> None:
        self._places: list[weakref.ref[Place]] = []
        self._room = 0

    def open(self) -> Place:
        """The first free place, at the beginning of a window."""
        self._trim()
        row = next((row for row, place in enumerate(self._places) if place() is None), len(self._places))
        place = Place(row)
        self._places[row : row + 1] = [weakref.ref(place)]
        if len(self._places) > self._room:
            self._room = max(len(self._places), 2 * self._room)
            self._resize(self._room)
        return place

    def close(self, place: Place) -> None:
        """Give a place back; nobody reads there any more."""
        self._places[place.row] = _NOBODY
        self._trim()

    def read(self, inputs: Float[Tensor, "b n h"], places: Sequence[Place]) -> Float[Tensor, "b h"]:
        """Read the next n positions in each of these places; gives the last ones' outputs.

        There has to be room: a place takes the positions of one window. Rows between those places are computed for
        nothing, and left as they were.
        """
        first, stop = min(place.row for place in places), max(place.row for place in places) + 1
        rows = [place.row - first for place in places]
        straight = rows == list(range(stop - first))
        if not straight:
            inputs = inputs.new_zeros(stop - first, *inputs.shape[1:]).index_copy_(0, _index(rows, inputs), inputs)
        held = [place() for place in self._places[first:stop]]
        lengths = [0 if place is None else place.length for place in held]
        out = self._read(inputs, first, lengths, rows)
        for place in places:
            place.length += inputs.shape[1]
        return out if straight else out[_index(rows, out)]

    def _trim(self) -> None:
        while self._places and self._places[-1]() is None:
            self._places.pop()
        if not self._places and self._room:
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

    def rows(self) -> Rows:
        """Caches, as yet without any place."""
        ...

    def embed(self, codes: Int[Tensor, "b"], level: int) -> Float[Tensor, "b 1 h"]:
        """The inputs that codes of a level become."""
        ...

    def logits(self, hidden: Float[Tensor, "b h"], level: int) -> Float[Tensor, "b n"]:
        """The logits of a level's codes, and of no other level's."""
        ...


_NOBODY = weakref.ref(Place(0))


def _index(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)
