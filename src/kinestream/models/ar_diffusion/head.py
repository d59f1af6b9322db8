"""The diffusion head: a small MLP that turns a condition into a latent by denoising (MotionStreamer, section 3.3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.nn.diffusion import DiffusionSchedule, ancestral_steps, cosine_schedule, run_chain
from kinestream.nn.operations import EAGER, Affine, Operations, Value

_TIME_FREQUENCIES = 256
_MODULATION_ROWS = 4096
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


def activated(ops: Operations, x: Value) -> Value:
    """The head's activation."""
    return ops.silu(x)


class AdaLNBlock(nn.Module):
    """x + gate * mlp(norm(x) * (1 + scale) + shift), where shift, scale and gate come from step and condition."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.modulation = nn.Linear(width, 3 * width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def describe(self, ops: Operations, x: Value, shift: Value, gain: Value, gate: Value) -> Value:
        """The block with the modulation given, by any operations; gain is 1 + scale."""
        normed = ops.layer_norm(x, _NORM_EPS, self.norm.weight, self.norm.bias)
        inner = activated(ops, ops.linear(ops.multiply_add(normed, gain, shift), [self.up]))
        return ops.multiply_add(gate, ops.linear(inner, [self.down]), x)

    def folded(self) -> AdaLNBlock:
        """See `DiffusionHead.folded`."""
        gain, offset, own = self.norm.weight, self.norm.bias, self.modulation
        shift, scale, gate = own.weight.chunk(3)
        shift_bias, scale_bias, gate_bias = own.bias.chunk(3)
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin.norm = nn.LayerNorm(len(gain), eps=self.norm.eps, elementwise_affine=False)
        twin.modulation = copy.copy(own)
        weight = torch.cat([shift + offset[:, None] * scale, gain[:, None] * scale, gate])
        bias = torch.cat([shift_bias + offset * (1 + scale_bias), gain * (1 + scale_bias) - 1, gate_bias])
        twin.modulation._parameters = {"weight": nn.Parameter(weight, False), "bias": nn.Parameter(bias, False)}
        return twin


class DiffusionHead(nn.Module):
    """Predict the noise in x_t from the step t and a condition of the transformer, and sample latents with it.

    The modulations of all blocks depend on step and condition only; they are three fifths of the weights, and made for
    many steps at once.
    """

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

    # The network, by any operations -------------------------------------------------------------------------------

    def modulation_layers(self) -> list[Affine]:
        """The layers of `modulations`: each block's shift, gain and gate, then shift and gain of the output."""
        width = self.config.head_width
        layers = [block.modulation for block in self._blocks()] + [self.output_modulation]
        one = functional.pad(layers[0].bias.new_ones(width), (width, width))  # gain is 1 + scale
        return [Affine(layer.weight, layer.bias + one[: len(layer.bias)]) for layer in layers]

    def modulations(self, ops: Operations, times: Value, conditions: Value, layers: Sequence[Affine]) -> Value:
        """All that `denoise` needs to know of steps and conditions, [..., (3 blocks + 2) W].

        times: what `time_embedding` gives, [..., W]; conditions [..., H]; layers: `modulation_layers`.
        """
        return ops.linear(activated(ops, ops.add(times, ops.linear(conditions, [self.condition]))), layers)

    def denoise(self, ops: Operations, x: Value, modulations: Value) -> Value:
        """The noise estimates [N, C] for noisy latents x [N, C] under modulations [N, (3 blocks + 2) W]."""
        blocks = self._blocks()
        parts = ops.split(modulations, [self.config.head_width] * (3 * len(blocks) + 2), -1)
        hidden = ops.linear(x, [self.input])
        for index, block in enumerate(blocks):
            hidden = block.describe(ops, hidden, *parts[3 * index : 3 * index + 3])
        shift, gain = parts[-2:]
        # Apart, not by `multiply_add`: as precise as x, whatever the modulations are in.
        return ops.linear(ops.add(ops.multiply(ops.layer_norm(hidden, _NORM_EPS), gain), shift), [self.output])

    def _blocks(self) -> list[AdaLNBlock]:
        return [block for block in self.blocks if isinstance(block, AdaLNBlock)]

    @torch.no_grad()
    def folded(self) -> DiffusionHead:
        """An equal head whose norms have no gain and bias: they are in the modulations. For programs, not training.

        (n g + b) (1 + scale) + shift = n [1 + (g (1 + scale) - 1)] + [b (1 + scale) + shift].
        """
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin.blocks = nn.ModuleList(block.folded() for block in self._blocks())
        return twin

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
        out: Tensor = EAGER.linear(activated(EAGER, EAGER.linear(waves, [self.time_in])), [self.time_out])
        return out

    def forward(self, x: Float[Tensor, "n c"], t: Int[Tensor, " n"], c: Float[Tensor, "n h"]) -> Float[Tensor, "n c"]:
        """Give the noise estimate for noisy latents x at steps t under conditions c."""
        out: Tensor = self.denoise(
            EAGER, x, self.modulations(EAGER, self.time_embedding(t), c, self.modulation_layers())
        )
        return out

    # Sampling -----------------------------------------------------------------------------------------------------

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
        dtype, layers = self.condition.weight.dtype, self.modulation_layers()
        conditions = (cond if uncond is None else torch.cat([cond, uncond])).to(dtype)
        copies = len(conditions) // len(cond)
        scale = torch.as_tensor(guidance_scale, dtype=torch.float32, device=cond.device).expand(len(cond))[:, None]

        def modulate(timesteps: Sequence[int]) -> Tensor:
            times = self.time_embedding(torch.tensor(timesteps, device=cond.device))
            made: Tensor = self.modulations(EAGER, times[:, None], conditions, layers)
            return made

        def denoise(x: Tensor, modulations: Tensor) -> Tensor:
            estimates: Tensor = self.denoise(EAGER, x.repeat(copies, 1).to(dtype), modulations)
            return estimates.float()

        out: Tensor = run_chain(
            ancestral_steps(schedule),
            (noise.initial.float(), noise.steps.float() * temperature),
            modulate,
            denoise,
            None if uncond is None else scale,
            span=max(1, _MODULATION_ROWS // len(conditions)),
        )
        return out

    def _check_noise(self, noise: SamplingNoise, batch: int, steps: int) -> None:
        expected = (batch, self.config.latent_dim)
        if tuple(noise.initial.shape) != expected or tuple(noise.steps.shape) != (steps, *expected):
            raise BadInputError(
                f"Sampling {batch} latents in {steps} steps needs noise {expected} and {(steps, *expected)}, "
                f"got {tuple(noise.initial.shape)} and {tuple(noise.steps.shape)}."
            )
