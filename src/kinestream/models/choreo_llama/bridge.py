"""Bridges: music, genre and retrieved references to the conditions of the LLaMA (InfiniteDance, section 4.2)."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.nn.moe import CadenceExpert, CadenceGate, split_bands


class Bridge(Protocol):
    """Music [B, N, M] and genre [B, N, G] at the positions, the weighted reference [B, T, X] at its own frame rate."""

    def __call__(self, music: Tensor, genre: Tensor, reference: Tensor) -> Float[Tensor, "b n h"]:
        """Give one condition for each position."""
        ...


def grouped(x: Float[Tensor, "b t c"], frames: int) -> Float[Tensor, "b n d"]:
    """Put `frames` neighbouring frames together into one position."""
    if x.shape[1] % frames:
        raise BadInputError(f"{x.shape[1]} frames can't be put together by {frames}.")
    return x.unflatten(1, (-1, frames)).flatten(2) if frames > 1 else x


def at_positions(x: Float[Tensor, "b t c"], frames: int, positions: int) -> Float[Tensor, "b n d"]:
    """Put frames together, and interpolate over time where that doesn't give the wanted number of positions."""
    together = grouped(x, frames)
    if together.shape[1] == positions:
        return together
    return functional.interpolate(together.transpose(1, 2), size=positions, mode="linear").transpose(1, 2)


class LinearBridge(nn.Module):
    """Music and genre through one linear layer; references are ignored (Table 5, without retrieval)."""

    def __init__(self, config: ChoreoLlamaConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(config.music_dim * config.music_frames_per_position + config.genre_dim, config.hidden_dim)

    def forward(self, music: Tensor, genre: Tensor, reference: Tensor) -> Tensor:
        """Give one condition for each position."""
        out: Tensor = self.proj(torch.cat((music, genre), dim=-1))
        return out


class AttentionBridge(nn.Module):
    """Music and genre through a linear layer, plus the reference through multi-head attention (Table 5, no MoE)."""

    def __init__(self, config: ChoreoLlamaConfig) -> None:
        super().__init__()
        self.frames = config.reference_frames_per_position
        self.base = LinearBridge(config)
        self.proj = nn.Linear(config.reference_dim * self.frames, config.hidden_dim)
        self.attention = nn.MultiheadAttention(config.hidden_dim, config.bridge_heads, batch_first=True)

    def forward(self, music: Tensor, genre: Tensor, reference: Tensor) -> Tensor:
        """Give one condition for each position."""
        projected = self.proj(at_positions(reference, self.frames, music.shape[1]))
        attended, _ = self.attention(projected, projected, projected, need_weights=False)
        out: Tensor = self.base(music, genre, reference) + projected + attended
        return out


class CadenceBridge(nn.Module):
    """Cadence-MoE: an expert per band of the reference's spectrum, gated by music, genre and reference.

    The weighted reference is split into bands over time at its own frame rate. Expert b reads band b together with
    music and genre; the gate (linear, softmax) reads music, genre and the whole reference and weighs the experts anew
    at every position. What the experts give is added to the linear projection of music and genre, so that music gets
    through whatever the references are.
    """

    def __init__(self, config: ChoreoLlamaConfig) -> None:
        super().__init__()
        self.num_bands, self.frames = config.num_bands, config.reference_frames_per_position
        context = config.music_dim * config.music_frames_per_position + config.genre_dim
        band = config.reference_dim * self.frames
        self.base = LinearBridge(config)
        self.experts = nn.ModuleList(
            CadenceExpert(band + context, config.hidden_dim, config.bridge_heads) for _ in range(config.num_bands)
        )
        self.gate = CadenceGate(band + context, config.num_bands)

    def gates(self, music: Tensor, genre: Tensor, reference: Tensor) -> Float[Tensor, "b n e"]:
        """Give the weights of the experts at each position."""
        weights: Tensor = self.gate(
            torch.cat((at_positions(reference, self.frames, music.shape[1]), music, genre), dim=-1)
        )
        return weights

    def forward(self, music: Tensor, genre: Tensor, reference: Tensor) -> Tensor:
        """Give one condition for each position."""
        weights = self.gates(music, genre, reference)
        out: Tensor = self.base(music, genre, reference)
        for index, (expert, band) in enumerate(
            zip(self.experts, split_bands(reference, self.num_bands).unbind(1), strict=True)
        ):
            seen = torch.cat((at_positions(band, self.frames, music.shape[1]), music, genre), dim=-1)
            out = out + weights[..., index : index + 1] * expert(seen)
        return out


class ReleasedBridge(nn.Module):
    """The release's variant: no gate; an expert for everything beside one per band, joined by a linear layer.

    The reference [B, T, X] is brought to the N positions of the music by a learnt linear map over time, so windows have
    one fixed length; bands are split after that.
    """

    def __init__(self, config: ChoreoLlamaConfig) -> None:
        super().__init__()
        self.num_bands = config.num_bands
        positions = config.window_music_frames // config.music_frames_per_position
        music = config.music_dim * config.music_frames_per_position
        self.resample = nn.Linear(config.window_reference_frames, positions)
        self.input = nn.Linear(music + config.genre_dim + config.reference_dim, config.hidden_dim)
        self.universal = CadenceExpert(config.hidden_dim, config.hidden_dim, config.bridge_heads)
        self.experts = nn.ModuleList(
            CadenceExpert(config.reference_dim, config.hidden_dim, config.bridge_heads) for _ in range(config.num_bands)
        )
        self.fusion = nn.Linear(config.hidden_dim * (config.num_bands + 1), config.hidden_dim)

    def forward(self, music: Tensor, genre: Tensor, reference: Tensor) -> Tensor:
        """Give one condition for each position; raises BadInputError for windows of another length."""
        if reference.shape[1] != self.resample.in_features or music.shape[1] != self.resample.out_features:
            raise BadInputError(
                f"The released bridge takes windows of {self.resample.out_features} music positions and "
                f"{self.resample.in_features} reference frames, got {music.shape[1]} and {reference.shape[1]}."
            )
        resampled = self.resample(reference.transpose(1, 2)).transpose(1, 2)
        everything = self.universal(self.input(torch.cat((music, genre, resampled), dim=-1)))
        bands = split_bands(resampled, self.num_bands).unbind(1)
        parts = [expert(band) for expert, band in zip(self.experts, bands, strict=True)]
        out: Tensor = self.fusion(torch.cat((everything, *parts), dim=-1))
        return out


def build_bridge(config: ChoreoLlamaConfig) -> nn.Module:
    """Give the bridge that a configuration names."""
    classes: dict[str, type[nn.Module]] = {
        "linear": LinearBridge,
        "attention": AttentionBridge,
        "cadence": CadenceBridge,
        "released": ReleasedBridge,
    }
    return classes[config.bridge](config)
