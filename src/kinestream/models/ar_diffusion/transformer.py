"""The causal transformer (LLaMA blocks: RMSNorm, SwiGLU, normalised queries and keys, rotary positions)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.nn.attention import AttentionCache, CausalSelfAttention, RMSNorm, rotary_tables
from kinestream.nn.row_linear import few_rows_linear


class TransformerState(NamedTuple):
    """The key-value cache of each layer and the number of positions each row has used, [B]."""

    layers: tuple[AttentionCache, ...]
    length: Tensor


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), without biases."""

    def __init__(self, dim: int, inner_dim: int):
        super().__init__()
        self.gate = nn.Linear(dim, inner_dim, bias=False)
        self.up = nn.Linear(dim, inner_dim, bias=False)
        self.down = nn.Linear(inner_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last dimension."""
        gate, up = few_rows_linear(x, self.gate.weight), few_rows_linear(x, self.up.weight)
        return few_rows_linear(functional.silu(gate) * up, self.down.weight)


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


class Transformer(nn.Module):
    """Embedded tokens [B, T, H] to normalised hidden vectors [B, T, H], each seeing itself and what came before."""

    def __init__(self, config: ARDiffusionConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(config.hidden_dim)

    def _rotary(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return rotary_tables(self.config.capacity, self.config.hidden_dim // self.config.num_heads, device)

    def forward(self, x: Float[Tensor, "b t h"]) -> Float[Tensor, "b t h"]:
        """Run whole sequences."""
        return self.run_whole(x)[0]

    def run_whole(self, x: Float[Tensor, "b t h"]) -> tuple[Tensor, list[AttentionCache]]:
        """Run whole sequences and give the keys and values of every layer too, [B, heads, T, head_dim]."""
        caches = []
        cos, sin = self._rotary(x.device)
        for block in self.blocks:
            assert isinstance(block, Block)
            attended, cache = block.attention.forward(block.attention_norm(x), cos, sin)
            x = x + attended
            x = x + block.mlp(block.mlp_norm(x))
            caches.append(cache)
        out: Tensor = self.final_norm(x)
        return out, caches

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
        horizon = int(state.length.max()) + 1
        layers = []
        cos, sin = self._rotary(x.device)
        for block, cache in zip(self.blocks, state.layers, strict=True):
            assert isinstance(block, Block)
            attended, new_cache = block.attention.step(block.attention_norm(x), cos, sin, cache, state.length, horizon)
            x = x + attended
            x = x + block.mlp(block.mlp_norm(x))
            layers.append(new_cache)
        out: Tensor = self.final_norm(x)
        return out, TransformerState(tuple(layers), state.length + 1)

    def fill(self, x: Float[Tensor, "b t h"], lengths: Tensor) -> tuple[Tensor, TransformerState]:
        """Run whole sequences and keep their keys and values as a state with `lengths` [B] positions used."""
        out, caches = self.run_whole(x)
        room = (0, 0, 0, self.config.capacity - x.shape[1])
        layers = tuple(AttentionCache(functional.pad(c.keys, room), functional.pad(c.values, room)) for c in caches)
        return out, TransformerState(layers, lengths)
