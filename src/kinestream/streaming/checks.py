"""What can be said wrong of anything that a stream is given: whole numbers, seeds, durations, switches."""

from __future__ import annotations

import math

from kinestream.errors import BadInputError


def is_whole(value: object) -> bool:
    """Whether a user gave a whole number (True and False are none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a user gave a finite number (True and False are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def checked_seed(seed: int) -> int:
    """The seed; BadInputError where it is none."""
    if not is_whole(seed) or not 0 <= seed < 2**63:
        raise BadInputError(f"A seed is a whole number from 0 to 2^63 - 1; got {seed!r}.")
    return seed


def checked_whole(name: str, value: int, least: int = 1) -> int:
    """The value; BadInputError unless it is a whole number from `least` on."""
    if not is_whole(value) or value < least:
        raise BadInputError(f"{name} is a whole number from {least} on; got {value!r}.")
    return value


def check_positive(name: str, value: float, most: float) -> None:
    """BadInputError unless the value is a number above 0 and at most `most`."""
    if not is_number(value) or not 0 < value <= most:
        raise BadInputError(f"{name} is a number above 0, at most {most:g}; got {value!r}.")


def check_switch(name: str, value: bool) -> None:
    """BadInputError unless the value is True or False."""
    if not isinstance(value, bool):
        raise BadInputError(f"{name} is True or False; got {value!r}.")


def check_time(name: str, value: float | None) -> None:
    """BadInputError unless the value is a time of the stream in seconds, or None."""
    if value is not None and (not is_number(value) or value < 0):
        raise BadInputError(f"{name} is a time in seconds from 0 on, or None for the next moment; got {value!r}.")
