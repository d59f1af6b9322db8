"""Compiled functions are kept where they can be, and work where they can't."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kinestream.nn import jit as module


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No folder can be written."""
    compile_with = module.numba.njit

    def refused(*arguments: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_with(*arguments, **options)

    monkeypatch.setattr(module.numba, "njit", refused)
    module._keeps.cache_clear()
    yield
    module._keeps.cache_clear()


@pytest.mark.usefixtures("nowhere")
def test_without_a_place_for_compiled_code_it_is_compiled_anew_and_said() -> None:
    def twice(x: int) -> int:
        return 2 * x

    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        compiled = module.jit("i8(i8)")(twice)
    assert compiled(21) == 42
