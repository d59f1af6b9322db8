"""Paged memory gives back what was stored, also after it was let go."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from kinestream.inference.paged import PagedMemory


def test_arrays_outlive_release_and_the_memory_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream.inference.paged._RESERVE", 3 * 4096)
    memory, rng = PagedMemory(), np.random.default_rng(0)
    given = [
        rng.standard_normal((5, 7)).astype(np.float32),
        rng.integers(-127, 128, (90, 100), dtype=np.int8),
        np.zeros((0, 3), np.float32),
        rng.standard_normal((40, 256)).astype(np.float32),
    ]
    stored = [memory.store(values) for values in given]
    for _ in range(2):
        memory.release()
        for mine, theirs in zip(stored, given, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
    del memory
    gc.collect()
    np.testing.assert_array_equal(stored[3], given[3])
