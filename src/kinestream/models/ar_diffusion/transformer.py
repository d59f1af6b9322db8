"""The causal transformer (LLaMA blocks: RMSNorm, SwiGLU, normalised queries and keys, rotary positions)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.nn.attention import (
    Attend,
    AttendStep,
    AttendWhole,
    AttentionCache,
    CausalSelfAttention,
    RMSNorm,
    rotary_tables,
)
from kinestream.nn.operations import EAGER, Operations, Value, swiglu


class TransformerState(NamedTuple):
    """The key-value cache of each layer and the number of positions each row has used, [B]."""

    layers: tuple[AttentionCache, ...]
    length: Tensor


class SwiGLU(nn.Module):
    """The weights of down(silu(gate(x)) * up(x)), without biases."""

    def __init__(self, dim: int, inner_dim: int):
        super().__init__()
        self.gate = nn.Linear(dim, inner_dim, bias=False)
        self.up = nn.Linear(dim, inner_dim, bias=False)
        self.down = nn.Linear(inner_dim, dim, bias=False)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ARDiffusionConfig):
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_dim)
        self.attention = CausalSelfAttention(
            config.hidden_dim,
            config.num_heads,
            config.initial_attention_scale,
            learn_scale=config.learn_attention_scale,
            normalize=config.normalize_qk,
        )
        self.mlp_norm = RMSNorm(config.hidden_dim)
        self.mlp = SwiGLU(config.hidden_dim, config.mlp_dim)

    def describe(self, ops: Operations, x: Value, angles: Any, attend: Attend) -> Value:
        """The block, by any operations."""
        normed = ops.rms_norm(x, self.attention_norm.scale, self.attention_norm.eps)
        x = ops.add(x, self.attention.describe(ops, normed, angles, attend))
        normed, mlp = ops.rms_norm(x, self.mlp_norm.scale, self.mlp_norm.eps), self.mlp
        return ops.add(x, swiglu(ops, normed, mlp.gate, mlp.up, mlp.down))


class Transformer(nn.Module):
    """Embedded tokens [B, T, H] to normalised hidden vectors [B, T, H], each seeing itself and what came before."""

    def __init__(self, config: ARDiffusionConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(config.hidden_dim)

    def describe(self, ops: Operations, x: Value, angles: Any, attend: Attend) -> Value:
        """All blocks, by any operations; `attend` is asked once a block, in their order. `normalized` comes last."""
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.describe(ops, x, angles, attend)
        return x

    def normalized(self, ops: Operations, x: Value) -> Value:
        """The norm after the last block."""
        return ops.rms_norm(x, self.final_norm.scale, self.final_norm.eps)

    def _rotary(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return rotary_tables(self.config.capacity, self.config.hidden_dim // self.config.num_heads, device)

    def forward(self, x: Float[Tensor, "b t h"]) -> Float[Tensor, "b t h"]:
        """Run whole sequences."""
        return self._run_whole(x)[0]

    def _run_whole(self, x: Tensor) -> tuple[Tensor, list[AttentionCache]]:
        whole = AttendWhole()
        cos, sin = (table[: x.shape[1]] for table in self._rotary(x.device))
        out: Tensor = self.normalized(EAGER, self.describe(EAGER, x, (cos, sin), whole))
        return out, whole.caches

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TransformerState:
        """Give empty caches for `config.capacity` positions."""
        weight = self.final_norm.scale
        heads = self.config.num_heads
        empty = torch.zeros(
            batch_size,
            heads,
            self.config.capacity,
            self.config.hidden_dim // heads,
            device=device if device is not None else weight.device,
            dtype=dtype if dtype is not None else weight.dtype,
        )
        layers = tuple(AttentionCache(empty, empty) for _ in self.blocks)
        return TransformerState(layers, torch.zeros(batch_size, dtype=torch.long, device=empty.device))

    def step(self, x: Float[Tensor, "b 1 h"], state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Run one new position per row, of which each row must have one left."""
        step = AttendStep(list(state.layers), state.length, int(state.length.max()) + 1)
        cos, sin = (table[state.length][:, None, None] for table in self._rotary(x.device))
        out: Tensor = self.normalized(EAGER, self.describe(EAGER, x, (cos, sin), step))
        return out, TransformerState(tuple(step.caches), state.length + 1)

    def fill(self, x: Float[Tensor, "b t h"], lengths: Tensor) -> tuple[Tensor, TransformerState]:
        """Run whole sequences and keep their keys and values as a state with `lengths` [B] positions used."""
        out, caches = self._run_whole(x)
        room = (0, 0, 0, self.config.capacity - x.shape[1])
        layers = tuple(AttentionCache(functional.pad(c.keys, room), functional.pad(c.values, room)) for c in caches)
        return out, TransformerState(layers, lengths)
