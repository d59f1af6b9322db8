"""The causal temporal autoencoder (MotionStreamer, section 3.2 and Table 8), whole-sequence and streaming."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinestream.errors import BadInputError
from kinestream.models.causal_tae.config import CausalTAEConfig
from kinestream.nn.motion_convs import ConvDecoder, ConvEncoder, ConvSizes, ConvStates
from kinestream.nn.operations import EAGER, Operations, Value
from kinestream.nn.streaming import zero_inactive


class LatentDistribution(NamedTuple):
    """The diagonal Gaussian q(z|x) over latents: mean and logvar, both [B, L, C]."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "b l c"]:
        """Draw z = mean + std * noise (the reparameterisation that carries gradients)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + noise * (0.5 * self.logvar).exp()


def _sizes(config: CausalTAEConfig, in_dim: int, out_dim: int) -> ConvSizes:
    return ConvSizes(in_dim, config.hidden_dim, out_dim, config.num_halvings, config.dilations, config.causal)


class CausalEncoder(ConvEncoder):
    """Motion frames to latents: the convolutional encoder and a projection to mean and logvar."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__(_sizes(config, config.feature_dim, config.hidden_dim))
        self.config = config
        self.to_posterior = nn.Linear(config.hidden_dim, 2 * config.latent_dim)

    def _posterior(self, hidden: Tensor) -> LatentDistribution:
        mean, logvar = self.to_posterior(hidden).chunk(2, dim=-1)
        if not self.config.variational:
            return LatentDistribution(mean, torch.full_like(mean, self.config.logvar_range[0]))
        return LatentDistribution(mean, logvar.clamp(*self.config.logvar_range))

    def forward(self, x: Float[Tensor, "b t d"]) -> LatentDistribution:
        """Encode whole sequences; gives T // frames_per_latent latents."""
        return self._posterior(self.run(x))

    def step(
        self, x: Float[Tensor, "b n d"], state: ConvStates, active: Tensor | None = None
    ) -> tuple[LatentDistribution, ConvStates]:
        """Encode the next frames (a multiple of frames_per_latent); gives their latents and the next state."""
        hidden, state = self.run_step(x, state, active)
        return zero_inactive(active, self._posterior(hidden)), state


class CausalDecoder(ConvDecoder):
    """Latents to motion frames: a projection and the convolutional decoder."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__(_sizes(config, config.hidden_dim, config.feature_dim))
        self.config = config
        self.from_latent = nn.Linear(config.latent_dim, config.hidden_dim)

    def vectors(self, ops: Operations, z: Value) -> Value:
        """What latents [..., C] become before the convolutions, by any operations."""
        return ops.linear(z, [self.from_latent])

    def forward(self, z: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Decode whole sequences; gives frames_per_latent frames per latent."""
        return self.run(self.vectors(EAGER, z))

    def step(
        self, z: Float[Tensor, "b n c"], state: ConvStates, active: Tensor | None = None
    ) -> tuple[Float[Tensor, "b t d"], ConvStates]:
        """Decode the next latents (one or more); gives their frames and the next state."""
        return self.run_step(self.vectors(EAGER, z), state, active)


class CausalTAE(nn.Module):
    """Encoder and decoder between normalised motion features [B, T, D] and latents [B, L, C], L = T // 4."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        self.encoder = CausalEncoder(config)
        self.decoder = CausalDecoder(config)

    def encode(self, x: Float[Tensor, "b t d"]) -> LatentDistribution:
        """Give q(z|x); frames after the last whole group of frames_per_latent have no latent.

        Raises BadInputError where the shape doesn't fit.
        """
        if x.dim() != 3 or x.shape[-1] != self.config.feature_dim:
            raise BadInputError(f"encode expects features [B, T, {self.config.feature_dim}], got {tuple(x.shape)}.")
        if x.shape[1] < self.config.frames_per_latent:
            raise BadInputError(
                f"A latent stands for {self.config.frames_per_latent} frames, but the motion has {x.shape[1]}."
            )
        posterior: LatentDistribution = self.encoder(x)
        return posterior

    def decode(self, z: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Give the features that latents stand for; raises BadInputError where the shape doesn't fit."""
        if z.dim() != 3 or z.shape[-1] != self.config.latent_dim or not z.shape[1]:
            raise BadInputError(f"decode expects latents [B, L >= 1, {self.config.latent_dim}], got {tuple(z.shape)}.")
        frames: Tensor = self.decoder(z)
        return frames

    def forward(
        self, x: Float[Tensor, "b t d"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "b t d"], LatentDistribution]:
        """Encode, draw one sample, decode: what training needs."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(generator)), posterior
