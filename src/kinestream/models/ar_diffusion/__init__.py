"""Autoregressive diffusion over latents: text and the motion so far give the next latent, one at a time."""

from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.models.ar_diffusion.head import DiffusionHead, SamplingNoise, draw_sampling_noise
from kinestream.models.ar_diffusion.loss import (
    DiffusionLoss,
    TwoForwardLoss,
    diffusion_loss,
    replaced_share,
    two_forward_loss,
)
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.ar_diffusion.transformer import TransformerState

__all__ = [
    "ARDiffusion",
    "ARDiffusionConfig",
    "DiffusionHead",
    "DiffusionLoss",
    "SamplingNoise",
    "TransformerState",
    "TwoForwardLoss",
    "diffusion_loss",
    "draw_sampling_noise",
    "replaced_share",
    "two_forward_loss",
]
