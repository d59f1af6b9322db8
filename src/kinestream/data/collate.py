"""Samples of different lengths as one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinestream.data.dataset import MotionSample
from kinestream.errors import BadInputError


@dataclass(frozen=True, eq=False)
class MotionBatch:
    """Features padded with zeros (after normalisation: the mean pose), `mask` true where frames are real.

    `history` counts the leading frames that only condition; `ends` tells where the motion is over after its last frame.
    """

    features: Float[Tensor, "b t d"]
    mask: Bool[Tensor, "b t"]
    lengths: Int[Tensor, "b"]
    history: Int[Tensor, "b"]
    ends: Bool[Tensor, "b"]
    captions: tuple[str, ...]
    names: tuple[str, ...]


def collate(samples: Sequence[MotionSample], *, multiple: int = 1) -> MotionBatch:
    """One batch of samples; its length is rounded up to a multiple of `multiple`. BadInputError for no samples."""
    if not samples or multiple < 1:
        raise BadInputError("expected at least one sample and a multiple of at least 1")
    lengths = torch.tensor([len(sample.features) for sample in samples])
    longest = -(-int(lengths.max()) // multiple) * multiple
    features = samples[0].features.new_zeros(len(samples), longest, samples[0].features.shape[-1])
    for row, sample in enumerate(samples):
        features[row, : len(sample.features)] = sample.features
    return MotionBatch(
        features=features,
        mask=torch.arange(longest)[None, :] < lengths[:, None],
        lengths=lengths,
        history=torch.tensor([sample.history for sample in samples]),
        ends=torch.tensor([sample.ends for sample in samples]),
        captions=tuple(sample.caption for sample in samples),
        names=tuple(sample.name for sample in samples),
    )
