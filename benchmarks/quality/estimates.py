"""Estimates with confidence intervals as they stand in the results: rounded, with how many values went in."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from kinestream.metrics import bootstrap, bootstrap_ratio
from kinestream.metrics.estimates import Estimate, Statistic

DIGITS = 4


def estimate(values: Tensor, statistic: Statistic = "mean", weights: Tensor | None = None) -> dict[str, Any]:
    """{"value", "low", "high", "n"} of one figure; with `weights` a value counts as often as they say."""
    found = bootstrap(values.double(), statistic, weights=weights)
    return {**_row(found), "n": found.count}


def ratio(
    generated: Tensor,
    real: Tensor,
    statistic: Statistic = "mean",
    generated_weights: Tensor | None = None,
    real_weights: Tensor | None = None,
) -> dict[str, Any]:
    """{"value", "low", "high"} of generated / real, both resampled; value is None where the real figure is 0."""
    found = bootstrap_ratio(
        generated.double(), real.double(), statistic, above_weights=generated_weights, below_weights=real_weights
    )
    return {"value": None, "low": None, "high": None} if found is None else _row(found)


def _row(found: Estimate) -> dict[str, float | None]:
    return {
        "value": _round(found.value),
        "low": None if math.isnan(found.low) else _round(found.low),
        "high": None if math.isnan(found.high) else _round(found.high),
    }


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
