"""Figures with intervals: bootstrap over clips, paired differences, and the protocol of 20 repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inputs import require_finite, require_pair, require_rows

RESAMPLES = 2000
LEVEL = 0.95
REPEATS = 20
# Draws that are held in memory at once.
CHUNK = 20_000_000

Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its interval; `count` values went into it (NaN ends: nothing could be drawn)."""

    value: float
    low: float
    high: float
    count: int

    def excludes(self, value: float) -> bool:
        """Whether the interval lies to one side of `value`: for a difference, excludes(0) is beyond noise."""
        return self.low > value or self.high < value

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap(
    values: Float[Tensor, "n"],
    statistic: Statistic = "mean",
    *,
    weights: Float[Tensor, "n"] | None = None,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Mean or median of the clips' figures with its percentile interval (Efron, 1979).

    `weights`: a value counts as often as they say. `groups`: values that hang together (windows of one song, clips of
    one person) are drawn together, and their mean alone is known; without it they pass for independent, and the
    interval comes out too narrow. Without a generator the same values give the same interval every time.

    It speaks of clips like these, not of other data sets, seeds or trainings. Too narrow below some 20 values or
    groups, and blind to a rare failure that none of the values has.
    """
    require_rows(values, "bootstrap", what="values", dims=1)
    _require_settings(resamples, level)
    values = values.cpu()
    generator = generator or torch.Generator().manual_seed(1)
    if groups is not None:
        if statistic != "mean" or weights is not None:
            raise BadInputError("bootstrap by groups knows the plain mean only")
        drawn = _group_means(values, groups, resamples, generator)
    else:
        drawn = _resampled(values, statistic, _weights(values, weights), resamples, generator)
    return Estimate(float(_statistic(values, statistic, weights)), *_interval(drawn, level), len(values))


def bootstrap_ratio(
    above: Float[Tensor, "n"],
    below: Float[Tensor, "m"],
    statistic: Statistic = "mean",
    *,
    above_weights: Float[Tensor, "n"] | None = None,
    below_weights: Float[Tensor, "m"] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    generators: tuple[torch.Generator, torch.Generator] | None = None,
) -> Estimate | None:
    """Ratio of two sets' means or medians, both resampled; None where the lower figure is 0: nothing to divide by."""
    for values in (above, below):
        require_rows(values, "bootstrap", what="values", dims=1)
    _require_settings(resamples, level)
    above, below = above.cpu(), below.cpu()
    divisor = _statistic(below, statistic, below_weights)
    if float(divisor) == 0.0:
        return None
    first, second = generators or (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2))
    drawn = _resampled(above, statistic, _weights(above, above_weights), resamples, first) / _resampled(
        below, statistic, _weights(below, below_weights), resamples, second
    )
    value = float(_statistic(above, statistic, above_weights) / divisor)
    return Estimate(value, *_interval(drawn[torch.isfinite(drawn)], level), len(above))


def paired_difference(
    a: Float[Tensor, "n"],
    b: Float[Tensor, "n"],
    statistic: Statistic = "mean",
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    generator: torch.Generator | None = None,
) -> Estimate:
    """a - b over the same clips, with the interval of the difference: `.excludes(0)` says that it is beyond noise.

    Pairing removes what the clips themselves vary by, so it sees differences that two separate intervals hide. Many
    comparisons at a level of 0.95 give one false alarm in twenty.
    """
    require_rows(a, "paired difference", what="values", dims=1)
    require_rows(b, "paired difference", what="values", dims=1)
    require_pair(a, b, "paired difference", "figures of the same clips, in one order,")
    return bootstrap(
        a.double() - b.double(), statistic, groups=groups, resamples=resamples, level=level, generator=generator
    )


def bootstrap_rows(
    measure: Callable[..., Tensor],
    *sets: Tensor,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 200,
    level: float = LEVEL,
    generator: torch.Generator | None = None,
) -> Estimate:
    """A figure of whole sets (R-Precision of pairs, diversity) with its interval: rows drawn anew, same rows of all.

    `groups`: rows that hang together are drawn together, so that draws have different numbers of rows. Draws for which
    the figure is not defined (NaN) are left out.

    Not for distances of distributions: repeated rows make a covariance smaller, so a Fréchet distance comes out higher
    in every draw than in truth; take `repeat` with subsets for it.
    """
    if not sets or any(len(rows) != len(sets[0]) for rows in sets) or len(sets[0]) == 0:
        raise BadInputError(f"bootstrap: expected sets with equally many rows, got {[len(rows) for rows in sets]}")
    _require_settings(resamples, level)
    generator = generator or torch.Generator().manual_seed(1)
    count = len(sets[0])
    kept = None if groups is None else _group_rows(groups, count)
    draws = (_drawn_rows(count, kept, generator) for _ in range(resamples))
    drawn = torch.tensor([float(measure(*(rows[draw] for rows in sets))) for draw in draws], dtype=torch.float64)
    return Estimate(float(measure(*sets)), *_interval(drawn[~drawn.isnan()], level), count)


def over_repeats(values: Float[Tensor, "r"]) -> Estimate:
    """Mean of repeats with its 95 % interval, mean ± 1.96 s / √R: the text-to-motion protocol (Guo et al., CVPR 2022).

    s is the standard deviation over the R repeats (divisor R, as published). It tells how much sampling and batching
    move the figure, on this test set: it is no interval over clips, and shrinks to nothing with more repeats.
    """
    require_rows(values, "the mean of repeats", least=2, because=" for an interval", what="repeats", dims=1)
    values = values.double()
    half = 1.96 * float(values.std(correction=0)) / math.sqrt(len(values))
    mean = float(values.mean())
    return Estimate(mean, mean - half, mean + half, len(values))


def repeat_generators(seed: int, times: int = REPEATS) -> Iterator[torch.Generator]:
    """One generator for each repeat; repeat k is the same whether or not those before it are made again."""
    for k in range(times):
        yield torch.Generator().manual_seed(seed * 100_003 + k)


def repeat(measure: Callable[[torch.Generator], float | Tensor], times: int = REPEATS, seed: int = 0) -> Estimate:
    """`measure` with `times` generators, as `over_repeats`: the 20-repeat protocol."""
    return over_repeats(
        torch.tensor([float(measure(generator)) for generator in repeat_generators(seed, times)], dtype=torch.float64)
    )


def _require_settings(resamples: int, level: float) -> None:
    if resamples < 1 or not 0.0 < level < 1.0:
        raise BadInputError(f"bootstrap: expected resamples of at least 1 and 0 < level < 1, got {resamples}, {level}")


def _weights(values: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return torch.ones(len(values), dtype=torch.float64)
    require_pair(values, weights, "bootstrap", "values and weights")
    require_finite(weights, "bootstrap")
    if bool((weights < 0).any()) or float(weights.sum()) <= 0.0:
        raise BadInputError("bootstrap: expected weights of at least 0, not all 0")
    return weights.double()


def _resampled(
    values: Tensor, statistic: Statistic, chances: Tensor, resamples: int, generator: torch.Generator
) -> Tensor:
    drawn = []
    at_once = max(1, CHUNK // len(values))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        rows = torch.multinomial(chances.expand(draws, -1), len(values), replacement=True, generator=generator)
        taken = values[rows].double()
        drawn.append(taken.mean(1) if statistic == "mean" else taken.median(1).values)
    return torch.cat(drawn)


def _drawn_rows(count: int, groups: Sequence[Tensor] | None, generator: torch.Generator) -> Tensor:
    if groups is None:
        return torch.randint(count, (count,), generator=generator)
    return torch.cat([groups[k] for k in torch.randint(len(groups), (len(groups),), generator=generator).tolist()])


def _group_rows(groups: Sequence[Hashable], count: int) -> list[Tensor]:
    _require_groups(groups, count)
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return [torch.tensor(own) for own in rows.values()]


def _require_groups(groups: Sequence[Hashable], count: int) -> None:
    if len(groups) != count:
        raise BadInputError(f"bootstrap: expected a group for each of {count} values, got {len(groups)}")


def _group_means(values: Tensor, groups: Sequence[Hashable], resamples: int, generator: torch.Generator) -> Tensor:
    _require_groups(groups, len(values))
    numbers = {group: k for k, group in enumerate(dict.fromkeys(groups))}
    place = torch.tensor([numbers[group] for group in groups])
    totals = torch.zeros(len(numbers), dtype=torch.float64).index_add(0, place, values.double())
    sizes = torch.bincount(place, minlength=len(numbers)).double()
    rows = torch.randint(len(numbers), (resamples, len(numbers)), generator=generator)
    return totals[rows].sum(1) / sizes[rows].sum(1)


def _statistic(values: Tensor, statistic: Statistic, weights: Tensor | None) -> Tensor:
    values = values.double()
    count = len(values)
    shares = torch.full_like(values, 1.0 / count) if weights is None else weights.double() / weights.double().sum()
    if statistic == "mean":
        return (values * shares).sum()
    order = values.argsort()
    place = int((shares[order].cumsum(0) < 0.5 - 1e-9).sum())
    return values[order[min(place, count - 1)]]


def _interval(drawn: Tensor, level: float) -> tuple[float, float]:
    if len(drawn) == 0:
        return math.nan, math.nan
    tail = (1.0 - level) / 2.0
    low, high = torch.quantile(drawn, torch.tensor((tail, 1.0 - tail), dtype=drawn.dtype))
    return float(low), float(high)
