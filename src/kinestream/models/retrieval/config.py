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
    """Width of the encoders and numbers of the summary."""
    num_heads: int = 4
    """Attention heads."""
    mlp_dim: int = 1024
    """Inner width of the feed-forward layers."""
    num_layers: int = 4
    """Blocks of attention and feed-forward layers."""
    dropout: float = 0.2
    """Share of activations that training drops in each block."""
    frames_per_token: int = 1
    """Frames that are read together as one token."""
    local_layers: int = 0
    """Depthwise convolutions over time before the blocks, each reaching twice as far as the one before."""
    local_kernel: int = 5
    """Tokens that the first of them reads."""
    timeline_dim: int = 0
    """Numbers that say what happens in each stretch of a window, beside the summary of all of it; 0 (as released): the
    summary alone, which hardly tells when."""
    tokens_per_stretch: int = 2
    """Tokens of such a stretch."""
    summary_share: float = 0.5
    """What the summary's similarity counts, where there is a timeline, against the timeline's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one = ("music_dim", "dance_dim", "max_frames", "embedding_dim", "num_heads", "mlp_dim", "num_layers")
        for name in (*at_least_one, "frames_per_token", "local_kernel", "tokens_per_stretch"):
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("local_layers", "timeline_dim"):
            self.require(getattr(self, name) >= 0, f"{name} must be at least 0, got {getattr(self, name)}.")
        self.require(
            self.embedding_dim % self.num_heads == 0,
            f"embedding_dim {self.embedding_dim} must be a multiple of num_heads {self.num_heads}.",
        )
        self.require(0.0 <= self.dropout < 1.0, f"dropout must be in [0, 1), got {self.dropout}.")
        self.require(self.local_kernel % 2 == 1, f"local_kernel must be odd, got {self.local_kernel}.")
        self.require(0.0 <= self.summary_share < 1.0, f"summary_share must be in [0, 1), got {self.summary_share}.")

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest window."""
        return -(-self.max_frames // self.frames_per_token)

    @property
    def embedding_width(self) -> int:
        """Numbers of an embedding: the summary's, and the timeline's where there is one."""
        return self.embedding_dim + self.timeline_dim * -(-self.max_tokens // self.tokens_per_stretch)

    @classmethod
    def paper(cls) -> RetrievalConfig:
        """The released size: 6.2 million numbers."""
        return cls()

    @classmethod
    def default(cls, music_dim: int, dance_dim: int) -> RetrievalConfig:
        """The size that trains on an hour of dances: 35 thousand numbers, a timeline with 8 for each 0.2 s."""
        return cls(
            music_dim=music_dim,
            dance_dim=dance_dim,
            max_frames=240,
            embedding_dim=32,
            mlp_dim=64,
            num_layers=1,
            dropout=0.4,
            frames_per_token=6,
            local_layers=3,
            timeline_dim=8,
            tokens_per_stretch=1,
            summary_share=0.25,
        )
