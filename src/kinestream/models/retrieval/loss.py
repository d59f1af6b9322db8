"""Training objective of the retrieval network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from kinestream.errors import BadInputError


class RetrievalLoss(NamedTuple):
    """total: scalar with gradient. accuracy: share of rows whose own partner is the nearest, both ways averaged."""

    total: Tensor
    accuracy: Tensor


def symmetric_info_nce(
    music: Float[Tensor, "b e"],
    dance: Float[Tensor, "b e"],
    scale: Tensor,
    recordings: Int[Tensor, " b"] | None = None,
) -> RetrievalLoss:
    """Give the mean of the cross-entropies music -> dance and dance -> music (InfoNCE, van den Oord et al. 2018).

    music, dance: unit-length embeddings, row i of both belongs together. scale: factor on the similarities.
    recordings: what each row was cut from. Another window of the same recording is neither partner nor stranger (its
    music and steps are nearly the same), so such pairs take no part.
    """
    if len(music) < 2:
        raise BadInputError(f"InfoNCE compares rows of a batch: it needs at least 2, got {len(music)}.")
    scores = scale * music @ dance.T
    partner = torch.arange(len(scores), device=scores.device)
    if recordings is not None:
        same = (recordings[:, None] == recordings[None]) & ~torch.eye(
            len(scores), dtype=torch.bool, device=scores.device
        )
        scores = scores.masked_fill(same, float("-inf"))
    total = 0.5 * (functional.cross_entropy(scores, partner) + functional.cross_entropy(scores.T, partner))
    hits = [(side.argmax(dim=-1) == partner).float().mean() for side in (scores.detach(), scores.detach().T)]
    return RetrievalLoss(total, 0.5 * (hits[0] + hits[1]))
