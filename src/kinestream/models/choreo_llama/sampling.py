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
    # Added up in one order, whichever rows there are.
    return kept / kept.cumsum(dim=-1)[:, -1:], codes


def sample_codes(
    logits: Float[Tensor, "b n"], settings: SamplingSettings, uniform: Float[Tensor, "b"]
) -> Int[Tensor, "b"]:
    """Draw one code per row, decided by the row's number in [0, 1)."""
    probabilities, codes = code_probabilities(logits, settings)
    below = probabilities.cumsum(dim=-1) <= uniform[:, None].to(probabilities)
    last = (probabilities > 0).sum(dim=-1) - 1  # rounding may leave the sum short of 1
    choice = torch.minimum(below.sum(dim=-1), last)
    return codes.gather(-1, choice[:, None])[:, 0]


def draw_codes(
    logits: Float[Tensor, "b n"], settings: Sequence[SamplingSettings], uniform: Float[Tensor, "b"]
) -> Int[Tensor, "b"]:
    """Draw one code per row, each by its own settings; a row's code is the same in any company."""
    alike: dict[SamplingSettings, list[int]] = {}
    for row, own in enumerate(settings):
        alike.setdefault(own, []).append(row)
    if len(alike) == 1:
        return sample_codes(logits, settings[0], uniform)
    codes = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    for own, rows in alike.items():
        codes[rows] = sample_codes(logits[rows], own, uniform[rows])
    return codes


def row_generators(generator: Generators | None, rows: int) -> list[torch.Generator | None]:
    """The generator of each row: one that all share, or each row's own, so that rows are independent."""
    if not isinstance(generator, Sequence):
        return [generator] * rows
    if len(generator) != rows:
        raise BadInputError(f"Expected one generator per row, {rows}, got {len(generator)}.")
    return list(generator)
