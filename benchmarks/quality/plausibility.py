"""Physics of clips: feet, jitter, floor and length, measured on generated and real clips by the same functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.estimates import estimate, ratio
from benchmarks.quality.takes import Take
from kinestream.evaluation.plausibility import clip_physics
from kinestream.metrics.estimates import Statistic


def measured(takes: Sequence[Take]) -> dict[str, Tensor]:
    """Each figure of each take [N]; shares are of the take's frames."""
    rows: dict[str, list[float]] = {}
    for take in takes:
        for name, value in clip_physics(take.joints_m).items():
            rows.setdefault(name, []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}


def plausibility(real: Sequence[Take], generated: Sequence[Take]) -> dict[str, Any]:
    """Real, generated and ratio of every figure: means over clips, the median of lengths, the worst depth of all."""
    ours, theirs = measured(generated), measured(real)
    found: dict[str, Any] = {}
    for name in ours:
        if name == "worst_depth_m":
            found[name] = {"real": round(float(theirs[name].max()), 5), "generated": round(float(ours[name].max()), 5)}
            continue
        statistic = _statistic(name)
        found[name] = {
            "real": estimate(theirs[name], statistic),
            "generated": estimate(ours[name], statistic),
            "ratio": ratio(ours[name], theirs[name], statistic),
        }
    for name in ("foot_skating_ratio", "jitter_mps3", "length_s"):
        found[name]["by_content"] = _by_content(real, theirs[name], generated, ours[name], _statistic(name))
    return found


def _statistic(name: str) -> Statistic:
    return "median" if name == "length_s" else "mean"


def _by_content(
    real: Sequence[Take], theirs: Tensor, generated: Sequence[Take], ours: Tensor, statistic: Statistic
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for kind, takes, values in (("real", real, theirs), ("generated", generated, ours)):
        for content in sorted({take.content for take in takes}):
            rows = [row for row, take in enumerate(takes) if take.content == content]
            found.setdefault(content, {})[kind] = estimate(values[rows], statistic)["value"]
    return found
