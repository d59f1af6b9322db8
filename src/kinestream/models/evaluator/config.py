"""Configuration of the text-motion evaluator."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinestream.nn.config import ModelConfig

_SIZES = (
    "feature_dim", "latent_dim", "feedforward_dim", "motion_layers", "text_layers", "num_heads", "text_dim",
    "frames_per_token", "max_frames", "max_tokens", "language_heads", "language_feedforward_dim",
    "vocabulary",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluatorConfig(ModelConfig):
    """Sizes of the evaluator's networks (TMR, Petrovich et al., ICCV 2023, section 3; MotionStreamer, section 4)."""

    feature_dim: int = 272
    """Numbers a frame."""
    latent_dim: int = 256
    """Width of the transformers and of the common space."""
    feedforward_dim: int = 1024
    """Inner width of the transformers' blocks."""
    motion_layers: int = 4
    """Blocks of the motion encoder."""
    text_layers: int = 4
    """Blocks of the text encoder."""
    decoder_layers: int = 4
    """Blocks of the motion decoder; 0: there is none, as in a file of the encoders alone."""
    num_heads: int = 4
    """Attention heads of all three."""
    dropout: float = 0.1
    """Share of activations dropped in training."""
    frames_per_token: int = 1
    """Frames that the motion encoder reads, and the decoder writes, as one token."""
    max_frames: int = 300
    """Longest motion; of longer ones the beginning counts."""
    text_dim: int = 768
    """Numbers of each text feature that the text encoder reads."""
    text_scale: float = 1.0
    """Text features are multiplied by this; sqrt(text_dim) brings unit-length embeddings to unit variance."""
    max_tokens: int = 512
    """Longest text in word pieces; of longer ones the beginning counts. Only with a language model inside."""
    language_layers: int = 6
    """Blocks of the DistilBERT inside, whose word features the text encoder reads; 0: it reads sentence embeddings."""
    language_heads: int = 12
    """Attention heads of the DistilBERT inside."""
    language_feedforward_dim: int = 3072
    """Inner width of the DistilBERT's blocks."""
    vocabulary: int = 30522
    """Word pieces that the DistilBERT inside knows."""
    unit_embeddings: bool = False
    """Whether embeddings are scaled to length one before they are compared; the release compares plain means."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _SIZES:
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("decoder_layers", "language_layers"):
            self.require(getattr(self, name) >= 0, f"{name} must not be negative, got {getattr(self, name)}.")
        self.require(
            math.isfinite(self.text_scale) and self.text_scale > 0,
            f"text_scale must be positive, got {self.text_scale}.",
        )
        self.require(
            self.latent_dim % self.num_heads == 0 and self.latent_dim % 2 == 0,
            f"latent_dim {self.latent_dim} must be even and a multiple of num_heads {self.num_heads}.",
        )
        self.require(
            self.language_layers == 0 or self.text_dim % self.language_heads == 0,
            f"text_dim {self.text_dim} must be a multiple of language_heads {self.language_heads}.",
        )
        self.require(0.0 <= self.dropout < 1.0, f"dropout must be in [0, 1), got {self.dropout}.")
        self.require(
            self.max_frames >= self.frames_per_token,
            f"max_frames {self.max_frames} must be at least frames_per_token {self.frames_per_token}.",
        )

    @classmethod
    def paper(cls) -> EvaluatorConfig:
        """The size of MotionStreamer's released evaluator: 256 wide, four blocks each, a DistilBERT inside."""
        return cls()

    @classmethod
    def default(cls, text_dim: int = 384) -> EvaluatorConfig:
        """The size of the packaged evaluator: sentence embeddings of text_dim, eight frames a token."""
        return cls(
            latent_dim=192,
            feedforward_dim=768,
            text_layers=2,
            decoder_layers=1,
            num_heads=6,
            frames_per_token=8,
            max_frames=240,
            text_dim=text_dim,
            text_scale=math.sqrt(text_dim),
            language_layers=0,
            unit_embeddings=True,
        )
