"""Experts for the slow and the fast part of a motion: bands of the spectrum over time, and one expert for each."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kinestream.errors import BadInputError
from kinestream.nn.mamba import MambaBlock


def split_bands(x: Float[Tensor, "b t c"], num_bands: int) -> Float[Tensor, "b n t c"]:
    """Split a sequence over time into bands of its spectrum that sum to it (InfiniteDance, section 4.2, "RFFT").

    Band n holds the frequencies from n to n + 1 parts of `num_bands` up to half the rate; the highest holds half the
    rate itself. Computed in float32 for any length of at least 1.
    """
    length = x.shape[1]
    with torch.autocast(x.device.type, enabled=False):
        spectrum = torch.fft.rfft(x.float(), dim=1)
        bins = torch.arange(spectrum.shape[1], device=x.device)
        band = (2 * num_bands * bins // length).clamp_max(num_bands - 1)
        parts = [torch.fft.irfft(spectrum * (band == index)[:, None], n=length, dim=1) for index in range(num_bands)]
    return torch.stack(parts, dim=1).to(x.dtype)


def rank_weights(count: int) -> Float[Tensor, "k"]:
    """Weights of `count` references, best match first: k / sum, ..., 1 / sum with sum = 1 + ... + k.

    The paper's w_i = i / sum gives the heaviest weight to i = k; we read i as counting from the worst match, so that
    the best one is the heaviest.
    """
    if count < 1:
        raise BadInputError(f"rank_weights needs at least one reference, got {count}.")
    weights = torch.arange(count, 0, -1, dtype=torch.float32)
    return weights / weights.sum()


def weighted_references(
    references: Float[Tensor, "b k t c"], present: Bool[Tensor, "b k"] | None = None
) -> Float[Tensor, "b t c"]:
    """Sum references, best match first, by their rank; rows of `present` say which ones are there (the first ones).

    A row without any reference gives zeros.
    """
    batch, count = references.shape[:2]
    counts = torch.full((batch,), count) if present is None else present.sum(dim=1).cpu()
    weights = torch.zeros(batch, count)
    for row, number in enumerate(counts.tolist()):
        if number:
            weights[row, :number] = rank_weights(int(number))
    return torch.einsum("bk,bktc->btc", weights.to(references), references)


class CadenceExpert(nn.Module):
    """Linear, multi-head self-attention over the window, then a Mamba block with a residual (Fig. 5 b)."""

    def __init__(self, in_dim: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_dim, dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.mamba = MambaBlock(dim)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t d"]:
        """Work on a whole window; attention sees all of it."""
        projected = self.proj(x)
        attended, _ = self.attention(projected, projected, projected, need_weights=False)
        out: Tensor = attended + self.mamba(self.norm(attended))
        return out


class CadenceGate(nn.Module):
    """Weights of the bands, one set per time step: a linear layer and a softmax (section 4.2)."""

    def __init__(self, in_dim: int, num_bands: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, num_bands)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t n"]:
        """Give weights that sum to one."""
        weights: Tensor = self.linear(x).softmax(dim=-1)
        return weights
