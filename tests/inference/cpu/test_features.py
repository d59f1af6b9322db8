"""Which instructions the kernels take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import llvmlite.binding
import numba
import pytest

from kinestream.inference.cpu.features import instructions


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    instructions.cache_clear()
    yield
    instructions.cache_clear()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx2": True, "fma": True, "avx512f": True, "avx512vnni": True}, "avx512-vnni"),
        ({"avx2": True, "fma": True, "avx512f": True, "avx512vnni": False}, "avx2"),
        ({"avx2": True, "fma": False}, None),
        ({"neon": True}, None),
    ],
)
def test_the_best_that_the_processor_has_is_taken(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], expected: str | None
) -> None:
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: features)
    for name in ("CPU_NAME", "CPU_FEATURES"):
        monkeypatch.setattr(numba.config, name, None, raising=False)
    assert instructions() == expected


@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        ("haswell", "+avx2,+fma", "avx2"),
        ("host", "+avx2,+fma,+avx512f,+avx512vnni", "avx512-vnni"),
        ("generic", None, None),
        ("haswell", "+avx2,-fma", None),
    ],
)
def test_what_numba_is_told_to_compile_for_counts_and_not_the_processor(
    monkeypatch: pytest.MonkeyPatch, name: str, features: str | None, expected: Any
) -> None:
    monkeypatch.setattr(numba.config, "CPU_NAME", name, raising=False)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features, raising=False)
    assert instructions() == expected
