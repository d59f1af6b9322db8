"""Slots in a device's memory, taken beforehand: given out, free again when nobody holds them, doubled as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from kinestream.errors import KinestreamError
from kinestream.inference.cuda.graphs import to_device


class Slot:
    """A slot of a pool; it is free again as soon as nothing holds this object any more.

    Attributes:
        index: row of the pool's tensors.
        written: how many positions of it any state has filled.
    """

    __slots__ = ("_free", "index", "written")

    def __init__(self, index: int, free: list[int]) -> None:
        self.index, self.written, self._free = index, 0, free

    def __del__(self) -> None:
        # Appending is safe from any thread. Work that reads the slot was queued before work that will fill it again.
        self._free.append(self.index)


class SlotContexts:
    """Contexts of R rows: which slots they lie in, and how many positions of each are theirs.

    Contexts that follow each other share a slot: a step writes behind the positions that older ones read. It stands for
    its conditions too: those of a slot's newest context lie in the slot.
    """

    def __init__(self, slots: Sequence[Slot], lengths: Sequence[int]) -> None:
        self.slots, self.lengths = tuple(slots), tuple(lengths)

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, rows: Sequence[int]) -> SlotContexts:
        return SlotContexts([self.slots[row] for row in rows], [self.lengths[row] for row in rows])


class SlotDecoder:
    """A decoder's state of one row that lies in a slot; its tensors can be read like those of `ConvStates`."""

    _fields = ("convs",)

    def __init__(self, slot: Slot, read: Callable[[Slot], tuple[Tensor, ...]]) -> None:
        self.slot, self._read = slot, read

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return iter((self.convs,))

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def convs(self) -> tuple[Tensor, ...]:
        """Each convolution's state [1, C, P], float32 in main memory."""
        return self._read(self.slot)


class SlotPool:
    """Tensors whose dimension 0 counts slots. Rows 0 and 1 are never given out: 0 stays zeros, 1 takes what padding
    rows of a batch write.

    Attributes:
        tensors: replaced by larger ones when the pool grows.
        generation: changes whenever they are replaced.
    """

    ZEROS, SCRATCH = 0, 1

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        self.generation = 0
        self._size = len(self.tensors[0])
        self._free = list(range(self._size - 1, self.SCRATCH, -1))

    def __len__(self) -> int:
        """Slots that are taken."""
        return self._size - 2 - len(self._free)

    @property
    def bytes_a_slot(self) -> int:
        """Memory of one slot."""
        return sum(tensor[0].numel() * tensor.element_size() for tensor in self.tensors)

    def take(self, count: int) -> list[Slot]:
        """New slots, with whatever was in them.

        Raises:
            KinestreamError: the device has no memory for more.
        """
        while len(self._free) < count:
            self._grow()
        return [Slot(self._free.pop(), self._free) for _ in range(count)]

    def copy(self, old: Sequence[int], new: Sequence[int]) -> None:
        """Copy slots."""
        device = self.tensors[0].device
        indices = to_device(torch.tensor([old, new]), device)
        for tensor in self.tensors:
            tensor.index_copy_(0, indices[1], tensor.index_select(0, indices[0]))

    def _grow(self) -> None:
        size = self._size
        self.generation += 1
        try:
            # One after the other, so that little is there twice.
            for number, tensor in enumerate(self.tensors):
                if len(tensor) == size:
                    larger = tensor.new_zeros(2 * size, *tensor.shape[1:])
                    larger[:size] = tensor
                    self.tensors[number] = larger
        except torch.OutOfMemoryError:
            raise KinestreamError(
                f"The device has memory for {size - 2} contexts and no more. Let streams leave, or use a smaller model."
            ) from None
        self._size = 2 * size
        self._free[:0] = range(2 * size - 1, size - 1, -1)
