"""Two encoders that put music and dance into one space, where what belongs together is near."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.models.retrieval.config import RetrievalConfig
from kinestream.nn.linear_attention import LinearSelfAttention, inside_lengths

_INITIAL_TEMPERATURE = 0.07
_MAX_LOGIT_SCALE = math.log(100.0)


class _FeedForward(nn.Module):
    def __init__(self, dim: int, inner_dim: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, inner_dim)
        self.narrow = nn.Linear(inner_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        narrowed: Tensor = self.narrow(self.dropout(functional.gelu(self.widen(self.norm(x)))))
        return narrowed


class _Block(nn.Module):
    def __init__(self, config: RetrievalConfig):
        super().__init__()
        self.attention = LinearSelfAttention(config.embedding_dim, config.num_heads)
        self.feed_forward = _FeedForward(config.embedding_dim, config.mlp_dim, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(x, inside))
        moved: Tensor = x + self.dropout(self.feed_forward(x))
        return moved


class SequenceEncoder(nn.Module):
    """A learned summary token reads the frames through blocks of linear attention and becomes the embedding."""

    def __init__(self, input_dim: int, config: RetrievalConfig):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(config.max_frames, config.embedding_dim) * 0.02)
        self.summary = nn.Parameter(torch.randn(config.embedding_dim) * 0.02)
        self.input = nn.Linear(input_dim, config.embedding_dim)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.output = nn.Linear(config.embedding_dim, config.embedding_dim)

    def forward(self, x: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b e"]:
        """Give the embedding of each row's first `lengths` frames, of any length; no lengths means all frames."""
        if not 1 <= x.shape[1] <= len(self.positions):
            raise BadInputError(f"A window must have 1 to {len(self.positions)} frames, got {x.shape[1]}.")
        inside = None
        if lengths is not None:
            if bool((lengths < 1).any()) or bool((lengths > x.shape[1]).any()):
                raise BadInputError(f"Lengths must be from 1 to {x.shape[1]} frames, got {lengths.tolist()}.")
            inside = functional.pad(inside_lengths(lengths, x.shape[1]), (1, 0), value=True)
        frames = self.input(x) + self.positions[: x.shape[1]].to(x.dtype)
        tokens = torch.cat([self.summary.to(frames.dtype).expand(len(x), 1, -1), frames], dim=1)
        for block in self.blocks:
            tokens = block(tokens, inside)
        embedding: Tensor = self.output(tokens[:, 0])
        return embedding


class RetrievalModel(nn.Module):
    """Music and dance encoders as in CLIP (InfiniteDance, section 4): cosine similarity says how well they suit."""

    def __init__(self, config: RetrievalConfig):
        super().__init__()
        self.config = config
        self.music_encoder = SequenceEncoder(config.music_dim, config)
        self.dance_encoder = SequenceEncoder(config.dance_dim, config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / _INITIAL_TEMPERATURE)))

    def encode_music(self, x: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b e"]:
        """Give unit-length embeddings of windows of normalised music features."""
        return functional.normalize(self.music_encoder(x, lengths).float(), dim=-1)

    def encode_dance(self, x: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b e"]:
        """Give unit-length embeddings of windows of normalised motion features."""
        return functional.normalize(self.dance_encoder(x, lengths).float(), dim=-1)

    def temperature_scale(self) -> Tensor:
        """The learned factor on similarities, at most 100 as in CLIP."""
        return self.logit_scale.clamp(max=_MAX_LOGIT_SCALE).exp()
