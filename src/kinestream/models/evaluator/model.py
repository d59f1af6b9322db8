"""The text-motion evaluator (TMR, Petrovich et al., ICCV 2023): two variational encoders and a motion decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.layers import (
    DecoderBlock,
    DistilBert,
    EncoderBlock,
    sinusoidal_positions,
    valid_positions,
)


class LatentDistribution(NamedTuple):
    """A diagonal Gaussian over the common space: mean and logvar, both [B, C]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "b c"]:
        """Draw mean + std * noise (the reparameterisation that carries gradients)."""
        noise = torch.randn(self.mean.shape, generator=generator, dtype=torch.float32)
        return self.mean + noise.to(self.mean) * (0.5 * self.logvar).exp()


class DistributionEncoder(nn.Module):
    """Tokens of a row, with two learned ones before them, become a Gaussian: what the two turn into."""

    def __init__(self, config: EvaluatorConfig, num_layers: int) -> None:
        super().__init__()
        self.mean_token = nn.Parameter(torch.randn(config.latent_dim))
        self.logvar_token = nn.Parameter(torch.randn(config.latent_dim))
        self.blocks = nn.ModuleList(
            EncoderBlock(config.latent_dim, config.feedforward_dim, config.num_heads, config.dropout)
            for _ in range(num_layers)
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, tokens: Float[Tensor, "b t c"], lengths: Int[Tensor, " b"]) -> LatentDistribution:
        """Encode the first `lengths` tokens of each row."""
        rows, count, dim = tokens.shape
        own = torch.stack((self.mean_token, self.logvar_token)).to(tokens.dtype).expand(rows, -1, -1)
        x = torch.cat((own, tokens), dim=1)
        x = self.drop(x + sinusoidal_positions(count + 2, dim, x.device).to(x.dtype))
        valid = valid_positions(lengths + 2, count + 2)
        for block in self.blocks:
            x = block(x, valid)
        return LatentDistribution(x[:, 0], x[:, 1])


class MotionDecoder(nn.Module):
    """A latent and a number of tokens become motion; all that tells the tokens apart is their positions."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            DecoderBlock(config.latent_dim, config.feedforward_dim, config.num_heads, config.dropout)
            for _ in range(config.decoder_layers)
        )
        self.output = nn.Linear(config.latent_dim, config.frames_per_token * config.feature_dim)
        self.drop = nn.Dropout(config.dropout)
        self.frames_per_token = config.frames_per_token

    def forward(self, latent: Float[Tensor, "b c"], token_lengths: Int[Tensor, " b"]) -> Float[Tensor, "b t d"]:
        """Frames of each row's tokens; zeros behind them."""
        count = int(token_lengths.max())
        positions = sinusoidal_positions(count, latent.shape[-1], latent.device).to(latent.dtype)
        x = self.drop(positions.expand(len(latent), -1, -1))
        valid = valid_positions(token_lengths, count)
        for block in self.blocks:
            x = block(x, latent, valid)
        frames: Tensor = self.output(x) * valid[..., None]
        whole: Tensor = frames.unflatten(-1, (self.frames_per_token, -1)).flatten(1, 2)
        return whole


class Evaluator(nn.Module):
    """Motions and sentences in one space of `latent_dim` numbers; works on normalised features."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        self.motion_in = nn.Linear(config.frames_per_token * config.feature_dim, config.latent_dim)
        self.motion_encoder = DistributionEncoder(config, config.motion_layers)
        self.text_in = nn.Linear(config.text_dim, config.latent_dim)
        self.text_encoder = DistributionEncoder(config, config.text_layers)
        self.motion_decoder = MotionDecoder(config) if config.decoder_layers else None
        self.language = (
            DistilBert(
                dim=config.text_dim, num_layers=config.language_layers, num_heads=config.language_heads,
                feedforward_dim=config.language_feedforward_dim, vocabulary=config.vocabulary,
                positions=config.max_tokens,
            )
            if config.language_layers
            else None
        )  # fmt: skip

    def token_lengths(self, lengths: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Tokens of motions of so many frames: whole ones only, but at least one."""
        return (lengths // self.config.frames_per_token).clamp_min(1)

    def encode_motion(self, features: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]) -> LatentDistribution:
        """The Gaussian of each motion.

        features: normalised, rows padded at their end. lengths: each row's frames, from 1 to T. Frames that fill no
        whole token are left out, unless there is no other. Raises BadInputError for features of another width.
        """
        config = self.config
        if features.shape[-1] != config.feature_dim:
            raise BadInputError(f"evaluator: expected {config.feature_dim} numbers a frame, got {features.shape[-1]}")
        kept = functional.pad(features, (0, 0, 0, -features.shape[1] % config.frames_per_token))
        if config.frames_per_token > 1:  # a motion of less than a token is filled with zeros
            kept = kept * valid_positions(lengths, kept.shape[1])[..., None]
        tokens = self.motion_in(kept.unflatten(1, (-1, config.frames_per_token)).flatten(2))
        posterior: LatentDistribution = self.motion_encoder(tokens, self.token_lengths(lengths))
        return posterior

    def encode_text(self, features: Float[Tensor, "b s e"], lengths: Int[Tensor, " b"]) -> LatentDistribution:
        """The Gaussian of each text, from word features or from one sentence embedding (s = 1)."""
        scaled = features * self.config.text_scale
        projected = self.text_in(functional.relu(scaled) if self.language is not None else scaled)
        posterior: LatentDistribution = self.text_encoder(projected, lengths)
        return posterior

    def encode_token_ids(self, token_ids: Int[Tensor, "b s"], lengths: Int[Tensor, " b"]) -> LatentDistribution:
        """The Gaussian of each text, from its word pieces; only with a language model inside."""
        if self.language is None:
            raise BadInputError("this evaluator reads sentence embeddings: it has no language model inside")
        return self.encode_text(self.language(token_ids, lengths), lengths)

    def decode(self, latent: Float[Tensor, "b c"], lengths: Int[Tensor, " b"]) -> Float[Tensor, "b t d"]:
        """Normalised motion of the given lengths (in whole tokens) from latents of either encoder."""
        if self.motion_decoder is None:
            raise BadInputError("this evaluator has no motion decoder (decoder_layers = 0)")
        frames: Tensor = self.motion_decoder(latent, self.token_lengths(lengths))
        return frames
