"""Configuration of the residual-quantised motion tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from kinestream.nn.config import ModelConfig
from kinestream.nn.motion_convs import ConvSizes

_SIZES = (
    "feature_dim", "hidden_dim", "code_dim", "num_codes", "num_codebooks", "num_halvings", "depth",
    "dilation_growth_rate",
)  # fmt: skip


@dataclass(frozen=True)
class RVQVAEConfig(ModelConfig):
    """Sizes of the tokenizer (InfiniteDance, sections 4.1 and 5.1)."""

    feature_dim: int = 272
    """Values per motion frame (D)."""
    hidden_dim: int = 512
    """Channels of every convolution."""
    code_dim: int = 512
    """Values per code (C_q)."""
    num_codes: int = 512
    """Codes per codebook."""
    num_codebooks: int = 3
    """Levels of residual quantisation (K)."""
    num_halvings: int = 2
    """How many times time is halved: a token step stands for 2 ** num_halvings frames."""
    depth: int = 3
    """Residual blocks per halving; block i has dilation dilation_growth_rate ** (depth - 1 - i)."""
    dilation_growth_rate: int = 3
    """Ratio between the dilations of neighbouring blocks."""
    causal: bool = True
    """Whether no frame sees a later one, so that the tokenizer streams; the released one is not causal."""
    velocity_columns: tuple[int, int] = (0, 0)
    """Columns (first, stop) that a decoder of their own fills, as the release does for the planar velocity of its
    264-d layout; (0, 0) for none."""
    quantizer_dropout: float = 0.2
    """Share of training rows that keep only some of the first levels."""
    codebook_decay: float = 0.99
    """Decay of the codebooks' averages."""
    revive_share: float = 0.1
    """Codes used less than this share of the mean are replaced in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _SIZES:
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        self.require(self.num_halvings <= 8, f"num_halvings above 8 makes no sense, got {self.num_halvings}.")
        self.require(
            0.0 <= self.quantizer_dropout < 1.0, f"quantizer_dropout must be in [0, 1), got {self.quantizer_dropout}."
        )
        self.require(0.0 < self.codebook_decay < 1.0, f"codebook_decay must be in (0, 1), got {self.codebook_decay}.")
        self.require(0.0 <= self.revive_share < 1.0, f"revive_share must be in [0, 1), got {self.revive_share}.")
        first, stop = self.velocity_columns
        self.require(
            0 <= first <= stop <= self.feature_dim,
            f"velocity_columns must be (first, stop) within {self.feature_dim} features, got {self.velocity_columns}.",
        )

    @property
    def frames_per_step(self) -> int:
        """Motion frames that one token step stands for."""
        return int(2**self.num_halvings)

    @property
    def velocity_dim(self) -> int:
        """Columns of the velocity decoder; 0 where there is none."""
        return self.velocity_columns[1] - self.velocity_columns[0]

    def sizes(self, in_dim: int, out_dim: int) -> ConvSizes:
        """Sizes of a convolutional net of this tokenizer."""
        dilations = tuple(self.dilation_growth_rate**power for power in reversed(range(self.depth)))
        return ConvSizes(in_dim, self.hidden_dim, out_dim, self.num_halvings, dilations, self.causal)

    @classmethod
    def paper(cls, feature_dim: int = 259) -> RVQVAEConfig:
        """The published size: 3 codebooks of 512 codes of 1024 values; HumanML259 features; not causal."""
        return cls(feature_dim=feature_dim, hidden_dim=1024, code_dim=1024, causal=False)

    @classmethod
    def default(cls) -> RVQVAEConfig:
        """The size of the packaged tokenizer: motion272, causal, trains on two CPU cores."""
        return cls(hidden_dim=256, code_dim=256)
