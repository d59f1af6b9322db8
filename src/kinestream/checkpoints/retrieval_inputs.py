"""What of music and motion features a retrieval network looks at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.conditioning.music import MUSIC_SLICES, MUSIC_WIDTH
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, pulse_from_motion272
from kinestream.nn.config import ModelConfig

DANCE_INPUTS = ("features", "pulse")


@dataclass(frozen=True)
class RetrievalInputs(ModelConfig):
    """Which columns are read; the default, and what the released network does, is all as it comes."""

    music: tuple[str, ...] = ()
    """Names of MUSIC_SLICES; none: all columns, of any music features."""
    dance: str = "features"
    """"features": the motion features; "pulse": what features/pulse.py makes of motion272."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.music if name not in MUSIC_SLICES]
        self.require(not unknown, f"music has no {', '.join(map(str, unknown))}; known: {', '.join(MUSIC_SLICES)}.")
        self.require(self.dance in DANCE_INPUTS, f"dance must be one of {', '.join(DANCE_INPUTS)}, got {self.dance!r}.")

    def music_of(self, features: Float[Tensor, "*b t m"]) -> Float[Tensor, "*b t n"]:
        """The columns that are read; BadInputError where names are asked for of other features than kinestream's."""
        if not self.music:
            return features
        if features.shape[-1] != MUSIC_WIDTH:
            raise BadInputError(
                f"the network reads {', '.join(self.music)} of kinestream's {MUSIC_WIDTH} music features, "
                f"got {features.shape[-1]} values a frame"
            )
        return torch.cat([features[..., MUSIC_SLICES[name]] for name in self.music], dim=-1)

    def dance_of(self, features: Float[Tensor, "*b t d"]) -> Float[Tensor, "*b t e"]:
        """The features that are read of motion features, un-normalised."""
        return features if self.dance == "features" else pulse_from_motion272(features)

    def music_source_width(self, read: int) -> int:
        """Values a frame of the music features of which the network reads `read`."""
        return MUSIC_WIDTH if self.music else read

    def dance_source_width(self, read: int) -> int:
        """Values a frame of the motion features of which the network reads `read`."""
        return read if self.dance == "features" else MOTION272.width
