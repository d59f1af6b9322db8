"""The multistep solver reverses the diffusion: exact where the answer is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from kinestream.errors import BadInputError
from kinestream.nn.diffusion import cosine_schedule, fast_sampling, solver_steps

SCHEDULE = cosine_schedule(50)


def run(steps: tuple, start: float, mean: float, spread: float) -> float:
    """Follow the steps where the data are Gaussian, for which the best noise estimate is known; no fresh noise."""
    x, estimates = start, []
    for step in steps:
        alpha = math.sqrt(SCHEDULE.alphas_cumprod[step.timestep])
        variance = 1.0 - alpha**2
        noise = math.sqrt(variance) * (x - alpha * mean) / ((alpha * spread) ** 2 + variance)
        estimates.insert(0, step.of_noisy * x - step.of_noise * noise)
        x = step.of_current * x + sum(w * e for w, e in zip(step.history, estimates, strict=False))
    return x


def true_path(level: int, start_level: int, start: float, mean: float, spread: float) -> float:
    """Where the ordinary differential equation leads to from `start`, with Gaussian data."""

    def moments(at: int) -> tuple[float, float]:
        alpha = math.sqrt(SCHEDULE.alphas_cumprod[at])
        return alpha * mean, math.hypot(alpha * spread, math.sqrt(1.0 - alpha**2))

    (first_mean, first_spread), (last_mean, last_spread) = moments(start_level), moments(level)
    return last_mean + (start - first_mean) / first_spread * last_spread


def test_higher_orders_are_nearer_to_the_true_solution() -> None:
    levels = np.linspace(40, 4, 19).round().astype(int).tolist()
    truth = true_path(4, 40, 0.7, 0.4, 0.8)
    errors = [abs(run(solver_steps(SCHEDULE, levels, order=order)[:-1], 0.7, 0.4, 0.8) - truth) for order in (1, 2, 3)]
    assert errors[0] > 3 * errors[1] > 3.6 * errors[2]
    assert errors[0] < 0.02


def test_first_order_with_all_noise_is_the_ancestral_chain() -> None:
    steps = solver_steps(SCHEDULE, range(49, -1, -1), order=1, stochasticity=1.0)
    of_start, of_noisy = SCHEDULE.posterior_mean_coefficients
    for step in steps[:-1]:
        level = step.timestep
        assert step.of_current == pytest.approx(of_noisy[level], rel=1e-9)
        assert step.history == pytest.approx((of_start[level],), rel=1e-9)
        assert step.std == pytest.approx(SCHEDULE.posterior_std[level], rel=1e-9)


def test_correction_goes_from_first_order_to_the_full_one() -> None:
    levels = [40, 20, 5]
    none, half, full = (solver_steps(SCHEDULE, levels, order=2, correction=share)[1] for share in (0.0, 0.5, 1.0))
    first = solver_steps(SCHEDULE, levels, order=1)[1]
    assert none.history == pytest.approx((*first.history, 0.0))
    assert half.history == pytest.approx([(a + b) / 2 for a, b in zip(none.history, full.history, strict=True)])


@pytest.mark.parametrize("num_steps", [2, 3, 6, 50, 1000])
def test_fast_sampling_takes_as_many_falling_levels_as_asked_for(num_steps: int) -> None:
    schedule = cosine_schedule(num_steps)
    for steps in {1, 2, num_steps // 2, num_steps - 1, num_steps} - {0}:
        plan = fast_sampling(schedule, steps)
        assert len(plan) == steps
        assert all(later.timestep < earlier.timestep for earlier, later in pairwise(plan))
        assert plan[-1].of_current == 0.0
        assert all(math.isfinite(value) for step in plan for value in (step.of_noisy, step.of_current, *step.history))


@pytest.mark.parametrize(
    ("levels", "settings"),
    [([], {}), ([3, 5], {}), ([5, 5], {}), ([50], {}), ([3], {"order": 0}), ([3], {"stochasticity": 2.0})],
)
def test_impossible_levels_are_refused(levels: list[int], settings: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        solver_steps(SCHEDULE, levels, **settings)  # type: ignore[arg-type]
