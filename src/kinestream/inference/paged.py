"""Weights that are kept outside of memory: a runtime makes its own copy of the weights, and needs ours no more."""

from __future__ import annotations

import mmap
import tempfile
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

AnyArray = TypeVar("AnyArray", bound=npt.NDArray[Any])

# Room for so many bytes is taken at a time; what nobody writes takes none on the disk.
_RESERVE = 256 * 1024 * 1024


class PagedMemory:
    """Arrays in temporary files without a name: the system reads them when they are touched.

    `release` frees what lies in memory; the values stay. The files are gone with the last array.
    """

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []
        self._used = _RESERVE

    def store(self, values: AnyArray) -> AnyArray:
        """A copy of the array that lies in a file."""
        room = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if not self._maps or self._used + room > len(self._maps[-1]):
            size = max(room, _RESERVE)
            with tempfile.TemporaryFile() as file:
                file.truncate(size)
                self._maps.append(mmap.mmap(file.fileno(), size))
            self._used = 0
        stored = np.frombuffer(self._maps[-1], values.dtype, values.size, self._used).reshape(values.shape)
        stored[...] = values
        self._used += room
        return cast(AnyArray, stored)

    def release(self) -> None:
        """Forget what is in memory, where the system knows how."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
