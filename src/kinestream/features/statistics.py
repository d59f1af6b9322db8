"""Mean and standard deviation of a feature layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features.layout import FeatureLayout


@dataclass(frozen=True, eq=False)
class Statistics:
    """Per-column mean and standard deviation, both [D] fp32; the deviation is positive."""

    mean: Float[Tensor, "d"]
    std: Float[Tensor, "d"]

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise BadInputError(
                f"statistics: expected two equal vectors, got {tuple(self.mean.shape)} and {tuple(self.std.shape)}"
            )
        if not bool(torch.isfinite(self.mean).all() and torch.isfinite(self.std).all() and (self.std > 0).all()):
            raise BadInputError("statistics: means must be finite and standard deviations positive")

    def normalize(self, features: Tensor) -> Tensor:
        """(features - mean) / std."""
        return (features - self.mean.to(features)) / self.std.to(features)

    def denormalize(self, features: Tensor) -> Tensor:
        """features * std + mean."""
        return features * self.std.to(features) + self.mean.to(features)

    @classmethod
    def of(cls, clips: Sequence[Float[Tensor, "t d"]], layout: FeatureLayout) -> Statistics:
        """Statistics of clips as MotionStreamer publishes them: a mean a column, one deviation a slice of the layout.

        The deviation of a slice is the mean of its columns' deviations, so constant columns do no harm.
        """
        if not clips:
            raise BadInputError("statistics: expected at least one clip, got none")
        frames = sum(len(clip) for clip in clips)
        mean = torch.stack([clip.double().sum(0) for clip in clips]).sum(0) / frames
        variance = torch.stack([(clip.double() - mean).square().sum(0) for clip in clips]).sum(0) / frames
        std = variance.sqrt()
        for part in layout.slices.values():
            std[part] = std[part].mean().clamp_min(1e-6)
        return cls(mean.float(), std.float())

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """From a folder with Mean.npy and Std.npy (as published) or an .npz with `mean` and `std`."""
        path = Path(path)
        try:
            if path.is_dir():
                mean, std = (np.load(path / name, allow_pickle=False) for name in ("Mean.npy", "Std.npy"))
            else:
                with np.load(path, allow_pickle=False) as archive:
                    mean, std = archive["mean"], archive["std"]
            return cls(
                torch.tensor(np.asarray(mean), dtype=torch.float32), torch.tensor(np.asarray(std), dtype=torch.float32)
            )
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
            raise BadInputError(
                f"{path}: expected a folder with Mean.npy and Std.npy, or an .npz with 'mean' and 'std': {error}"
            ) from None
