"""Transformer blocks of the evaluator: post-norm, GELU, attention over padded rows."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

_WAVELENGTH_BASE = 10000.0
DISTILBERT_NORM_EPS = 1e-12


@lru_cache(maxsize=16)
def _sinusoids(count: int, dim: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # made once, and used with gradients too
        steps = torch.arange(0, dim, 2, dtype=torch.float32)
        angles = torch.arange(count, dtype=torch.float32)[:, None] * torch.exp(
            steps * (-math.log(_WAVELENGTH_BASE) / dim)
        )
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).to(device)


def sinusoidal_positions(count: int, dim: int, device: torch.device) -> Float[Tensor, "t d"]:
    """Sines in the even and cosines in the odd columns (Vaswani et al., 2017, section 3.5)."""
    return _sinusoids(count, dim, device)


def valid_positions(lengths: Int[Tensor, " b"], count: int) -> Bool[Tensor, "b t"]:
    """True for the first `lengths` of `count` positions of each row."""
    return torch.arange(count, device=lengths.device) < lengths[:, None]


class SelfAttention(nn.Module):
    """softmax(q k / sqrt(d)) v over the valid positions of each row."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b t d"], valid: Bool[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """Each position looks at all valid ones of its row."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = valid[:, None, None, :]
        if x.device.type == "cpu" and torch.is_grad_enabled():
            # For short sequences on CPUs the fused kernel's backward pass is much slower than plain products.
            scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
            weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).to(v.dtype)
            attended = functional.dropout(weights, self.dropout, self.training) @ v
        else:
            dropped = self.dropout if self.training else 0.0
            attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropped)
        mixed: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return mixed


class LatentAttention(nn.Module):
    """What a decoder block takes from the latent: attention to one single token is that token's value everywhere.

    Query and key are kept, as the published layout has them, but with one token they have no effect.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, latent: Float[Tensor, "b d"]) -> Float[Tensor, "b 1 d"]:
        """The same contribution for every position of a row."""
        dim = latent.shape[-1]
        value = functional.linear(latent, self.qkv.weight[2 * dim :], self.qkv.bias[2 * dim :])
        given: Tensor = self.out(value)[:, None]
        return given


class EncoderBlock(nn.Module):
    """Self-attention and two layers, each followed by addition and normalisation."""

    def __init__(self, dim: int, feedforward_dim: int, num_heads: int, dropout: float, eps: float = 1e-5) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.up = nn.Linear(dim, feedforward_dim)
        self.down = nn.Linear(feedforward_dim, dim)
        self.mlp_norm = nn.LayerNorm(dim, eps=eps)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b t d"], valid: Bool[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """One block over padded rows."""
        x = self.attention_norm(x + self.drop(self.attention(x, valid)))
        out: Tensor = self.mlp_norm(x + self.drop(self.down(self.drop(functional.gelu(self.up(x))))))
        return out


class DecoderBlock(nn.Module):
    """An encoder block that adds the latent between its two halves."""

    def __init__(self, dim: int, feedforward_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.latent = LatentAttention(dim)
        self.latent_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, feedforward_dim)
        self.down = nn.Linear(feedforward_dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b t d"], latent: Float[Tensor, "b d"], valid: Bool[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        """One block over padded rows that all know their row's latent."""
        x = self.attention_norm(x + self.drop(self.attention(x, valid)))
        x = self.latent_norm(x + self.drop(self.latent(latent)))
        out: Tensor = self.mlp_norm(x + self.drop(self.down(self.drop(functional.gelu(self.up(x))))))
        return out


class DistilBert(nn.Module):
    """Word features of DistilBERT (Sanh et al., 2019): learned positions, post-norm blocks."""

    def __init__(
        self, *, dim: int, num_layers: int, num_heads: int, feedforward_dim: int, vocabulary: int, positions: int
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(positions, dim)
        self.norm = nn.LayerNorm(dim, eps=DISTILBERT_NORM_EPS)
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, feedforward_dim, num_heads, 0.0, DISTILBERT_NORM_EPS) for _ in range(num_layers)
        )

    def forward(self, token_ids: Int[Tensor, "b s"], lengths: Int[Tensor, " b"]) -> Float[Tensor, "b s e"]:
        """One feature a word piece; what stands behind a row's length counts for nothing."""
        hidden = self.norm(self.words(token_ids) + self.positions.weight[: token_ids.shape[1]])
        valid = valid_positions(lengths, token_ids.shape[1])
        for block in self.blocks:
            hidden = block(hidden, valid)
        words: Tensor = hidden
        return words
