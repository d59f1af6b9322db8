"""Text (and later music) as conditions that the generators follow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.errors import BadInputError

__all__ = ["Condition"]


@dataclass(frozen=True)
class Condition:
    """What a generator follows: one vector for a sentence, or a sequence of vectors for music.

    Attributes:
        values: `[T, D]`; `T == 1` for a sentence embedding.
        mask: `[T]`, true where a value counts.
        rate_hz: values per second; 0 for a sentence, which has no time axis.

    Raises:
        BadInputError: shapes disagree, a value is not finite, or the rate is negative.
    """

    values: Float[Tensor, "t d"]
    mask: Bool[Tensor, " t"]
    rate_hz: float = 0.0

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise BadInputError(f"A condition's values are [T, D]; got shape {tuple(self.values.shape)}.")
        if self.mask.shape != self.values.shape[:1] or self.mask.dtype != torch.bool:
            raise BadInputError(
                f"A condition's mask is a boolean [T] with T = {self.values.shape[0]}; "
                f"got {self.mask.dtype} of shape {tuple(self.mask.shape)}."
            )
        if not bool(torch.isfinite(self.values).all()):
            raise BadInputError("A condition's values must be finite; they hold NaN or infinity.")
        if not self.rate_hz >= 0.0:
            raise BadInputError(f"A condition's rate_hz is 0 (no time axis) or positive; got {self.rate_hz}.")

    @classmethod
    def from_embedding(cls, embedding: Float[Tensor, " d"]) -> Condition:
        """The condition of one sentence embedding `[D]`: one value, always valid, no time axis."""
        return cls(embedding.reshape(1, -1), torch.ones(1, dtype=torch.bool, device=embedding.device))
