"""Causal self-attention with rotary positions and a bounded key-value cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.nn.operations import EAGER, Operations, Value

_ROTARY_BASE = 10000.0

Attend = Callable[[Tensor, Value, Value, Value], Value]
"""softmax(scale q k) v from (scale, q, k, v), heads before positions: over what is new and what a cache holds."""


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
        return EAGER.rms_norm(x, self.scale, self.eps)


@lru_cache(maxsize=32)
def rotary_tables(num_positions: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give cosine and sine [positions, head_dim / 2] of position * 10000 ** (-2 i / head_dim)."""
    with torch.inference_mode(False):  # made once, and used with gradients too
        pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
        positions = torch.arange(num_positions, dtype=torch.float32, device="cpu")
        angles = torch.outer(positions, 1.0 / _ROTARY_BASE ** (pairs / head_dim))
        return angles.cos().to(device), angles.sin().to(device)


def attention(
    ops: Operations,
    projected: Value,
    heads: tuple[int, int, int],
    turned: Callable[[Value], Value],
    attend: Callable[[Value, Value, Value], Value],
) -> Value:
    """Attention from projected queries, keys and values side by side, [B, T, (heads + 2 shared) size].

    heads: how many of queries, how many of keys and values, and their size. turned: what is done to queries and keys.
    Gives what the heads read, [B, T, heads * size].
    """
    own, shared, size = heads
    qk, v = (
        ops.transpose(ops.reshape(part, 0, 0, -1, size), 0, 2, 1, 3)
        for part in ops.split(projected, [(own + shared) * size, shared * size], 2)
    )
    q, k = ops.split(turned(qk), [own, shared], 1)
    return ops.reshape(ops.transpose(attend(q, k, v), 0, 2, 1, 3), 0, 0, own * size)


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

    def describe(self, ops: Operations, x: Value, angles: Any, attend: Attend) -> Value:
        """The layer, by any operations; x [B, T, H]."""
        heads, size = self.num_heads, self.qkv.in_features // self.num_heads

        def turned(qk: Value) -> Value:
            return ops.rotate_pairs(ops.unit_norm(qk) if self.normalize else qk, angles)

        qkv = ops.linear(x, [ops.paired(self.qkv, 2 * heads, size)])
        mixed = attention(ops, qkv, (heads, heads, size), turned, lambda q, k, v: attend(self.scale, q, k, v))
        return ops.linear(mixed, [self.out])

    def forward(self, x: Float[Tensor, "b t h"], cos: Tensor, sin: Tensor) -> tuple[Tensor, AttentionCache]:
        """Attend within whole sequences that start at position 0; gives the output and the keys and values."""
        whole = AttendWhole()
        out = self.describe(EAGER, x, (cos[: x.shape[1]], sin[: x.shape[1]]), whole)
        return out, whole.caches[0]

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
        step = AttendStep([cache], positions, horizon)
        out = self.describe(EAGER, x, (cos[positions][:, None, None], sin[positions][:, None, None]), step)
        return out, step.caches[0]


class AttendWhole:
    """Attends within whole sequences, layer after layer, and keeps their keys and values."""

    def __init__(self) -> None:
        self.caches: list[AttentionCache] = []

    def __call__(self, scale: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in the next layer."""
        self.caches.append(AttentionCache(k, v))
        q = q * scale.to(q.dtype)
        if q.device.type == "cpu" and torch.is_grad_enabled():
            return _plain_causal_attention(q, k, v)
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)


class AttendStep:
    """Attends from one new position a row to the caches of layer after layer; `caches` becomes those after the step."""

    def __init__(self, caches: list[AttentionCache], positions: Tensor, horizon: int) -> None:
        self._old, self._positions, self._horizon = iter(caches), positions, horizon
        self._seen = (torch.arange(horizon, device=positions.device) <= positions[:, None])[:, None, None]
        self.caches: list[AttentionCache] = []

    def __call__(self, scale: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in the next layer."""
        old = next(self._old)
        place = self._positions.view(-1, 1, 1, 1).expand(-1, k.shape[1], 1, k.shape[3])
        keys, values = (cache.scatter(2, place, new.to(cache.dtype)) for cache, new in zip(old, (k, v), strict=True))
        self.caches.append(AttentionCache(keys, values))
        return functional.scaled_dot_product_attention(
            q * scale.to(q.dtype), keys[:, :, : self._horizon], values[:, :, : self._horizon],
            attn_mask=self._seen, scale=1.0,
        )  # fmt: skip


def _plain_causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in plain products: for short sequences on CPUs the fused kernel's backward pass is ten times slower."""
    scores = (q @ k.transpose(-1, -2)).float()
    length = scores.shape[-1]
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1).to(v.dtype) @ v
