"""What is measured: real and generated clips as one value, so that both go through identical functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import MOTION_FOLDER, read_features
from kinestream.data.manifest import Clip
from kinestream.errors import BadInputError
from kinestream.evaluation.plausibility import shown_joints
from kinestream.features import MOTION272


@dataclass(frozen=True, eq=False)
class Take:
    """One clip: its labels and motion272 features [T, 272], not normalised; `prompt` is empty for a recording."""

    name: str
    content: str
    style: str
    features: Float[Tensor, "t 272"]
    prompt: str = ""

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return len(self.features)

    @cached_property
    def joints_m(self) -> Float[Tensor, "t 22 3"]:
        """World positions of the body that a user sees: the rotations on the SMPL-22 skeleton, floor at y = 0."""
        return shown_joints(self.features)


def load_takes(root: Path, clips: Iterable[Clip]) -> list[Take]:
    """The clips' takes, read from ROOT/motion_data."""
    return [
        Take(
            clip.name,
            clip.content,
            clip.style,
            torch.from_numpy(read_features(root / MOTION_FOLDER / f"{clip.name}.npy")),
        )
        for clip in clips
    ]


def evenly(clips: Sequence[Clip], count: int | None) -> list[Clip]:
    """About `count` clips with nearly the same share of every label: every k-th in the labels' order; None is all."""
    ordered = sorted(clips, key=lambda clip: (clip.content, clip.style, clip.name))
    if count is None or count >= len(ordered):
        return ordered
    if count < 1:
        raise BadInputError(f"expected at least one clip to measure, got {count}")
    return [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]


FPS = MOTION272.fps
