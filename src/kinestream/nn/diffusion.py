"""The cosine noise schedule, its reverse steps (DDPM, noise prediction, fixed small variance) and a fast solver."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.errors import BadInputError

Array = npt.NDArray[np.float64]

_MAX_BETA = 0.999


class SolverStep(NamedTuple):
    """One step of a multistep solver.

    The start estimate is made first: x_0 = of_noisy x - of_noise noise_estimate. Then
    x <- of_current x + sum of history[j] times the x_0 of j steps ago + std fresh_noise.
    """

    timestep: int
    of_noisy: float
    of_noise: float
    of_current: float
    history: tuple[float, ...]
    std: float


@dataclass(frozen=True)
class DiffusionSchedule:
    """Everything the diffusion needs to know of its noise levels, float64, index 0 the least noise.

    alphas_cumprod: share of signal variance left at each level. timesteps: the training step each level belongs to,
    which is what the network is told.
    """

    alphas_cumprod: Array
    timesteps: tuple[int, ...]

    @property
    def num_steps(self) -> int:
        """Number of noise levels."""
        return len(self.timesteps)

    @cached_property
    def previous_alphas_cumprod(self) -> Array:
        """alphas_cumprod one level down; 1 before the first."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def betas(self) -> Array:
        """Variance added from one level to the next."""
        return 1.0 - self.alphas_cumprod / self.previous_alphas_cumprod

    @cached_property
    def posterior_variance(self) -> Array:
        """Variance of q(x_{t-1} | x_t, x_0), the fixed small variance of the reverse step."""
        return self.betas * (1.0 - self.previous_alphas_cumprod) / (1.0 - self.alphas_cumprod)

    @cached_property
    def posterior_std(self) -> Array:
        """Deviation of the noise in a reverse step; level 0 takes level 1's and is never used for noise."""
        variance = self.posterior_variance.copy()
        variance[0] = variance[min(1, len(variance) - 1)]
        return np.sqrt(variance)

    @cached_property
    def posterior_mean_coefficients(self) -> tuple[Array, Array]:
        """Weights of x_0 and x_t in the mean of q(x_{t-1} | x_t, x_0)."""
        total = 1.0 - self.alphas_cumprod
        of_start = self.betas * np.sqrt(self.previous_alphas_cumprod) / total
        of_noisy = (1.0 - self.previous_alphas_cumprod) * np.sqrt(1.0 - self.betas) / total
        return of_start, of_noisy

    @cached_property
    def start_coefficients(self) -> tuple[Array, Array]:
        """Weights with x_0 = a x_t - b noise."""
        return np.sqrt(1.0 / self.alphas_cumprod), np.sqrt(1.0 / self.alphas_cumprod - 1.0)

    def add_noise(self, start: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Give x_t for [N, C] starts and noise and levels t [N]."""
        signal = self._pick(np.sqrt(self.alphas_cumprod), t, start)
        return signal * start + self._pick(np.sqrt(1.0 - self.alphas_cumprod), t, start) * noise

    def predict_start(self, noisy: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Give the x_0 that follows from x_t [N, C], a noise estimate and levels t [N]; not clipped."""
        of_noisy, of_noise = self.start_coefficients
        return self._pick(of_noisy, t, noisy) * noisy - self._pick(of_noise, t, noisy) * noise

    @staticmethod
    def _pick(values: Array, t: Tensor, like: Tensor) -> Tensor:
        table = torch.as_tensor(values, dtype=like.dtype, device=like.device)
        return table[t].view(-1, *[1] * (like.dim() - 1))

    def respaced(self, steps: int) -> DiffusionSchedule:
        """Give a chain of fewer steps over evenly chosen levels; all steps give the schedule itself.

        A shorter chain leaves out the topmost level: its x_0 estimate multiplies the network's error by 1015, which a
        long jump from there would keep.
        """
        if not 1 <= steps <= self.num_steps:
            raise BadInputError(f"Sampling takes 1 to {self.num_steps} steps, got {steps}.")
        if steps == self.num_steps:
            return self
        top = self.num_steps - 2
        chosen = np.linspace(0, top, steps).round().astype(int) if steps > 1 else np.array([top])
        return DiffusionSchedule(self.alphas_cumprod[chosen], tuple(self.timesteps[i] for i in chosen))


@lru_cache(maxsize=8)
def cosine_schedule(num_steps: int = 50) -> DiffusionSchedule:
    """Give the squared-cosine schedule (offset 0.008, betas at most 0.999) of MotionStreamer's head: 50 steps."""
    if num_steps < 2:
        raise BadInputError(f"A diffusion schedule has at least 2 steps, got {num_steps}.")

    def signal(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - signal((i + 1) / num_steps) / signal(i / num_steps), _MAX_BETA) for i in range(num_steps)]
    alphas_cumprod: Array = np.cumprod(1.0 - np.array(betas, dtype=np.float64), dtype=np.float64)
    return DiffusionSchedule(alphas_cumprod, tuple(range(num_steps)))


def solver_steps(
    schedule: DiffusionSchedule,
    levels: Sequence[int],
    *,
    order: int = 2,
    stochasticity: float = 0.0,
    correction: float = 1.0,
) -> tuple[SolverStep, ...]:
    """Give the steps of an exponential multistep solver through `levels` (falling) and on to the clean sample.

    With l = log(alpha / sigma), h = l_s - l_t and c = 1 + stochasticity the reverse equation has the exact solution
    x_s = sigma_s / sigma_t exp(-(c - 1) h) x_t + alpha_s c int exp(-c (l_s - l)) x_0(l) dl + noise, where x_0(l) is
    interpolated through the newest `order` estimates. stochasticity 0 is the ordinary differential equation: order 1
    is DDIM, 2 and 3 are DPM-Solver++ 2M and 3M (Lu et al., 2022, algorithm 2) with the integral taken exactly.
    stochasticity 1 takes as much fresh noise as the ancestral chain, and with order 1 its steps. correction is the
    share that is taken of what the higher order adds to order 1. The last step, to no noise at all, takes the newest
    estimate.
    """
    if not levels or any(not 0 <= level < schedule.num_steps for level in levels):
        raise BadInputError(f"Solver levels lie in 0 to {schedule.num_steps - 1}, got {list(levels)}.")
    if any(later >= earlier for earlier, later in itertools.pairwise(levels)):
        raise BadInputError(f"Solver levels fall from step to step, got {list(levels)}.")
    if order < 1 or not 0.0 <= stochasticity <= 1.0:
        raise BadInputError(f"A solver has order 1 or more and stochasticity 0 to 1, got {order}, {stochasticity}.")
    alpha, sigma = np.sqrt(schedule.alphas_cumprod), np.sqrt(1.0 - schedule.alphas_cumprod)
    half_log_snr = np.log(alpha / sigma)
    speed = 1.0 + stochasticity
    of_noisy, of_noise = schedule.start_coefficients
    steps = []
    for index, level in enumerate(levels):
        estimate = (schedule.timesteps[level], float(of_noisy[level]), float(of_noise[level]))
        if index == len(levels) - 1:
            steps.append(SolverStep(*estimate, 0.0, (1.0,), 0.0))
            break
        following = levels[index + 1]
        known = [levels[index - back] for back in range(min(order, index + 1))]
        span = half_log_snr[following] - half_log_snr[level]
        weights = alpha[following] * _interpolation_weights(half_log_snr[known] - half_log_snr[level], span, speed)
        weights = correction * weights
        weights[0] += (1.0 - correction) * alpha[following] * -math.expm1(-speed * span)
        kept = sigma[following] / sigma[level] * math.exp(-stochasticity * span)
        std = sigma[following] * math.sqrt(1.0 - math.exp(-2.0 * stochasticity * span))
        steps.append(SolverStep(*estimate, float(kept), tuple(float(weight) for weight in weights), float(std)))
    return tuple(steps)


def ancestral_steps(schedule: DiffusionSchedule) -> tuple[SolverStep, ...]:
    """Give the steps of the reverse chain itself, from q(x_{t-1} | x_t, x_0) with the fixed small variance.

    What the mean takes of x_t is in the start estimate's coefficients: x is not kept on its own.
    """
    of_noisy, of_noise = schedule.start_coefficients
    of_start, of_current = schedule.posterior_mean_coefficients
    return tuple(
        SolverStep(
            schedule.timesteps[level],
            float(of_start[level] * of_noisy[level] + of_current[level]),
            float(of_start[level] * of_noise[level]),
            0.0,
            (1.0,),
            float(schedule.posterior_std[level]) if level else 0.0,
        )
        for level in reversed(range(schedule.num_steps))
    )


def run_chain(
    steps: Sequence[SolverStep],
    noise: tuple[Any, Any],
    modulate: Callable[[Sequence[int]], Any],
    denoise: Callable[[Any, Any], Any],
    guidance: Any = None,
    *,
    span: int,
) -> Any:
    """Follow the steps from noise to a sample [B, C]; arrays or tensors.

    Args:
        steps: from the noisiest.
        noise: what the chain begins with, [B, C], and each step's own, [S, B, C].
        modulate: from training steps to what the network makes of each of them (and the conditions); asked for up to
            `span` steps at once.
        denoise: from x and what one step is to noise estimates [B, C]; with guidance [2 B, C], those without the
            condition last.
        guidance: e_u + guidance (e_c - e_u) is the estimate, [B, 1]; None for no guidance.
    """
    x, fresh = noise
    starts: list[Any] = []
    for number, step in enumerate(steps):
        if number % span == 0:
            modulations = modulate([later.timestep for later in steps[number : number + span]])
        estimate = denoise(x, modulations[number % span])
        if guidance is not None:
            conditioned, unconditioned = estimate[: len(x)], estimate[len(x) :]
            estimate = unconditioned + guidance * (conditioned - unconditioned)
        starts = [step.of_noisy * x - step.of_noise * estimate, *starts][: len(step.history)]
        moved = [start if weight == 1.0 else weight * start for weight, start in zip(step.history, starts, strict=True)]
        if step.of_current:
            moved.append(step.of_current * x)
        if step.std:
            moved.append(step.std * fresh[number])
        x = sum(moved[1:], moved[0])
    return x


def fast_sampling(schedule: DiffusionSchedule, steps: int) -> tuple[SolverStep, ...]:
    """Give the solver steps that come nearest to the whole ancestral chain when few are taken.

    The levels are even in log(alpha / sigma) between the cleanest and the second noisiest (see `respaced`), both ends
    left out. Order 1 with fresh noise gives latents that vary too little, order 2 too much: the correction lies between
    (docs/performance.md has the comparison).
    """
    if not 1 <= steps <= schedule.num_steps:
        raise BadInputError(f"Sampling takes 1 to {schedule.num_steps} steps, got {steps}.")
    return solver_steps(schedule, _even_levels(schedule, steps), order=2, stochasticity=1.0, correction=0.7)


def _even_levels(schedule: DiffusionSchedule, steps: int) -> list[int]:
    half_log_snr = 0.5 * np.log(schedule.alphas_cumprod / (1.0 - schedule.alphas_cumprod))
    top = schedule.num_steps - (1 if steps == schedule.num_steps else 2)
    wanted = np.linspace(half_log_snr[top], half_log_snr[0], steps + 2)[1:-1]
    levels: list[int] = []
    for number, value in enumerate(wanted):
        nearest = int(np.abs(half_log_snr - value).argmin())
        highest = levels[-1] - 1 if levels else top
        levels.append(max(min(nearest, highest), steps - 1 - number))
    return levels


def _interpolation_weights(nodes: Array, span: float, speed: float) -> Array:
    """Weights w with sum w_j p(nodes_j) = speed int_0^span exp(speed (u - span)) p(u) du for polynomials p."""
    moments = [-math.expm1(-speed * span)]
    for power in range(1, len(nodes)):
        moments.append(span**power - power / speed * moments[-1])
    powers = np.vander(nodes, increasing=True).T
    weights: Array = np.linalg.solve(powers, np.array(moments))
    return weights
