"""A tiny random text-to-motion model, so that the streaming rules are tested without any training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.features import MOTION272, Statistics
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig
from kinestream.streaming import Engine

TEXT_DIM = 12
LATENT_DIM = 4
CONTEXT = 12


class HashEncoder:
    """Gives each text a random but fixed vector."""

    name = "hash"
    dim = TEXT_DIM

    def encode(self, texts: Sequence[str]) -> Tensor:
        """One vector a text."""
        return torch.stack([self._vector(text) for text in texts])

    def encode_blank(self) -> Tensor:
        """The vector of the empty text."""
        return self._vector("")

    def _vector(self, text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.strip().encode()).digest()[:4], "little")
        return torch.randn(TEXT_DIM, generator=torch.Generator().manual_seed(seed))


def tiny_model(stop_threshold: float = 0.0, end_latent: Tensor | None = None, **provenance: str) -> TextToMotionModel:
    """Random weights; with the default threshold no prompt ends by itself."""
    torch.manual_seed(3)
    tae = CausalTAE(CausalTAEConfig(hidden_dim=8, latent_dim=LATENT_DIM, depth=2))
    ar = ARDiffusion(
        ARDiffusionConfig(
            latent_dim=LATENT_DIM,
            text_dim=TEXT_DIM,
            hidden_dim=16,
            num_layers=2,
            num_heads=2,
            context_latents=CONTEXT,
            head_width=16,
            head_layers=2,
            diffusion_steps=6,
        )
    )
    with torch.no_grad():
        # A fresh head starts as the identity; random numbers make it follow text and history.
        for parameter in ar.head.parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
        ar.empty_text.copy_(HashEncoder().encode_blank())
        ar.latent_std.fill_(0.01)  # an untrained head's samples are about a hundred times too large
    mean = torch.zeros(MOTION272.width)
    mean[MOTION272.slices["positions"]] = torch.rand(66)
    mean[MOTION272.slices["heading_change_rot6d"]] = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    mean[MOTION272.slices["rotations_rot6d"]] = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(22)
    return TextToMotionModel(
        tae=tae,
        ar=ar,
        statistics=Statistics(mean, torch.full((MOTION272.width,), 0.1)),
        end_latent=torch.zeros(LATENT_DIM) if end_latent is None else end_latent,
        stop_threshold=stop_threshold,
        text_encoder="hash",
        provenance=dict(provenance),
    )


@pytest.fixture
def make_engine() -> Callable[..., Engine]:
    """Builds an engine on a tiny model; the same weights every time."""

    def build(stop_threshold: float = 0.0, end_latent: Tensor | None = None, **provenance: str) -> Engine:
        return Engine(tiny_model(stop_threshold, end_latent, **provenance), HashEncoder())

    return build


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """An engine whose prompts never end by themselves."""
    return make_engine()
