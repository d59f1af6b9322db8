"""Whether motions belong to their texts, or dances to their music: ranks in an evaluator's space."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inputs import require_pair, require_rows, require_same_width

BATCH = 32
# Equal rows are equally far, which the faster product form does not promise.
EXACT = "donot_use_mm_for_euclid_dist"


def r_precision(
    text: Float[Tensor, "n d"],
    motion: Float[Tensor, "n d"],
    batch: int = BATCH,
    top: int = 3,
    generator: torch.Generator | None = None,
    labels: Sequence[Hashable] | None = None,
) -> Float[Tensor, "k"]:
    """R-Precision: share of texts whose motion is among the 1, ..., `top` nearest of a batch (Guo et al., CVPR 2022).

    Row k of `motion` belongs to row k of `text`; Euclidean distance, higher is better, chance is k / `batch`. Batches
    are consecutive rows as published code has them; with a generator they are drawn anew, which is what the 20 repeats
    vary. With `labels` (the captions, say) no two rows of a batch share one, so that nothing right counts as wrong.
    Rows that fill no batch are left out. Motions at the same distance as the right one count as nearer: a model that
    gives everything one embedding scores 0, not 1.

    Only as good as the evaluator, which can be pleased by motions that no person would move. Depends on how alike the
    captions of a batch are: compare at equal batch size, on the same captions, beside the real motions' own score.
    Blind to motions being all alike for one caption, and to their quality.
    """
    _require_matched(text, motion, "R-Precision")
    if not 1 <= top <= batch:
        raise BadInputError(f"R-Precision: expected 1 <= top <= batch, got top {top} of batches of {batch}")
    rows = batches(len(text), batch, generator, labels)
    distances = torch.cdist(text.double()[rows], motion.double()[rows], compute_mode=EXACT)
    right = distances.diagonal(dim1=-2, dim2=-1)[..., None]
    ahead = (distances <= right).sum(dim=-1) - 1
    return torch.stack([(ahead < k).double().mean() for k in range(1, top + 1)])


def batches(
    count: int,
    size: int = BATCH,
    generator: torch.Generator | None = None,
    labels: Sequence[Hashable] | None = None,
) -> Int[Tensor, "b s"]:
    """Row numbers [batches, size]: in order, or shuffled by `generator`; with `labels` all different within a batch.

    Rows that fill no batch, or whose label is too frequent, are left out. BadInputError where not one batch is full.
    """
    if size < 1 or count < size:
        raise BadInputError(f"R-Precision in batches of {size} needs at least {max(size, 1)} pairs, got {count}")
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    if labels is None:
        return order[: count - count % size].reshape(-1, size)
    if len(labels) != count:
        raise BadInputError(f"R-Precision: expected a label for each of {count} pairs, got {len(labels)}")
    full: list[list[int]] = []
    filling: list[tuple[list[int], set[Hashable]]] = []
    for row in order.tolist():
        place = next((k for k, (_, seen) in enumerate(filling) if labels[row] not in seen), None)
        if place is None:
            filling.append(([], set()))
            place = len(filling) - 1
        rows, seen = filling[place]
        rows.append(row)
        seen.add(labels[row])
        if len(rows) == size:
            full.append(rows)
            filling.pop(place)
    if not full:
        raise BadInputError(
            f"R-Precision in batches of {size} with different labels needs at least {size} labels, "
            f"got {len(set(labels))} in {count} pairs"
        )
    return torch.tensor(full)


def multimodal_distance(text: Float[Tensor, "n d"], motion: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean Euclidean distance between a text's embedding and its motion's (Guo et al., CVPR 2022); lower is better.

    In the evaluator's own unit: figures of two evaluators, or of normalised and plain embeddings, do not compare. A
    model that draws towards the mean embedding lowers it without matching anything: R-Precision sees that.
    """
    _require_matched(text, motion, "multimodal distance")
    distance: Tensor = (text.double() - motion.double()).norm(dim=-1).mean()
    return distance


def retrieval_recall(
    queries: Float[Tensor, "n d"],
    gallery: Float[Tensor, "m d"],
    ks: Sequence[int] = (1, 5, 10),
    positives: Bool[Tensor, "n m"] | None = None,
) -> Float[Tensor, "k"]:
    """Recall@k: share of queries with a right answer among the k nearest of the gallery by cosine; higher is better.

    `positives[i, j]`: whether entry j is right for query i; without it entry i is, alone. Entries as near as the best
    right one count as nearer. Chance is `chance_recall`: it grows with right answers and shrinks with the gallery, so
    figures from galleries of different sizes do not compare. Near copies in the gallery (overlapping windows of one
    song) count as wrong answers unless `positives` says otherwise.
    """
    return retrieval_hits(queries, gallery, ks, positives).double().mean(dim=0)


def retrieval_hits(
    queries: Float[Tensor, "n d"],
    gallery: Float[Tensor, "m d"],
    ks: Sequence[int] = (1, 5, 10),
    positives: Bool[Tensor, "n m"] | None = None,
) -> Bool[Tensor, "n k"]:
    """What `retrieval_recall` is the mean of: for each query whether a right answer is among the k nearest."""
    for rows, what in ((queries, "queries"), (gallery, "gallery entries")):
        require_rows(rows, "retrieval recall", what=what)
    require_same_width(queries, gallery, "retrieval recall")
    right = _positives(len(queries), len(gallery), positives, ks).to(queries.device)
    a, b = (torch.nn.functional.normalize(rows.double(), dim=-1) for rows in (queries, gallery))
    similarity = a @ b.T
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=-1, keepdim=True)
    ahead = ((similarity >= best) & ~right).sum(dim=-1)
    return torch.stack([ahead < k for k in ks], dim=1)


def chance_recall(positives: Bool[Tensor, "n m"], ks: Sequence[int] = (1, 5, 10)) -> Float[Tensor, "k"]:
    """Recall@k of a random order: mean over queries of 1 - C(M - P, k) / C(M, k) with P right answers of M."""
    queries, entries = positives.shape
    right = _positives(queries, entries, positives, ks).sum(dim=-1).double()
    found = []
    for k in ks:
        drawn = torch.arange(min(k, entries), dtype=torch.float64)
        missed = ((entries - right[:, None] - drawn) / (entries - drawn)).clamp_min(0.0).prod(dim=-1)
        found.append((1.0 - missed).mean())
    return torch.stack(found)


def _positives(queries: int, entries: int, positives: Tensor | None, ks: Sequence[int]) -> Tensor:
    if not ks or min(ks) < 1:
        raise BadInputError(f"retrieval recall: expected numbers of answers of at least 1, got {list(ks)}")
    if positives is None:
        if queries != entries:
            raise BadInputError(
                f"retrieval recall: {queries} queries and {entries} gallery entries are no pairs: give `positives`"
            )
        return torch.eye(queries, dtype=torch.bool)
    if positives.dtype != torch.bool or tuple(positives.shape) != (queries, entries):
        raise BadInputError(
            f"retrieval recall: expected boolean positives [{queries}, {entries}], got {tuple(positives.shape)} "
            f"of {str(positives.dtype).removeprefix('torch.')}"
        )
    if not bool(positives.any(dim=-1).all()):
        raise BadInputError("retrieval recall needs a right answer in the gallery for every query: leave out the rest")
    return positives


def _require_matched(text: Tensor, motion: Tensor, metric: str) -> None:
    require_rows(text, metric, what="text embeddings")
    require_rows(motion, metric, what="motion embeddings")
    require_pair(text, motion, metric, "a caption and its motion, row by row,")
