"""The transformer and the diffusion head as functions of fixed shapes, which a graph of a device can hold.

Weights and products are in one precision, bfloat16 or float32; what adds up stays float32: the residual streams, norms,
queries and keys until they are rotated, softmax (inside the fused attention) and the sampler's x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinestream.models.ar_diffusion.head import AdaLNBlock, DiffusionHead
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.ar_diffusion.transformer import Block
from kinestream.nn.attention import rotary_tables
from kinestream.nn.diffusion import SolverStep

_NORM_EPS = 1e-6
_RMS_EPS = 1e-5
# Modulations of several sampling steps are made together, up to so many rows.
_MODULATION_ROWS = 4096
# Fused attention wants the length of what is attended to in multiples of this.
_ALIGNED = 8

Attend = Callable[[int, float, Tensor, Tensor, Tensor], Tensor]


class _Linear(NamedTuple):
    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


def _linear(layer: nn.Linear, dtype: torch.dtype) -> _Linear:
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)
    return _Linear(layer.weight.detach().to(dtype), bias)


class _Layer(NamedTuple):
    attention_norm: Tensor
    qkv: _Linear
    scale: float
    normalize: bool
    out: _Linear
    mlp_norm: Tensor
    gate_up: _Linear
    down: _Linear


def _layer(block: nn.Module, dtype: torch.dtype) -> _Layer:
    assert isinstance(block, Block)
    attention, mlp = block.attention, block.mlp
    return _Layer(
        block.attention_norm.scale.detach().float(),
        _linear(attention.qkv, dtype),
        float(attention.scale),
        attention.normalize,
        _linear(attention.out, dtype),
        block.mlp_norm.scale.detach().float(),
        _Linear(torch.cat([mlp.gate.weight, mlp.up.weight]).detach().to(dtype)),
        _linear(mlp.down, dtype),
    )


class SlotTransformer:
    """A transformer whose keys and values lie in slots: a layer has [slots, 2, heads, positions, head_dim]."""

    def __init__(self, model: ARDiffusion, dtype: torch.dtype) -> None:
        config = model.config
        self._heads, head_dim = config.num_heads, config.hidden_dim // config.num_heads
        positions = -(-config.capacity // _ALIGNED) * _ALIGNED
        self.cache_shape = (2, config.num_heads, positions, head_dim)
        self._text_scale = config.text_scale
        self._text_in, self._latent_in = (_linear(layer, torch.float32) for layer in (model.text_in, model.latent_in))
        self._out = _linear(model.out, torch.float32)
        self._layers = [_layer(block, dtype) for block in model.transformer.blocks]
        self._final_norm = model.transformer.final_norm.scale.detach().float()
        cos, sin = rotary_tables(config.capacity, head_dim, self._final_norm.device)
        self._rotation = torch.complex(cos, sin)
        self._positions = torch.arange(positions, device=cos.device)

    def step(self, latents: Tensor, slots: Tensor, places: Tensor, caches: Sequence[Tensor]) -> Tensor:
        """Append latents [R, C] at positions `places` [R] of the slots [R]; gives the next conditions [R, H]."""
        ahead = (self._positions > places[:, None])[:, None, None]
        mask = torch.zeros_like(ahead, dtype=caches[0].dtype).masked_fill(ahead, float("-inf"))

        def attend(layer: int, scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            own = caches[layer]
            own[slots, :, :, places] = torch.stack([k[:, :, 0], v[:, :, 0]], dim=1)
            keys, values = own.index_select(0, slots).unbind(1)
            return functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=scale)

        rotation = self._rotation[places][:, None, None]
        return self._out(self._run(self._latent_in(latents)[:, None], rotation, attend)[:, 0])

    def fill(self, text: Tensor, history: Tensor, slots: Tensor, lengths: Tensor, caches: Sequence[Tensor]) -> Tensor:
        """Start slots [R] with texts [R, E] and `lengths` [R] of the latents [R, K, C]; gives the conditions [R, H].

        Positions behind a row's own are filled, too, and overwritten by the steps that reach them.
        """
        x = torch.cat([self._text_in(text * self._text_scale)[:, None], self._latent_in(history)], dim=1)
        length = x.shape[1]

        def attend(layer: int, scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            caches[layer][:, :, :, :length].index_copy_(0, slots, torch.stack([k, v], dim=1))
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)

        hidden = self._run(x, self._rotation[:length], attend)
        last = lengths[:, None, None].expand(-1, 1, hidden.shape[-1])
        return self._out(hidden.gather(1, last)[:, 0])

    def _run(self, x: Tensor, rotation: Tensor, attend: Attend) -> Tensor:
        width = x.shape[-1:]
        for index, layer in enumerate(self._layers):
            normed = functional.rms_norm(x, width, layer.attention_norm, _RMS_EPS)
            qkv = layer.qkv(normed).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
            qk, v = qkv[:2].float(), qkv[2]
            if layer.normalize:
                qk = functional.normalize(qk, dim=-1)
            turned = torch.view_as_complex(qk.unflatten(-1, (-1, 2)).contiguous()) * rotation
            q, k = torch.view_as_real(turned).flatten(-2).to(v.dtype).unbind(0)
            attended = attend(index, layer.scale, q, k, v)
            x = x + layer.out(attended.transpose(1, 2).flatten(2))
            gate, up = layer.gate_up(functional.rms_norm(x, width, layer.mlp_norm, _RMS_EPS)).chunk(2, dim=-1)
            x = x + layer.down(functional.silu(gate) * up)
        return functional.rms_norm(x, width, self._final_norm, _RMS_EPS)


class _HeadBlock(NamedTuple):
    norm_gain: Tensor
    norm_bias: Tensor
    up: _Linear
    down: _Linear


class RowHead:
    """The diffusion head's reverse chain with all modulations made in one product."""

    def __init__(self, head: DiffusionHead, dtype: torch.dtype) -> None:
        self._head = head
        self._condition = _linear(head.condition, dtype)
        self._input, self._output = _linear(head.input, torch.float32), _linear(head.output, torch.float32)
        blocks = [block for block in head.blocks if isinstance(block, AdaLNBlock)]
        self._blocks = [
            _HeadBlock(
                block.norm.weight.detach().float(),
                block.norm.bias.detach().float(),
                _linear(block.up, dtype),
                _linear(block.down, dtype),
            )
            for block in blocks
        ]
        layers = [block.modulation for block in blocks] + [head.output_modulation]
        width = head.config.head_width
        biases = [layer.bias.detach().clone() for layer in layers]
        for bias in biases:
            bias[width : 2 * width] += 1  # shift, then 1 + scale, then gate
        self._parts = 3 * len(blocks) + 2
        self._modulations = _Linear(
            torch.cat([layer.weight for layer in layers]).detach().to(dtype), torch.cat(biases).to(dtype)
        )
        self._times = head.time_embedding(torch.arange(head.config.diffusion_steps, device=biases[0].device)).float()

    def sample(self, conditions: Tensor, guidance: Tensor | None, noise: Tensor, plan: Sequence[SolverStep]) -> Tensor:
        """Normalised latents [B, C] from conditions [G, B, H] (with guidance [B] also those without a text) and noise.

        noise: [S + 1, B, C], what the chain begins with and each step's own.
        """
        copies = len(conditions)
        projected = self._condition(conditions.flatten(0, 1)).float()
        span = max(1, _MODULATION_ROWS // len(projected))
        x, starts = noise[0], list[Tensor]()
        for first in range(0, len(plan), span):
            steps = plan[first : first + span]
            times = torch.stack([self._times[step.timestep] for step in steps])
            mixed = functional.silu(times[:, None] + projected)
            modulations = self._modulations(mixed).unflatten(-1, (self._parts, -1)).unbind(0)
            for number, (step, parts) in enumerate(zip(steps, modulations, strict=True), first + 1):
                estimates = self._denoise(x.repeat(copies, 1), parts.unbind(1)).unflatten(0, (copies, -1))
                estimate = estimates[0]
                if guidance is not None:
                    estimate = estimates[1] + guidance[:, None] * (estimate - estimates[1])
                starts.insert(0, step.of_noisy * x - step.of_noise * estimate)
                moved = [weight * start for weight, start in zip(step.history, starts, strict=False)]
                if step.of_current:
                    moved.append(step.of_current * x)
                if step.std:
                    moved.append(step.std * noise[number])
                x = sum(moved[1:], moved[0])
        return x

    def _denoise(self, x: Tensor, parts: Sequence[Tensor]) -> Tensor:
        hidden = self._input(x)
        width = hidden.shape[-1:]
        for index, block in enumerate(self._blocks):
            shift, gain, gate = parts[3 * index : 3 * index + 3]
            normed = functional.layer_norm(hidden, width, block.norm_gain, block.norm_bias, _NORM_EPS)
            # One kernel each: the products are summed in float32, whatever goes in or out.
            modulated = torch.addcmul(shift, normed, gain, out=torch.empty_like(shift))
            hidden = torch.addcmul(hidden, gate, block.down(functional.silu(block.up(modulated))))
        shift, gain = parts[-2:]
        return self._output(functional.layer_norm(hidden, width, eps=_NORM_EPS) * gain + shift)
