"""Models of the sizes that are timed, with random weights: speed does not depend on what they have learned."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.conditioning.text import TextEncoder, text_encoder
from kinestream.features import MOTION272, Statistics
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig

Size = Literal["default", "paper"]


class HashedText:
    """Stands in for an encoder that is not here: a fixed random unit vector a text, at no cost."""

    name = "hashed"

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def encode(self, texts: Sequence[str]) -> Tensor:
        """One vector a text."""
        return torch.stack([self._vector(text) for text in texts])

    def encode_blank(self) -> Tensor:
        """The vector of the empty text."""
        return self._vector("")

    def _vector(self, text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
        drawn = torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))
        return drawn / drawn.norm()


def random_model(size: Size) -> TextToMotionModel:
    """A model of this size whose layers all do work, also those that training starts at zero."""
    torch.manual_seed(0)
    if size == "default":
        tae, ar = CausalTAE(CausalTAEConfig.default()), ARDiffusion(ARDiffusionConfig.default())
    else:
        tae, ar = CausalTAE(CausalTAEConfig.paper()), ARDiffusion(ARDiffusionConfig.paper())
    head = ar.head
    with torch.no_grad():
        for layer in [head.output_modulation, head.output, *(block.modulation for block in head.blocks)]:
            layer.weight.normal_(std=0.5 / layer.in_features**0.5)
        ar.empty_text.normal_(std=ar.config.text_dim**-0.5)
    return TextToMotionModel(
        tae=tae.eval().requires_grad_(False),
        ar=ar.eval().requires_grad_(False),
        statistics=Statistics(torch.zeros(MOTION272.width), torch.full((MOTION272.width,), 0.1)),
        end_latent=torch.zeros(tae.config.latent_dim),
        stop_threshold=0.0,
        text_encoder="all-MiniLM-L6-v2" if size == "default" else "hashed",
    )


def encoder_of(model: TextToMotionModel) -> TextEncoder:
    """The packaged sentence encoder for the default size; the paper's (11 GB) is not here, a stand-in is."""
    if model.text_encoder == "hashed":
        return HashedText(model.ar.config.text_dim)
    return text_encoder(model.text_encoder)
