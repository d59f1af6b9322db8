"""Configuration of the causal temporal autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

from kinestream.nn.config import ModelConfig


@dataclass(frozen=True)
class CausalTAEConfig(ModelConfig):
    """Sizes of the causal temporal autoencoder (MotionStreamer, Table 8)."""

    feature_dim: int = 272
    """Values per motion frame (D)."""
    hidden_dim: int = 1024
    """Channels of every convolution."""
    latent_dim: int = 16
    """Values per latent (d_c)."""
    num_halvings: int = 2
    """How many times time is halved: a latent stands for 2 ** num_halvings frames (l = 4)."""
    depth: int = 3
    """Residual blocks per halving; block i has dilation dilation_growth_rate ** (depth - 1 - i): 9, 3, 1."""
    dilation_growth_rate: int = 3
    """Ratio between the dilations of neighbouring blocks."""
    logvar_range: tuple[float, float] = (-30.0, 20.0)
    """The log-variance of the posterior is clamped to this range."""
    causal: bool = True
    """Whether no frame sees a later one, so that the model streams; False is Table 3's VAE, for whole sequences."""
    variational: bool = True
    """Whether latents are drawn and held near a unit Gaussian; False is a plain autoencoder (Table 3's AE), whose
    log-variance is the lowest of logvar_range and which is trained with `kl_weight` 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_dim", "hidden_dim", "latent_dim", "num_halvings", "depth", "dilation_growth_rate"):
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        self.require(self.num_halvings <= 8, f"num_halvings above 8 makes no sense, got {self.num_halvings}.")
        self.require(
            self.logvar_range[0] < self.logvar_range[1],
            f"logvar_range must be (low, high) with low < high, got {self.logvar_range}.",
        )

    @property
    def frames_per_latent(self) -> int:
        """Motion frames that one latent stands for."""
        return int(2**self.num_halvings)

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilations of the residual blocks in their order."""
        return tuple(self.dilation_growth_rate**power for power in reversed(range(self.depth)))

    @classmethod
    def paper(cls) -> CausalTAEConfig:
        """The published size: 76 million parameters."""
        return cls()

    @classmethod
    def default(cls) -> CausalTAEConfig:
        """The size of the packaged model: runs and trains on two CPU cores."""
        return cls(hidden_dim=384)
