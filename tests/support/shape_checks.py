"""Turns jaxtyping's shape annotations into checks while the tests run; other annotations are mypy's business."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from jaxtyping import AbstractArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A stand-in that raises TypeError where an argument or the result has not the annotated shape.

    jaxtyping calls one stand-in before the real function, for the arguments alone (its result is `Any`), and one after
    it, for arguments and result. Only the second checks: a function that refuses wrong shapes itself may do so.
    """
    hints = {name: hint for name, hint in function.__annotations__.items() if _has_shape(hint)}
    if not hints or function.__annotations__.get("return") is Any:
        return function
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints and not _fits(value, hints[name]):
                raise TypeError(f"{name} is not {hints[name]}")
        result = function(*args, **kwargs)
        if "return" in hints and not _fits(result, hints["return"]):
            raise TypeError(f"the result is not {hints['return']}")
        return result

    return wrapper


def _is_shape(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def _has_shape(hint: Any) -> bool:
    return _is_shape(hint) or any(_has_shape(part) for part in typing.get_args(hint))


def _fits(value: Any, hint: Any) -> bool:
    if _is_shape(hint):
        return isinstance(value, hint)
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if typing.get_origin(hint) is tuple and Ellipsis not in parts:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    return not (hint is type(None) and value is not None)
