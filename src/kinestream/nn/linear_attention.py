"""Self-attention whose cost grows with the length instead of its square (Shen et al., Efficient Attention, 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_OUTSIDE = -1e6  # added to the keys of positions outside a sequence: their softmax over time becomes zero


class LinearSelfAttention(nn.Module):
    """softmax_d(q) (softmax_t(k)^T v) on layer-normalised input, without causality and without an output projection.

    The keys are a distribution over time for each of their dimensions, so k^T v is a small table of summaries
    [head_dim, head_dim] that every position then reads with its own distribution over the table's rows.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b t h"], inside: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b t h"]:
        """Give what each position reads; positions that are not `inside` are read by none."""
        x = self.norm(x)
        query, key, value = self.query(x), self.key(x), self.value(x)
        if inside is not None:
            outside = (~inside)[..., None]
            key = key + outside * _OUTSIDE
            value = value.masked_fill(outside, 0.0)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (query, key, value))
        query = query.float().softmax(dim=-1).to(value.dtype)
        key = key.float().softmax(dim=-2).to(value.dtype)
        read: Tensor = query @ (key.transpose(-1, -2) @ value)
        return read.transpose(1, 2).flatten(2)


def inside_lengths(lengths: Tensor, num_positions: int) -> Bool[Tensor, "b t"]:
    """Mark the first `lengths` positions of each row."""
    return torch.arange(num_positions, device=lengths.device) < lengths[:, None]
