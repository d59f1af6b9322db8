"""Sampling codes: temperature, then the k likeliest, then the smallest set that holds a share p (section 5.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kinestream.errors import BadInputError

Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class SamplingSettings:
    """How codes are sampled; the paper's values (section 5.1). Temperature 0 takes the likeliest code."""

    temperature: float = 0.85
    top_k: int = 30
    top_p: float = 0.8

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise BadInputError(f"The temperature must be a number from 0 up, got {self.temperature}.")
        if self.top_k < 1:
            raise BadInputError(f"top_k must be at least 1, got {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise BadInputError(f"top_p must be in (0, 1], got {self.top_p}.")


SAMPLING = {"paper": SamplingSettings(), "release": SamplingSettings(0.8, 15, 0.95)}
"""By name: the paper's values, and those of the authors' released inference."""


def code_probabilities(
    logits: Float[NDArray[Any], "n"], settings: SamplingSettings
) -> tuple[Float[NDArray[Any], "m"], Int[NDArray[Any], "m"]]:
    """Give the candidates' probabilities, falling, and which codes they are, for one row of logits."""
    if settings.temperature == 0:
        return np.ones(1), np.array([logits.argmax()])
    values, count = logits.astype(np.float64), min(settings.top_k, len(logits))
    likeliest = np.argpartition(values, -count)[-count:]
    codes = likeliest[np.argsort(-values[likeliest], kind="stable")]
    weights = np.exp((values[codes] - values[codes[0]]) / settings.temperature)
    sums = weights.cumsum()
    kept = 1 + int(np.searchsorted(sums, settings.top_p * sums[-1]))
    return weights[:kept] / sums[kept - 1], codes[:kept]


def sample_codes(
    logits: Float[Tensor, "b n"], settings: Sequence[SamplingSettings], uniform: Sequence[float]
) -> Int[Tensor, "b"]:
    """Sample one code per row by its own settings, decided by its value in [0, 1).

    Rows are sampled one after the other, in float64: small arrays are what numpy is quick with, and a row's code is the
    same in any company.
    """
    codes = []
    for row, own, share in zip(logits.float().cpu().numpy(), settings, uniform, strict=True):
        probabilities, candidates = code_probabilities(row, own)
        choice = int(np.searchsorted(probabilities.cumsum(), share, side="right"))
        codes.append(int(candidates[min(choice, len(candidates) - 1)]))  # rounding may leave the sum short of 1
    return torch.tensor(codes, device=logits.device)


def row_generators(generator: Generators | None, rows: int) -> list[torch.Generator | None]:
    """The generator of each row: one that all share, or each row's own, so that rows are independent."""
    if not isinstance(generator, Sequence):
        return [generator] * rows
    if len(generator) != rows:
        raise BadInputError(f"Expected one generator per row, {rows}, got {len(generator)}.")
    return list(generator)
