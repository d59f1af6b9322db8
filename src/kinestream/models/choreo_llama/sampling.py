"""Drawing codes: temperature, then the k likeliest, then the smallest set that holds a share p (section 5.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.errors import BadInputError

Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class SamplingSettings:
    """How codes are drawn; the paper's values. Temperature 0 takes the likeliest code."""

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


def code_probabilities(
    logits: Float[Tensor, "b n"], settings: SamplingSettings
) -> tuple[Float[Tensor, "b m"], Int[Tensor, "b m"]]:
    """Give the candidates' probabilities, falling, and which codes they are; those cut off have probability 0."""
    if settings.temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.ones_like(logits[:, :1]), best
    scaled, codes = (logits.float() / settings.temperature).topk(min(settings.top_k, logits.shape[-1]), dim=-1)
    probabilities = scaled.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = probabilities.masked_fill(before >= settings.top_p, 0.0)  # the first one always stays
    return kept / kept.sum(dim=-1, keepdim=True), codes


def sample_codes(
    logits: Float[Tensor, "b n"], settings: SamplingSettings, uniform: Float[Tensor, "b"]
) -> Int[Tensor, "b"]:
    """Draw one code per row, decided by the row's number in [0, 1)."""
    probabilities, codes = code_probabilities(logits, settings)
    below = probabilities.cumsum(dim=-1) <= uniform[:, None].to(probabilities)
    last = (probabilities > 0).sum(dim=-1) - 1  # rounding may leave the sum short of 1
    choice = torch.minimum(below.sum(dim=-1), last)
    return codes.gather(-1, choice[:, None])[:, 0]


def uniform_draws(generator: Generators | None, rows: int) -> Float[Tensor, "b"]:
    """Give a number in [0, 1) per row: from one generator, or from each row's own, so that rows are independent."""
    if isinstance(generator, Sequence):
        if len(generator) != rows:
            raise BadInputError(f"Expected one generator per row, {rows}, got {len(generator)}.")
        return torch.cat([torch.rand(1, generator=own) for own in generator])
    return torch.rand(rows, generator=generator)
