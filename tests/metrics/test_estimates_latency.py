"""Intervals hold what they should, and times are summed up as they say."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.metrics import (
    Estimate,
    bootstrap,
    bootstrap_ratio,
    bootstrap_rows,
    latency_summary,
    mean_pairwise_distance,
    over_repeats,
    paired_difference,
    repeat,
    repeat_generators,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bootstrap_interval_is_that_of_the_mean() -> None:
    values = torch.randn(400, generator=seeded()) * 2.0 + 3.0
    found = bootstrap(values)
    assert found.value == pytest.approx(float(values.mean()), rel=1e-6)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2.0 / 20.0, rel=0.15)
    assert found == bootstrap(values), "the same values give the same interval"
    assert found.excludes(0.0)
    assert not found.excludes(found.value)
    assert bootstrap(values, level=0.5).low > found.low


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = seeded(7)
    covered = sum(
        not bootstrap(torch.rand(60, generator=generator), resamples=300, generator=generator).excludes(0.5)
        for _ in range(100)
    )
    assert 88 <= covered <= 100


def test_values_that_hang_together_widen_the_interval() -> None:
    persons = torch.randn(20, generator=seeded()).repeat_interleave(30)
    alone = bootstrap(persons)
    together = bootstrap(persons, groups=[k // 30 for k in range(600)])
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_pairing_sees_a_difference_that_two_intervals_hide() -> None:
    clips = torch.randn(100, generator=seeded()) * 5.0
    better = clips + 0.1 + 0.05 * torch.randn(100, generator=seeded(1))
    one, other = bootstrap(better), bootstrap(clips)
    assert one.low < other.high, "side by side they overlap"
    assert paired_difference(better, clips).excludes(0.0)
    assert not paired_difference(clips + 0.001 * torch.randn(100, generator=seeded(2)), clips).excludes(0.0)


def test_ratio_of_medians_and_of_nothing() -> None:
    found = bootstrap_ratio(torch.full((9,), 3.0), torch.full((5,), 2.0), "median")
    assert found == Estimate(1.5, 1.5, 1.5, 9)
    assert bootstrap_ratio(torch.ones(3), torch.zeros(3)) is None


def test_rows_of_several_sets_are_drawn_together() -> None:
    rows = torch.randn(80, 3, generator=seeded())
    assert bootstrap_rows(lambda a, b: (a - b).abs().max(), rows, rows).high == 0.0
    spread = bootstrap_rows(mean_pairwise_distance, rows, resamples=50)
    assert spread.low < spread.value * 1.02
    assert spread.count == 80


def test_rows_that_hang_together_are_drawn_together() -> None:
    groups = ["a"] * 5 + ["b"] * 3
    values = torch.tensor([[0.0]] * 5 + [[1.0]] * 3)
    drawn: set[float] = set()

    def mean(rows: torch.Tensor) -> torch.Tensor:
        drawn.add(round(float(rows.mean()), 6))
        return rows.mean()

    found = bootstrap_rows(mean, values, groups=groups)
    assert drawn == {0.0, 0.375, 1.0}
    assert (found.value, found.low, found.high, found.count) == (0.375, 0.0, 1.0, 8)
    with pytest.raises(BadInputError, match="a group for each of 8"):
        bootstrap_rows(mean, values, groups=groups[:3])


def test_twenty_repeats_are_mean_and_published_interval() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    half = 1.96 * (1.25**0.5) / 2.0
    assert over_repeats(values) == Estimate(2.5, pytest.approx(2.5 - half), pytest.approx(2.5 + half), 4)
    drawn = repeat(lambda generator: torch.rand((), generator=generator), seed=3)
    assert drawn.count == 20
    assert drawn == repeat(lambda generator: float(torch.rand((), generator=generator)), seed=3)
    third = [torch.rand((), generator=generator) for generator in repeat_generators(3)][2]
    assert third == torch.rand((), generator=list(repeat_generators(3, 3))[2])
    assert str(Estimate(0.5, 0.25, 0.75, 9)) == "0.5 [0.25, 0.75]"


def test_latency_is_first_median_and_99th_of_measured_steps() -> None:
    found = latency_summary([9.0, *[float(k) for k in range(1, 201)]])
    assert (found.first_s, found.median_s, found.p99_s, found.worst_s, found.count) == (9.0, 100.0, 198.0, 200.0, 200)
    assert latency_summary([0.1, 0.3], first_s=0.7).p99_s == 0.3
    with pytest.raises(BadInputError, match="at least 2 steps"):
        latency_summary([1.0])
    with pytest.raises(BadInputError, match="clock that runs backwards"):
        latency_summary([1.0, -1.0])
    with pytest.raises(BadInputError, match="NaN"):
        latency_summary([1.0, float("nan")])


def test_estimates_of_nothing_are_one_clear_error() -> None:
    values = torch.ones(4)
    for call, says in (
        (lambda: bootstrap(values[:0]), "at least 1 values"),
        (lambda: bootstrap(values * torch.nan), "NaN"),
        (lambda: bootstrap(values, weights=torch.zeros(4)), "not all 0"),
        (lambda: bootstrap(values, weights=torch.ones(3)), "equal shapes"),
        (lambda: bootstrap(values, groups=["a"]), "a group for each of 4"),
        (lambda: bootstrap(values, "median", groups=["a"] * 4), "plain mean"),
        (lambda: bootstrap(values, level=1.0), "level"),
        (lambda: paired_difference(values, values[:3]), "figures of the same clips"),
        (lambda: bootstrap_rows(mean_pairwise_distance), "equally many rows"),
        (lambda: over_repeats(values[:1]), "at least 2 repeats for an interval"),
    ):
        with pytest.raises(BadInputError, match=says):
            call()
