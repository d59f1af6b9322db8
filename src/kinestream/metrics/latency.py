"""How long a listener waits: summaries of measured times. Measuring is for those who have a clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inputs import require_finite


@dataclass(frozen=True)
class Latency:
    """Seconds: `first` until the first frame was there, then `median`, `p99` and `worst` of the `count` steps after."""

    first_s: float
    median_s: float
    p99_s: float
    worst_s: float
    count: int


def latency_summary(seconds: Sequence[float] | Tensor, first_s: float | None = None) -> Latency:
    """Median, 99th percentile and maximum of the time each step took, in seconds; lower is better.

    `first_s` is the time to the first frame; without it the first of `seconds` is, and is left out of the rest. The
    percentile is a measured step (the smallest that 99 % of the steps do not exceed), so below 100 steps it is the
    worst one. Medians hide stutter, means over a run hide the wait before it: give first, median and p99 together.
    Wall-clock times on a busy machine measure the machine: give the ratio to a plain loop of the same run beside them.
    """
    times = torch.as_tensor(seconds, dtype=torch.float64)
    least = 1 if first_s is not None else 2
    if times.ndim != 1 or len(times) < least:
        raise BadInputError(
            f"latency needs the seconds of at least {least} steps as a list, got shape {tuple(times.shape)}"
        )
    require_finite(times, "latency")
    if float(times.min()) < 0.0 or (first_s is not None and not first_s >= 0.0):
        raise BadInputError("latency: expected seconds of at least 0; a clock that runs backwards measures nothing")
    if first_s is None:
        first_s, times = float(times[0]), times[1:]
    return Latency(first_s, percentile(times, 0.5), percentile(times, 0.99), float(times.max()), len(times))


def percentile(times: Tensor, share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed."""
    place = max(0, math.ceil(share * len(times) - 1e-9) - 1)
    return float(times.sort().values[place])
