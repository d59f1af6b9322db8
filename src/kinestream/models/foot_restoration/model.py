"""The denoiser: a transformer that reads a motion whose root, knees and feet are noisy and gives them clean.

EDGE's layers (Tseng et al., CVPR 2023, section 3) without music: self-attention over the whole window with rotary
positions, and after each half of a layer a scale and a shift that the noise level decides (FiLM).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kinestream.features.humanml_legs import leg_columns
from kinestream.models.foot_restoration.config import FootRestorationConfig
from kinestream.nn.attention import rotary_tables

_WAVELENGTH_BASE = 10000.0


class _Modulation(nn.Module):
    """Scale and shift of a width, from what the noise level says; nothing changes before training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.output = nn.Linear(dim, 2 * dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Float[Tensor, "b t h"], level: Float[Tensor, "b h"]) -> Float[Tensor, "b t h"]:
        scale, shift = self.output(functional.mish(level))[:, None].chunk(2, dim=-1)
        modulated: Tensor = x * (1.0 + scale) + shift
        return modulated


class _Layer(nn.Module):
    def __init__(self, config: FootRestorationConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.num_heads = config.num_heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.mix = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, config.mlp_dim), nn.Linear(config.mlp_dim, dim)
        self.attention_film, self.mlp_film = _Modulation(dim), _Modulation(dim)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, level: Tensor, turns: Tensor) -> Tensor:
        x = x + self.attention_film(self.drop(self._attended(self.attention_norm(x), turns)), level)
        inner = self.drop(functional.gelu(self.up(self.mlp_norm(x))))
        out: Tensor = x + self.mlp_film(self.drop(self.down(inner)), level)
        return out

    def _attended(self, x: Tensor, turns: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # Rotary positions: neighbours are the parts of complex numbers, which is four times as fast as pairing them.
        pairs = torch.view_as_complex(qkv[:2].float().unflatten(-1, (-1, 2)).contiguous())
        (q, k), v = torch.view_as_real(pairs * turns).flatten(-2).to(qkv.dtype), qkv[2]
        if x.device.type == "cpu" and torch.is_grad_enabled():
            # For short sequences on CPUs the fused kernel's backward pass is much slower than plain products.
            mixed = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.mix(mixed.transpose(1, 2).flatten(2))
        return out


class FootRestoration(nn.Module):
    """f(x_t, t): clean features from features whose root, knees and feet are at noise level t (Algorithm 1, line 9).

    What is given besides stays: the network's output stands in the columns of `leg_columns` only, so its upper body is
    the input's to the bit.
    """

    columns: Tensor

    def __init__(self, config: FootRestorationConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        chosen = leg_columns()
        if config.feature_dim != len(chosen):
            config.require(False, f"feature_dim must be {len(chosen)} (humanml259), got {config.feature_dim}.")
        self.register_buffer("columns", chosen.nonzero()[:, 0], persistent=False)
        self.input = nn.Linear(config.feature_dim, dim)
        self.level = nn.Sequential(nn.Linear(dim, dim), nn.Mish(), nn.Linear(dim, dim))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, int(chosen.sum()))

    def forward(self, x: Float[Tensor, "b t d"], level: Int[Tensor, " b"]) -> Float[Tensor, "b t d"]:
        """Normalised features, and each row's noise level (0 the least); gives x with its leg columns clean."""
        dim = self.config.hidden_dim
        cos, sin = rotary_tables(x.shape[1], dim // self.config.num_heads, x.device)
        turns = torch.complex(cos, sin)
        said = self.level(_sinusoids(level, dim).to(self.input.weight.dtype))
        hidden = self.input(x)
        for layer in self.layers:
            hidden = layer(hidden, said, turns)
        clean = self.output(self.norm(hidden))
        out: Tensor = x.index_copy(-1, self.columns, clean.to(x.dtype))
        return out


def _sinusoids(level: Int[Tensor, " b"], dim: int) -> Float[Tensor, "b h"]:
    half = torch.arange(dim // 2, device=level.device, dtype=torch.float32)
    angles = level.float()[:, None] * torch.exp(half * (-math.log(_WAVELENGTH_BASE) / (dim // 2)))
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
