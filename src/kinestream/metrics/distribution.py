"""How near two sets of embeddings are, and how much one set varies. Everything is computed in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.inputs import require_rows, require_same_width

# The text-to-motion literature's numbers of pairs (Guo et al., CVPR 2022).
DIVERSITY_PAIRS = 300
MULTIMODALITY_PAIRS = 10

Pairs = int | tuple[Int[Tensor, "k"], Int[Tensor, "k"]]


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Fréchet distance of the Gaussians fitted to two sets: FID on embeddings, FID_k and FID_g on dance features.

    |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) (Dowson and Landau, 1982; Heusel et al., NeurIPS 2017), in the
    embedding's unit squared; lower is better, 0 for equal sets. With Σ = RᵀR the last trace is the sum of the singular
    values of R_a R_bᵀ, so no root of a product is taken and covariances may lack rank: exact with any number of
    samples, nothing is added to the diagonal.

    Few samples make it larger: below some ten times D samples compare only sets of equal size, beside the distance of
    two halves of the real set. It sees means and covariances alone, in a space that the evaluator made: whatever that
    ignores is free, and captions play no part (right motions for the wrong texts score 0). Raises BadInputError for
    fewer than two samples.
    """
    because = " in each set for a covariance (and some ten times their dimension for a steady figure)"
    for rows in (a, b):
        require_rows(rows, "Fréchet distance", least=2, because=because)
    require_same_width(a, b, "Fréchet distance")
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum() - 2.0 * cross
    return torch.clamp(distance, min=0.0)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and R [min(N, D), D] with RᵀR the covariance."""
    rows = rows.double()
    mean = rows.mean(dim=0)
    root = (rows - mean) / (len(rows) - 1) ** 0.5
    return mean, (torch.linalg.qr(root).R if len(root) > root.shape[1] else root)


def mean_pairwise_distance(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Mean Euclidean distance over all pairs of different rows (Div_k, Div_g: Li et al., ICCV 2021, Bailando).

    Near the real set's is best. Broken samples far out raise it, so does noise: never read it without FID.
    """
    require_rows(x, "mean pairwise distance", least=2, because=" for a pair")
    return torch.pdist(x.double()).mean()


def mean_distance_of_others(x: Float[Tensor, "n d"], rows: Int[Tensor, "k"]) -> Float[Tensor, ""]:
    """`mean_pairwise_distance` over the rows `rows` of x, drawn with repeats: a row never meets a copy of itself.

    For bootstrap: a draw holds rows twice, whose distance of 0 would make every draw less diverse than the set.
    """
    require_rows(x, "mean pairwise distance", least=2, because=" for a pair")
    times = torch.bincount(rows, minlength=len(x)).double()
    weight = times[:, None] * times
    weight.fill_diagonal_(0.0)
    if float(weight.sum()) == 0.0:
        raise BadInputError("mean pairwise distance needs at least 2 different rows, got copies of one")
    distances = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return (weight * distances).sum() / weight.sum()


def diversity(
    x: Float[Tensor, "n d"], pairs: Pairs = DIVERSITY_PAIRS, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    """Mean Euclidean distance of randomly paired samples (Guo et al., Action2Motion 2020; Guo et al., CVPR 2022).

    `pairs`: how many, or the two index tensors themselves. Two sets of `pairs` rows, each without repeats, are set
    against each other; a row never meets itself (published code lets it, which lowers the figure by one part in N).
    Near the real set's is best: noise and broken samples raise it, collapse to one motion lowers it.
    Raises BadInputError for fewer samples than pairs.
    """
    require_rows(x, "diversity", least=2, because=" for a pair")
    first, second = _pairs(len(x), pairs, generator, "diversity", "samples")
    x = x.double()
    distances: Tensor = (x[first] - x[second]).norm(dim=-1)
    return distances.mean()


def multimodality(
    x: Float[Tensor, "p r d"], pairs: Pairs = MULTIMODALITY_PAIRS, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    """Mean Euclidean distance of samples that share a prompt (Guo et al., Action2Motion 2020; Guo et al., CVPR 2022).

    `x`: R samples of each of P prompts (30 of 100 in the literature). The same `pairs` of sample numbers serve every
    prompt. Higher is more varied; motions that ignore their prompt have the most, so never read it without R-Precision.
    """
    require_rows(x, "multimodality", dims=3, what="prompts")
    if x.shape[1] < 2:
        raise BadInputError(f"multimodality needs at least 2 samples of each prompt, got {x.shape[1]}")
    first, second = _pairs(x.shape[1], pairs, generator, "multimodality", "samples of each prompt")
    x = x.double()
    distances: Tensor = (x[:, first] - x[:, second]).norm(dim=-1)
    return distances.mean()


def _pairs(
    count: int, pairs: Pairs, generator: torch.Generator | None, metric: str, what: str
) -> tuple[Tensor, Tensor]:
    if not isinstance(pairs, int):
        return pairs
    if not 1 <= pairs <= count:
        raise BadInputError(f"{metric} with {pairs} pairs needs at least {max(pairs, 1)} {what}, got {count}")
    order = torch.randperm(count, generator=generator)
    apart = int(torch.randint(1, count, (), generator=generator))
    return order[:pairs], order.roll(-apart)[:pairs]
