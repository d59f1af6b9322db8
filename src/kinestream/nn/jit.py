"""Functions compiled by numba, kept on disk where there is a folder for them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numba


def jit(signature: str | None = None, **options: Any) -> Callable[[Any], Any]:
    """A decorator: `numba.njit` that gives up the interpreter's lock and keeps what it has compiled."""

    def decorate(function: Any) -> Any:
        # Where something stands in for the function (a check of its arguments), the function itself is compiled.
        plain = inspect.unwrap(function)
        return numba.njit(signature, nogil=True, cache=_keeps(), error_model="numpy", **options)(plain)

    return decorate


@cache
def _keeps() -> bool:
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        warnings.warn(
            "There is no folder in which compiled functions can be kept; every process compiles them anew, which takes "
            "seconds. Set NUMBA_CACHE_DIR to a folder that can be written.",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True


def _nothing() -> None:
    """What is tried."""
