"""Configuration of the music-dance retrieval network."""

from __future__ import annotations

from dataclasses import dataclass

from kinestream.nn.config import ModelConfig


@dataclass(frozen=True)
class RetrievalConfig(ModelConfig):
    """Sizes of the two encoders (InfiniteDance, section 4, MD-Retrieval)."""

    music_dim: int = 55
    """Numbers per frame of music."""
    dance_dim: int = 264
    """Numbers per frame of dance."""
    max_frames: int = 384
    """Frames of the longest window; each place in a window has a learned position."""
    embedding_dim: int = 256
    """Width of the encoders and numbers of an embedding."""
    num_heads: int = 4
    """Attention heads."""
    mlp_dim: int = 1024
    """Inner width of the feed-forward layers."""
    num_layers: int = 4
    """Blocks of attention and feed-forward layers."""
    dropout: float = 0.2
    """Share of activations that training drops in each block."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("music_dim", "dance_dim", "max_frames", "embedding_dim", "num_heads", "mlp_dim", "num_layers"):
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        self.require(
            self.embedding_dim % self.num_heads == 0,
            f"embedding_dim {self.embedding_dim} must be a multiple of num_heads {self.num_heads}.",
        )
        self.require(0.0 <= self.dropout < 1.0, f"dropout must be in [0, 1), got {self.dropout}.")

    @classmethod
    def paper(cls) -> RetrievalConfig:
        """The released size: 6.2 million numbers."""
        return cls()

    @classmethod
    def default(cls, music_dim: int, dance_dim: int = 272) -> RetrievalConfig:
        """The size that trains on an hour of dances: 1 million numbers."""
        return cls(
            music_dim=music_dim, dance_dim=dance_dim, max_frames=240, embedding_dim=128, mlp_dim=384, num_layers=3
        )
