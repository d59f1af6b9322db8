"""The diffusion head as two programs: all modulations of a latent at once, then one small network a sampling step.

The modulations depend on step and condition only, so their weights, three fifths of the head, are read once a latent
instead of once a step. Gain and bias of each block's norm are folded into them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kinestream.inference.graph import Affine, Array, Node, Precision, Program, Runtime
from kinestream.models.ar_diffusion.head import AdaLNBlock, DiffusionHead, SamplingNoise
from kinestream.nn.diffusion import SolverStep

_NORM_EPS = 1e-6
# Modulations of so many rows and steps are made at once: all of a latent's, for one to a few streams.
_MODULATION_ROWS = 256


def affine(layer: nn.Linear) -> Affine:
    """Weights of a linear layer as arrays (shared memory where it is float32 already)."""
    return Affine(array(layer.weight), None if layer.bias is None else array(layer.bias))


def array(values: Tensor) -> Array:
    """A float32 array on the processor."""
    out: Array = values.detach().float().cpu().numpy()
    return out


class HeadPrograms:
    """Samples latents with a compiled diffusion head."""

    def __init__(self, head: DiffusionHead, runtime: Runtime, precision: Precision) -> None:
        self._modulate = _modulations(head, runtime, precision)
        self._denoise = _denoiser(head, runtime, precision)
        # What embeds the steps is small and needed once for each number of steps.
        self._times = {t: array(head.time_embedding(torch.tensor([t]))) for t in head.schedule.timesteps}

    def sample(
        self,
        cond: Array,
        uncond: Array | None,
        guidance_scale: Array,
        noise: SamplingNoise,
        steps: Sequence[SolverStep],
    ) -> Array:
        """One normalised latent a row, [B, C]; guidance_scale [B]."""
        rows = cond if uncond is None else np.concatenate([cond, uncond])
        copies = 1 if uncond is None else 2
        scale = guidance_scale[:, None]
        x, fresh = noise.initial.float().numpy(), noise.steps.float().numpy()
        starts: list[Array] = []
        span = max(1, _MODULATION_ROWS // len(rows))
        for number, step in enumerate(steps):
            if number % span == 0:
                times = np.stack([self._times[later.timestep] for later in steps[number : number + span]])
                (modulations,) = self._modulate(times, rows)
            (estimate,) = self._denoise(np.concatenate([x] * copies), modulations[number % span])
            if uncond is not None:
                conditioned, unconditioned = estimate[: len(x)], estimate[len(x) :]
                estimate = unconditioned + scale * (conditioned - unconditioned)
            starts = [np.float32(step.of_noisy) * x - np.float32(step.of_noise) * estimate, *starts]
            starts = starts[: len(step.history)]
            x = np.float32(step.of_current) * x
            for weight, start in zip(step.history, starts, strict=True):
                x = x + np.float32(weight) * start
            if step.std:
                x = x + np.float32(step.std) * fresh[number]
        return x


def _blocks(head: DiffusionHead) -> list[AdaLNBlock]:
    return [block for block in head.blocks if isinstance(block, AdaLNBlock)]


def _modulations(head: DiffusionHead, runtime: Runtime, precision: Precision) -> Program:
    """(times [S, 1, W], conditions [R, H]) -> [S, R, (3 blocks + 2) W]: each block's shift, gain, gate; shift, gain."""
    graph = runtime.graph(precision)
    width = head.config.head_width
    times = graph.input(-1, 1, width)
    conditions = graph.linear(graph.input(-1, head.config.hidden_dim), [affine(head.condition)])
    mixed = graph.silu(graph.add(times, conditions))
    layers: list[Affine] = []
    for block in _blocks(head):
        layers += _folded(affine(block.modulation), array(block.norm.weight), array(block.norm.bias))
    layers += _folded(affine(head.output_modulation), np.ones(width, np.float32), np.zeros(width, np.float32))
    return graph.compile(graph.linear(mixed, layers))


def _folded(layer: Affine, norm_gain: Array, norm_bias: Array) -> list[Affine]:
    """Shift, gain and gate as separate layers that act on a norm without gain and bias.

    (n g + b) (1 + scale) + shift = n [g (1 + scale)] + [b (1 + scale) + shift].
    """
    width = len(norm_gain)
    bias = layer.bias
    assert bias is not None, "modulations have biases"
    shift, scale = layer.weight[:width], layer.weight[width : 2 * width]
    if norm_bias.any():
        shift = shift + norm_bias[:, None] * scale
    shift_bias = bias[:width] + norm_bias * (1 + bias[width : 2 * width])
    gain = Affine(norm_gain[:, None] * scale, norm_gain * (1 + bias[width : 2 * width]))
    rest = [Affine(layer.weight[2 * width :], bias[2 * width :])] if len(bias) > 2 * width else []
    return [Affine(shift, shift_bias), gain, *rest]


def _denoiser(head: DiffusionHead, runtime: Runtime, precision: Precision) -> Program:
    """(x [R, C], modulations of the step [R, (3 blocks + 2) W]) -> noise estimates [R, C]."""
    graph = runtime.graph(precision)
    x = graph.input(-1, head.config.latent_dim)
    blocks = _blocks(head)
    parts = graph.split(graph.input(-1, (3 * len(blocks) + 2) * head.config.head_width), 3 * len(blocks) + 2, 1)

    def modulated(hidden: Node, shift: Node, gain: Node) -> Node:
        return graph.add(graph.multiply(graph.layer_norm(hidden, _NORM_EPS), gain), shift)

    hidden = graph.linear(x, [affine(head.input)])
    for index, block in enumerate(blocks):
        shift, gain, gate = parts[3 * index : 3 * index + 3]
        inner = graph.linear(modulated(hidden, shift, gain), [affine(block.up)])
        inner = graph.linear(graph.silu(inner), [affine(block.down)])
        hidden = graph.add(hidden, graph.multiply(gate, inner))
    return graph.compile(graph.linear(modulated(hidden, parts[-2], parts[-1]), [affine(head.output)]))
