"""The diffusion head: a small MLP that turns a condition into a latent by denoising (MotionStreamer, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.models.ar_diffusion.small_batch import (
    Affine,
    BlockWeights,
    HeadWeights,
    StepCoefficients,
    reverse_chain,
)
from kinestream.nn.diffusion import DiffusionSchedule, cosine_schedule
from kinestream.nn.row_linear import FEW_ROWS, LARGE_MATRIX

_TIME_FREQUENCIES = 256
_MODULATION_ROWS = 4096
# Up to so many rows the chain for small batches is faster where matrices are small.
_SMALL_ROWS = 2
_NORM_EPS = 1e-6


class SamplingNoise(NamedTuple):
    """All random numbers of one sampling: initial [B, C] and steps [S, B, C], steps[0] for the noisiest step."""

    initial: Tensor
    steps: Tensor


def draw_sampling_noise(
    batch_size: int,
    steps: int,
    latent_dim: int,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    *,
    device: torch.device | str | None = None,
) -> SamplingNoise:
    """Draw the noise of one sampling.

    With one generator per row, a row gets the same noise in any batch and at any place of it.
    """
    if isinstance(generator, Sequence):
        if len(generator) != batch_size:
            raise BadInputError(f"One generator per row is needed: {batch_size} rows, {len(generator)} generators.")
        rows = [_draw((steps + 1, latent_dim), one, device) for one in generator]
        noise = torch.stack(rows, dim=1)
    else:
        noise = _draw((steps + 1, batch_size, latent_dim), generator, device)
    return SamplingNoise(noise[0], noise[1:])


def _draw(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device | str | None) -> Tensor:
    source = generator.device if generator is not None else device
    return torch.randn(shape, generator=generator, device=source).to(device or source or "cpu")


class AdaLNBlock(nn.Module):
    """x + gate * mlp(norm(x) * (1 + scale) + shift), where shift, scale and gate come from step and condition."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.modulation = nn.Linear(width, 3 * width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def run(self, x: Tensor, shift: Tensor, gain: Tensor, gate: Tensor) -> Tensor:
        """Apply with the modulation given; gain is 1 + scale."""
        hidden = self.norm(x) * gain + shift
        out: Tensor = x + gate * self.down(functional.silu(self.up(hidden)))
        return out


class DiffusionHead(nn.Module):
    """Predict the noise in x_t from the step t and a condition of the transformer, and sample latents with it."""

    def __init__(self, config: ARDiffusionConfig):
        super().__init__()
        self.config = config
        width = config.head_width
        self.time_in = nn.Linear(_TIME_FREQUENCIES, width)
        self.time_out = nn.Linear(width, width)
        self.condition = nn.Linear(config.hidden_dim, width)
        self.input = nn.Linear(config.latent_dim, width)
        self.blocks = nn.ModuleList(AdaLNBlock(width) for _ in range(config.head_layers))
        self.output_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, config.latent_dim)

    @property
    def schedule(self) -> DiffusionSchedule:
        """The noise schedule of the configuration."""
        return cosine_schedule(self.config.diffusion_steps)

    def time_embedding(self, t: Int[Tensor, " n"]) -> Float[Tensor, "n w"]:
        """Embed training steps t: cosines and sines of 128 frequencies, then two linear layers."""
        half = _TIME_FREQUENCIES // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        angles = t.float()[:, None] * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.time_in.weight.dtype)
        out: Tensor = self.time_out(functional.silu(self.time_in(waves)))
        return out

    def _modulations(self, time: Tensor, condition: Tensor) -> list[tuple[Tensor, ...]]:
        mixed = functional.silu(time + condition)
        per_layer: list[tuple[Tensor, ...]] = []
        for block in self.blocks:
            assert isinstance(block, AdaLNBlock)
            shift, scale, gate = block.modulation(mixed).chunk(3, dim=-1)
            per_layer.append((shift, 1 + scale, gate))
        shift, scale = self.output_modulation(mixed).chunk(2, dim=-1)
        per_layer.append((shift, 1 + scale))
        return per_layer

    def _denoise(self, hidden: Tensor, modulations: Sequence[tuple[Tensor, ...]]) -> Tensor:
        for block, modulation in zip(self.blocks, modulations, strict=False):
            assert isinstance(block, AdaLNBlock)
            hidden = block.run(hidden, *modulation)
        shift, gain = modulations[-1]
        normed = functional.layer_norm(hidden, (hidden.shape[-1],), eps=_NORM_EPS)
        out: Tensor = self.output(normed * gain + shift)
        return out

    def forward(self, x: Float[Tensor, "n c"], t: Int[Tensor, " n"], c: Float[Tensor, "n h"]) -> Float[Tensor, "n c"]:
        """Give the noise estimate for noisy latents x at steps t under conditions c."""
        return self._denoise(self.input(x), self._modulations(self.time_embedding(t), self.condition(c)))

    @torch.no_grad()
    def sample(
        self,
        cond: Float[Tensor, "b h"],
        uncond: Float[Tensor, "b h"] | None = None,
        guidance_scale: float | Float[Tensor, " b"] = 4.0,
        *,
        noise: SamplingNoise | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        steps: int | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "b c"]:
        """Sample one latent per row by the reverse chain, guided with eps_u + s (eps_c - eps_u) (equation 8).

        cond, uncond: conditions under the text and under the empty text; without uncond there is no guidance. steps:
        fewer than the training chain's for speed. guidance_scale may differ by row. temperature scales the noise of
        the steps. The modulations depend on step and condition only and are made in one go. Gives a normalised latent
        in float32.
        """
        schedule = self.schedule.respaced(steps if steps is not None else self.config.diffusion_steps)
        batch = cond.shape[0]
        if noise is None:
            noise = draw_sampling_noise(
                batch, schedule.num_steps, self.config.latent_dim, generator, device=cond.device
            )
        self._check_noise(noise, batch, schedule.num_steps)
        with torch.autocast(cond.device.type, enabled=False):
            return self._sample(cond, uncond, guidance_scale, noise, schedule, temperature)

    def _sample(
        self,
        cond: Tensor,
        uncond: Tensor | None,
        guidance_scale: float | Tensor,
        noise: SamplingNoise,
        schedule: DiffusionSchedule,
        temperature: float,
    ) -> Tensor:
        batch = cond.shape[0]
        conditions = torch.stack([cond] if uncond is None else [cond, uncond])
        conditions = self.condition(conditions.to(self.condition.weight.dtype))
        scale = torch.as_tensor(guidance_scale, dtype=torch.float32, device=cond.device).expand(batch)[:, None]
        fresh_noise = noise.steps.float() * temperature
        levels = list(reversed(range(schedule.num_steps)))
        rows = conditions.shape[0] * batch
        few = FEW_ROWS if self.config.head_width**2 >= LARGE_MATRIX else _SMALL_ROWS
        small = rows <= few and cond.device.type == "cpu" and conditions.dtype == torch.float32
        run = self._run_small if small else self._run
        span = max(1, _MODULATION_ROWS // rows)
        x = noise.initial.float()
        for first in range(0, len(levels), span):
            block = levels[first : first + span]
            times = self.time_embedding(torch.tensor([schedule.timesteps[i] for i in block], device=cond.device))
            modulations = self._modulations(times[:, None, None], conditions)
            coefficients = [step_coefficients(schedule, level) for level in block]
            x = run(x, modulations, coefficients, fresh_noise[first : first + span], None if uncond is None else scale)
        return x

    def _run(
        self,
        x: Tensor,
        modulations: Sequence[tuple[Tensor, ...]],
        coefficients: Sequence[StepCoefficients],
        fresh_noise: Tensor,
        scale: Tensor | None,
    ) -> Tensor:
        copies = modulations[0][0].shape[1]
        for step, (of_noisy, of_noise, std) in enumerate(coefficients):
            here = [tuple(part[step] for part in layer) for layer in modulations]
            hidden = self.input(x.to(self.input.weight.dtype)).expand(copies, -1, -1)
            estimate = self._denoise(hidden, here).float()
            guided = estimate[0] if scale is None else estimate[1] + scale * (estimate[0] - estimate[1])
            x = of_noisy * x - of_noise * guided + std * fresh_noise[step]
        return x

    def _run_small(
        self,
        x: Tensor,
        modulations: Sequence[tuple[Tensor, ...]],
        coefficients: Sequence[StepCoefficients],
        fresh_noise: Tensor,
        scale: Tensor | None,
    ) -> Tensor:
        blocks = [block for block in self.blocks if isinstance(block, AdaLNBlock)]
        weights = HeadWeights(
            _affine(self.input),
            [
                BlockWeights(
                    block.norm.weight.detach().numpy(),
                    block.norm.bias.detach().numpy(),
                    _affine(block.up),
                    _affine(block.down),
                )
                for block in blocks
            ],
            _affine(self.output),
        )
        out = reverse_chain(
            weights,
            [[part.numpy() for part in layer] for layer in modulations],
            coefficients,
            x.numpy(),
            fresh_noise.numpy(),
            None if scale is None else scale.numpy(),
        )
        return torch.from_numpy(out)

    def _check_noise(self, noise: SamplingNoise, batch: int, steps: int) -> None:
        expected = (batch, self.config.latent_dim)
        if tuple(noise.initial.shape) != expected or tuple(noise.steps.shape) != (steps, *expected):
            raise BadInputError(
                f"Sampling {batch} latents in {steps} steps needs noise {expected} and {(steps, *expected)}, "
                f"got {tuple(noise.initial.shape)} and {tuple(noise.steps.shape)}."
            )


def _affine(layer: nn.Linear) -> Affine:
    return Affine(layer.weight.detach().numpy(), layer.bias.detach().numpy())


def step_coefficients(schedule: DiffusionSchedule, level: int) -> StepCoefficients:
    """Give the reverse step at a level: x <- of_noisy x - of_noise noise_estimate + std fresh_noise."""
    of_noisy, of_noise = schedule.start_coefficients
    mean_of_start, mean_of_noisy = schedule.posterior_mean_coefficients
    return StepCoefficients(
        float(mean_of_start[level] * of_noisy[level] + mean_of_noisy[level]),
        float(mean_of_start[level] * of_noise[level]),
        float(schedule.posterior_std[level]) if level else 0.0,
    )
