"""Causal self-attention with normalised queries and keys, rotary positions and a bounded key-value cache."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.nn.row_linear import few_rows_linear

_ROTARY_BASE = 10000.0


class AttentionCache(NamedTuple):
    """Keys (normalised and rotated) and values of the positions seen so far, both [B, heads, capacity, head_dim]."""

    keys: Tensor
    values: Tensor


class RMSNorm(nn.Module):
    """Scale each vector to unit root mean square, then by a learned gain."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return functional.rms_norm(x, self.scale.shape, self.scale.to(x.dtype), self.eps)


@lru_cache(maxsize=32)
def rotary_tables(num_positions: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give cosine and sine [positions, head_dim / 2] of position * 10000 ** (-2 i / head_dim)."""
    with torch.inference_mode(False):  # made once, and used with gradients too
        pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
        positions = torch.arange(num_positions, dtype=torch.float32, device="cpu")
        angles = torch.outer(positions, 1.0 / _ROTARY_BASE ** (pairs / head_dim))
        return angles.cos().to(device), angles.sin().to(device)


def rotate(x: Float[Tensor, "... t d"], cos: Tensor, sin: Tensor) -> Float[Tensor, "... t d"]:
    """Rotate neighbouring pairs of numbers (interleaved) by the angles of their positions."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def _plain_causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in plain products: for short sequences on CPUs the fused kernel's backward pass is ten times slower."""
    scores = (q @ k.transpose(-1, -2)).float()
    length = scores.shape[-1]
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1).to(v.dtype) @ v


class CausalSelfAttention(nn.Module):
    """softmax(scale q k) v with unit-length q and k; `scale` is one stored number per layer, with no 1/sqrt(d).

    `normalize` False leaves q and k as long as they are.
    """

    def __init__(
        self, dim: int, num_heads: int, scale: float, *, learn_scale: bool = False, normalize: bool = True
    ) -> None:
        super().__init__()
        self.num_heads, self.normalize = num_heads, normalize
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.scale = nn.Parameter(torch.tensor(float(scale)), requires_grad=learn_scale)

    def _heads(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = few_rows_linear(x, self.qkv.weight).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if self.normalize:
            q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
        return rotate(q, cos, sin) * self.scale.to(q.dtype), rotate(k, cos, sin), v

    def forward(self, x: Float[Tensor, "b t h"], cos: Tensor, sin: Tensor) -> tuple[Tensor, AttentionCache]:
        """Attend within whole sequences that start at position 0; gives the output and the keys and values."""
        q, k, v = self._heads(x, cos[: x.shape[1]], sin[: x.shape[1]])
        if x.device.type == "cpu" and torch.is_grad_enabled():
            attended = _plain_causal_attention(q, k, v)
        else:
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        return self.out(attended.transpose(1, 2).flatten(2)), AttentionCache(k, v)

    def step(
        self,
        x: Float[Tensor, "b 1 h"],
        cos: Tensor,
        sin: Tensor,
        cache: AttentionCache,
        positions: Tensor,
        horizon: int,
    ) -> tuple[Tensor, AttentionCache]:
        """Attend from one new position per row to the cache.

        cos, sin: the tables [capacity, head_dim / 2]. positions [B]: where each row stands. horizon: the highest
        position plus one. Gives the output and a new cache that holds the new keys and values too.
        """
        q, k, v = self._heads(x, cos[positions][:, None, None], sin[positions][:, None, None])
        place = positions.view(-1, 1, 1, 1).expand(-1, k.shape[1], 1, k.shape[3])
        cache = AttentionCache(
            cache.keys.scatter(2, place, k.to(cache.keys.dtype)),
            cache.values.scatter(2, place, v.to(cache.values.dtype)),
        )
        seen = torch.arange(horizon, device=x.device) <= positions[:, None]
        attended = functional.scaled_dot_product_attention(
            q, cache.keys[:, :, :horizon], cache.values[:, :, :horizon], attn_mask=seen[:, None, None], scale=1.0
        )
        return few_rows_linear(attended.transpose(1, 2).flatten(2), self.out.weight), cache
