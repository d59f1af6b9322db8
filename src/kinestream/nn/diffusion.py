"""The cosine noise schedule and its reverse steps (DDPM with noise prediction and fixed small variance)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.errors import BadInputError

Array = npt.NDArray[np.float64]

_MAX_BETA = 0.999


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
