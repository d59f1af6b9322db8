"""Configuration of the Foot Restoration Diffusion Model."""

from __future__ import annotations

from dataclasses import dataclass

from kinestream.nn.config import ModelConfig


@dataclass(frozen=True)
class FootRestorationConfig(ModelConfig):
    """Sizes of the denoiser of root, knees and feet (InfiniteDance, section 3.1; layers as in EDGE, section 3)."""

    feature_dim: int = 259
    """Values per motion frame (D), in the layout humanml259."""
    hidden_dim: int = 512
    """Width of the transformer."""
    num_layers: int = 8
    """Transformer layers."""
    num_heads: int = 8
    """Attention heads."""
    mlp_dim: int = 1024
    """Width of the feed-forward layers."""
    dropout: float = 0.1
    """Dropout within the layers while training."""
    noise_steps: int = 1000
    """Noise levels that the network is trained on (T), of the cosine schedule."""
    window_frames: int = 150
    """Frames of the windows it was trained on; longer motions are restored in windows that overlap."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_dim", "hidden_dim", "num_layers", "num_heads", "mlp_dim"):
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        size = self.hidden_dim // self.num_heads
        self.require(
            self.hidden_dim % self.num_heads == 0 and size % 2 == 0,
            f"hidden_dim must be an even multiple of num_heads, got {self.hidden_dim} and {self.num_heads}.",
        )
        self.require(0.0 <= self.dropout < 1.0, f"dropout must be in [0, 1), got {self.dropout}.")
        self.require(self.noise_steps >= 2, f"noise_steps must be at least 2, got {self.noise_steps}.")
        self.require(self.window_frames >= 8, f"window_frames must be at least 8, got {self.window_frames}.")

    @classmethod
    def paper(cls) -> FootRestorationConfig:
        """EDGE's size, as the paper takes it."""
        return cls()
