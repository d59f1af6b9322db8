"""Motion to residual codes and back: the tokenizer of music to motion (InfiniteDance, section 4.1)."""

from kinestream.models.rvq_vae.config import RVQVAEConfig
from kinestream.models.rvq_vae.loss import RVQVAELoss, rvq_vae_loss
from kinestream.models.rvq_vae.model import RVQVAE

__all__ = ["RVQVAE", "RVQVAEConfig", "RVQVAELoss", "rvq_vae_loss"]
