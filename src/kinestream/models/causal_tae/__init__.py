"""Causal temporal autoencoder: 4 motion frames become one 16-number latent, and back, without looking ahead."""

from kinestream.models.causal_tae.config import CausalTAEConfig
from kinestream.models.causal_tae.loss import CausalTAELoss, causal_tae_loss
from kinestream.models.causal_tae.model import CausalTAE, LatentDistribution

__all__ = ["CausalTAE", "CausalTAEConfig", "CausalTAELoss", "LatentDistribution", "causal_tae_loss"]
