"""Estimates with confidence intervals: percentile bootstrap over clips, the same for every figure."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

RESAMPLES = 2000
INTERVAL = 0.95
DIGITS = 4

Statistic = Literal["mean", "median"]


def estimate(values: Tensor, statistic: Statistic = "mean", weights: Tensor | None = None) -> dict[str, Any]:
    """{"value", "low", "high", "n"} of one figure; with `weights` a value counts as often as they say."""
    drawn = _resampled(values, statistic, weights, seed=1)
    return {"value": _round(_statistic(values, statistic, weights)), **_interval(drawn), "n": len(values)}


def ratio(
    generated: Tensor,
    real: Tensor,
    statistic: Statistic = "mean",
    generated_weights: Tensor | None = None,
    real_weights: Tensor | None = None,
) -> dict[str, Any]:
    """{"value", "low", "high"} of generated / real, both resampled; value is None where the real figure is 0."""
    below = _statistic(real, statistic, real_weights)
    if float(below) == 0.0:
        return {"value": None, "low": None, "high": None}
    above = _statistic(generated, statistic, generated_weights)
    drawn = _resampled(generated, statistic, generated_weights, seed=1) / _resampled(
        real, statistic, real_weights, seed=2
    )
    return {"value": _round(above / below), **_interval(drawn[torch.isfinite(drawn)])}


def _resampled(values: Tensor, statistic: Statistic, weights: Tensor | None, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chances = torch.ones(len(values)) if weights is None else weights
    rows = torch.multinomial(chances.double().expand(RESAMPLES, -1), len(values), replacement=True, generator=generator)
    drawn = values[rows]
    return drawn.double().mean(1) if statistic == "mean" else drawn.double().median(1).values


def _statistic(values: Tensor, statistic: Statistic, weights: Tensor | None) -> Tensor:
    values = values.double()
    shares = (
        torch.full_like(values, 1.0 / len(values)) if weights is None else weights.double() / weights.double().sum()
    )
    if statistic == "mean":
        return (values * shares).sum()
    order = values.argsort()
    place = int((shares[order].cumsum(0) < 0.5 - 1e-9).sum())
    return values[order[min(place, len(values) - 1)]]


def _interval(drawn: Tensor) -> dict[str, float | None]:
    if len(drawn) == 0:
        return {"low": None, "high": None}
    tail = (1.0 - INTERVAL) / 2.0
    low, high = torch.quantile(drawn, torch.tensor((tail, 1.0 - tail), dtype=drawn.dtype))
    return {"low": _round(low), "high": _round(high)}


def _round(value: Tensor) -> float:
    return float(f"{float(value):.{DIGITS}g}")
