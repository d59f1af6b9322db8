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


class _Local(nn.Module):
    """What neighbours say, each channel by itself; tokens outside a window say nothing."""

    def __init__(self, dim: int, kernel: int, dilation: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.over_time = nn.Conv1d(dim, dim, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=dim)
        self.mix = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        shown = self.norm(x) if inside is None else self.norm(x) * inside[..., None]
        around = self.over_time(shown.transpose(1, 2)).transpose(1, 2)
        moved: Tensor = x + self.dropout(self.mix(functional.gelu(around)))
        return moved


class _Timeline(nn.Module):
    """What happens when: a few numbers for each stretch of a window, around their mean, of unit length together."""

    def __init__(self, config: RetrievalConfig):
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.embedding_dim)
        self.output = nn.Linear(config.embedding_dim, config.timeline_dim)

    def forward(self, tokens: Tensor, inside: Tensor | None) -> Tensor:
        config, said = self.config, self.output(self.norm(tokens)).float()
        counted = torch.ones_like(said[..., :1]) if inside is None else inside[..., None].to(said)
        said = (said - (said * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True)) * counted
        stretches = -(-config.max_tokens // config.tokens_per_stretch)
        said = functional.pad(said, (0, 0, 0, stretches * config.tokens_per_stretch - said.shape[1]))
        return functional.normalize(said.unflatten(1, (stretches, -1)).sum(2).flatten(1), dim=-1)


class SequenceEncoder(nn.Module):
    """A learned summary token reads the frames through blocks of linear attention and becomes the embedding.

    With a timeline the embedding is both, the summary and what the frames themselves say in each stretch of the window,
    as two parts whose squared lengths are `summary_share` and the rest of 1.
    """

    def __init__(self, input_dim: int, config: RetrievalConfig):
        super().__init__()
        self.config = config
        self.positions = nn.Parameter(torch.randn(config.max_tokens, config.embedding_dim) * 0.02)
        self.summary = nn.Parameter(torch.randn(config.embedding_dim) * 0.02)
        self.input = nn.Linear(input_dim * config.frames_per_token, config.embedding_dim)
        self.local = nn.ModuleList(
            _Local(config.embedding_dim, config.local_kernel, 2**layer, config.dropout)
            for layer in range(config.local_layers)
        )
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.output = nn.Linear(config.embedding_dim, config.embedding_dim)
        self.timeline = _Timeline(config) if config.timeline_dim else None

    def forward(self, x: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b e"]:
        """Give the embedding of each row's first `lengths` frames; no lengths means all frames.

        The summary is of any length, an embedding with a timeline of length 1.
        """
        if not 1 <= x.shape[1] <= self.config.max_frames:
            raise BadInputError(f"A window must have 1 to {self.config.max_frames} frames, got {x.shape[1]}.")
        inside = None
        if lengths is not None:
            if bool((lengths < 1).any()) or bool((lengths > x.shape[1]).any()):
                raise BadInputError(f"Lengths must be from 1 to {x.shape[1]} frames, got {lengths.tolist()}.")
            x, inside = self._inside(x, lengths)
        tokens = self.input(self._joined(x))
        for layer in self.local:
            tokens = layer(tokens, inside)
        summary = self._summary(tokens, inside)
        if self.timeline is None:
            return summary
        timeline = self.timeline(tokens, inside)
        share = self.config.summary_share
        parts = (functional.normalize(summary.float(), dim=-1) * share**0.5, timeline * (1.0 - share) ** 0.5)
        return torch.cat(parts, dim=-1)

    def _inside(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The frames with zeros behind each row's end, and which tokens hold any frame."""
        joined = self.config.frames_per_token
        tokens = -(-x.shape[1] // joined)
        inside = inside_lengths(-(-lengths // joined), tokens)
        return x * inside_lengths(lengths, x.shape[1])[..., None], inside

    def _joined(self, x: Tensor) -> Tensor:
        joined = self.config.frames_per_token
        padded = functional.pad(x, (0, 0, 0, -x.shape[1] % joined))
        tokens: Tensor = padded.unflatten(1, (-1, joined)).flatten(2)
        return tokens

    def _summary(self, tokens: Tensor, inside: Tensor | None) -> Tensor:
        tokens = tokens + self.positions[: tokens.shape[1]].to(tokens.dtype)
        tokens = torch.cat([self.summary.to(tokens.dtype).expand(len(tokens), 1, -1), tokens], dim=1)
        with_summary = None if inside is None else functional.pad(inside, (1, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, with_summary)
        summary: Tensor = self.output(tokens[:, 0])
        return summary


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
