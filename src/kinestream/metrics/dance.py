"""Dance metrics: beats of body and music, kinetic and geometric features, and how near two sets of dances are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.beats import BeatControl, beat_alignment, beat_alignment_control, motion_beats
from kinestream.metrics.distribution import frechet_distance, mean_pairwise_distance
from kinestream.metrics.geometric import geometric_features
from kinestream.metrics.inputs import require_rows, require_same_width
from kinestream.metrics.kinetic import kinetic_features, published_pose

__all__ = [
    "BeatControl",
    "FeatureScores",
    "beat_alignment",
    "beat_alignment_control",
    "feature_scores",
    "geometric_features",
    "kinetic_features",
    "motion_beats",
    "published_pose",
    "standardized",
]

COMPAT_FLOOR = 1e-10
# A feature that varies less than this over the real dances is left in its own unit.
CONSTANT = 1e-6


class FeatureScores(NamedTuple):
    """FID and diversity of generated dances in one space of features (FID_k and Div_k, or FID_g and Div_g)."""

    fid: Tensor
    diversity: Tensor
    real_diversity: Tensor


def standardized(
    rows: Float[Tensor, "n d"], real: Float[Tensor, "m d"], *, compat: bool = False
) -> Float[Tensor, "n d"]:
    """Features minus the real set's mean, over its standard deviation.

    A feature that is constant over the real dances stays in its own unit; `compat` divides it by 1e-10, as published
    code does, so that one frame of a generated dance decides the whole figure.
    """
    real = real.double()
    spread = real.std(dim=0, correction=0)
    if compat:
        spread = spread + COMPAT_FLOOR
    else:
        spread = torch.where(spread < CONSTANT * (1.0 + real.abs().amax(dim=0)), torch.ones_like(spread), spread)
    return (rows.double() - real.mean(dim=0)) / spread


def feature_scores(
    generated: Float[Tensor, "n d"], real: Float[Tensor, "m d"], *, compat: bool = False
) -> FeatureScores:
    """FID_k and Div_k on kinetic features, FID_g and Div_g on geometric ones (Li et al., ICCV 2021; Bailando).

    Both sets are standardised by the real one; FID is their Fréchet distance (lower is better), diversity the mean
    distance between generated dances (near `real_diversity` is best: noise raises it). Needs at least two dances of
    each kind, and some ten times the features' number (66, 32) for a steady FID: below that compare equal numbers of
    dances, and put the FID of one half of the real dances to the other beside it. Clips must have equal lengths in
    both sets: means over longer clips vary less. The failure modes are those of the features.
    """
    because = " in each set for a covariance (and some ten times the features' number for a steady figure)"
    for rows in (generated, real):
        require_rows(rows, "FID and diversity of dances", least=2, because=because, what="dances")
    require_same_width(generated, real, "FID and diversity of dances")
    ours, theirs = standardized(generated, real, compat=compat), standardized(real, real, compat=compat)
    return FeatureScores(frechet_distance(ours, theirs), mean_pairwise_distance(ours), mean_pairwise_distance(theirs))
