"""Recordings through the causal autoencoder and back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features import Statistics
from kinestream.models.causal_tae import CausalTAE
from kinestream.streaming.frames import standing_still


@torch.inference_mode()
def reconstructed(tae: CausalTAE, statistics: Statistics, features: Float[Tensor, "t 272"]) -> Float[Tensor, "t 272"]:
    """Features through encoder (posterior mean) and decoder; the last pose fills up an incomplete last latent."""
    frames, step = len(features), tae.config.frames_per_latent
    filled = torch.cat((features, standing_still(features[-1:]).expand(-frames % step, -1)))
    latents = tae.encode(statistics.normalize(filled)[None]).mean
    return statistics.denormalize(tae.decode(latents)[0])[:frames]
