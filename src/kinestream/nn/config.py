"""Frozen, validated model configurations that are saved as JSON beside the weights."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Self

from kinestream.errors import BadInputError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Base of all model configurations: plain JSON in and out, unknown names refused."""

    def to_json(self) -> dict[str, Any]:
        """Give a dictionary of JSON values that `from_json` turns back into an equal configuration."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_json`'s dictionary; raises BadInputError on unknown names, wrong types or wrong values."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise BadInputError(
                f"{cls.__name__} has no setting named {', '.join(unknown)}; it knows: {', '.join(sorted(known))}."
            )
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        except TypeError as error:
            raise BadInputError(f"{cls.__name__} can't be built from these settings: {error}.") from error

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, expected = getattr(self, field.name), hints[field.name]
            if expected is int and (isinstance(value, bool) or not isinstance(value, int)):
                raise BadInputError(f"{type(self).__name__}.{field.name} must be a whole number, got {value!r}.")
            if expected is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise BadInputError(f"{type(self).__name__}.{field.name} must be a number, got {value!r}.")

    def require(self, condition: bool, message: str) -> None:
        """Raise BadInputError naming this configuration unless the condition holds."""
        if not condition:
            raise BadInputError(f"{type(self).__name__}: {message}")
