"""Configuration of the autoregressive diffusion model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinestream.nn.config import ModelConfig

_SIZES = (
    "latent_dim", "text_dim", "hidden_dim", "num_layers", "num_heads", "context_latents", "head_width", "head_layers",
)  # fmt: skip


@dataclass(frozen=True)
class ARDiffusionConfig(ModelConfig):
    """Sizes of the transformer and its diffusion head (MotionStreamer, section 3.3 and appendix A)."""

    latent_dim: int = 16
    """Values per latent (d_c)."""
    text_dim: int = 768
    """Values per text embedding (d_t)."""
    hidden_dim: int = 768
    """Width of the transformer."""
    num_layers: int = 12
    """Transformer blocks."""
    num_heads: int = 12
    """Attention heads; hidden_dim / num_heads must be even for the rotary positions."""
    context_latents: int = 77
    """Latents that fit into the context beside the text token (block size 78)."""
    head_width: int = 1792
    """Width of the diffusion head."""
    head_layers: int = 9
    """Residual blocks of the diffusion head."""
    diffusion_steps: int = 50
    """Noise levels in training, and sampling steps unless fewer are asked for."""
    text_drop: float = 0.1
    """Share of training rows whose text is replaced by the empty text, for guidance."""
    text_scale: float = 1.0
    """The text embedding is multiplied by this; sqrt(text_dim) brings unit-length embeddings to unit variance."""
    learn_attention_scale: bool = False
    """Whether the attention scale of each layer is trained; the release stores it but never trains it."""
    normalize_qk: bool = True
    """Whether queries and keys have unit length; False is plain attention, for comparison (Table 4, "w/o QK Norm")."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _SIZES:
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        self.require(
            self.hidden_dim % (2 * self.num_heads) == 0,
            f"hidden_dim {self.hidden_dim} must be a multiple of twice num_heads {self.num_heads}.",
        )
        self.require(self.diffusion_steps >= 2, f"diffusion_steps must be at least 2, got {self.diffusion_steps}.")
        self.require(0.0 <= self.text_drop < 1.0, f"text_drop must be in [0, 1), got {self.text_drop}.")
        self.require(
            math.isfinite(self.text_scale) and self.text_scale > 0,
            f"text_scale must be positive, got {self.text_scale}.",
        )

    @property
    def capacity(self) -> int:
        """Positions of the context: the text token and the latents."""
        return self.context_latents + 1

    @property
    def mlp_dim(self) -> int:
        """Inner width of the SwiGLU: 8/3 of hidden_dim, rounded up to a multiple of 256."""
        return -(-(8 * self.hidden_dim // 3) // 256) * 256

    @property
    def initial_attention_scale(self) -> float:
        """log2(n^2 - n) for a context of n = 78 positions, whatever the configured context; 1 / sqrt(d) without
        normalised queries and keys."""
        if not self.normalize_qk:
            return 1.0 / math.sqrt(self.hidden_dim // self.num_heads)
        return math.log2(78**2 - 78)

    @classmethod
    def paper(cls) -> ARDiffusionConfig:
        """The published size: 242 million parameters, 768-d sentence-T5 embeddings."""
        return cls()

    @classmethod
    def default(cls, text_dim: int = 384) -> ARDiffusionConfig:
        """The size of the packaged model, with unit-length sentence embeddings of text_dim."""
        return cls(
            text_dim=text_dim,
            hidden_dim=256,
            num_layers=8,
            num_heads=8,
            head_width=512,
            head_layers=3,
            text_scale=math.sqrt(text_dim),
            learn_attention_scale=True,
        )
