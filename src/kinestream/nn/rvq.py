"""Residual vector quantisation with averaged codebooks, revival of dead codes and quantiser dropout."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn

from kinestream.errors import BadInputError

DROPPED = -1
"""Index of a level that contributes nothing."""

_MIN_USAGE = 1e-5
# A new code's usage, relative to what counts as dead: unused it is replaced again after 18 passes at a decay of 0.99.
_FRESH = 1.2


class Quantized(NamedTuple):
    """What a quantiser gives.

    vectors [B, L, C]: the sum of the chosen codes; its gradient goes straight through to the input. codes [B, L, K]:
    their indices, `DROPPED` where a level was left out. commitment: the mean squared distance of each level's input
    from its code, a scalar with gradient to the input alone.
    """

    vectors: Tensor
    codes: Tensor
    commitment: Tensor


class ResidualQuantizer(nn.Module):
    """K codebooks of N codes: each quantises what the ones before it left over (InfiniteDance, section 4.1 and Fig. 4).

    Codebooks follow the vectors by exponential averages, never by gradients. In training mode a forward pass updates
    them: the first pass fills them with vectors of its batch; a code whose average usage falls below `revive_share`
    of the mean usage takes the place of a random vector of the batch. With several processes all see the sums of all.

    Buffers: codebooks [K, N, C]; usage [K, N], the average number of vectors per pass that chose a code (0 before the
    first pass).
    """

    def __init__(
        self,
        num_codebooks: int,
        num_codes: int,
        dim: int,
        *,
        dropout: float = 0.2,
        decay: float = 0.99,
        revive_share: float = 0.1,
    ) -> None:
        super().__init__()
        self.dropout, self.decay, self.revive_share = dropout, decay, revive_share
        self.register_buffer("codebooks", torch.zeros(num_codebooks, num_codes, dim))
        self.register_buffer("usage", torch.zeros(num_codebooks, num_codes))
        self.codebooks: Tensor
        self.usage: Tensor

    @property
    def num_codebooks(self) -> int:
        """K."""
        return len(self.codebooks)

    @property
    def num_codes(self) -> int:
        """N, codes per codebook."""
        return self.codebooks.shape[1]

    def forward(self, x: Float[Tensor, "b l c"], generator: torch.Generator | None = None) -> Quantized:
        """Quantise vectors. In training mode codebooks are updated, and with probability `dropout` a row keeps only
        its first 1 to K - 1 levels, so that every prefix of the levels is a usable code."""
        vectors = x.float()
        kept = self._kept_levels(len(x), x.device, generator)
        residual, total = vectors, torch.zeros_like(vectors)
        codes, commitments = [], []
        for level in range(self.num_codebooks):
            if self.training:
                self._prepare(level, residual.detach(), generator)
            chosen = self.nearest(level, residual)
            taken = self.codebooks[level][chosen]
            inside = (kept > level)[:, None].expand_as(chosen)
            commitments.append(_masked_mean((residual - taken).square().mean(dim=-1), inside))
            if self.training:
                self._update(level, residual.detach()[inside], chosen[inside], generator)
            taken = taken * inside[..., None]
            total, residual = total + taken, residual - taken
            codes.append(chosen.masked_fill(~inside, DROPPED))
        through = vectors + (total - vectors).detach()
        return Quantized(through.to(x.dtype), torch.stack(codes, dim=-1), torch.stack(commitments).mean())

    def encode(self, x: Float[Tensor, "b l c"]) -> Int[Tensor, "b l k"]:
        """Give the codes of vectors; never changes anything."""
        residual, codes = x.float(), []
        for level in range(self.num_codebooks):
            chosen = self.nearest(level, residual)
            residual = residual - self.codebooks[level][chosen]
            codes.append(chosen)
        return torch.stack(codes, dim=-1)

    def nearest(self, level: int, x: Float[Tensor, "b l c"]) -> Int[Tensor, "b l"]:
        """Give the nearest code of one codebook, by squared distance in float32."""
        book = self.codebooks[level].float()
        with torch.autocast(x.device.type, enabled=False):
            scores = x.detach().float() @ book.T - 0.5 * book.square().sum(dim=-1)
        return scores.argmax(dim=-1)

    def embed_levels(self, codes: Int[Tensor, "b l k"]) -> Float[Tensor, "b l k c"]:
        """Give each level's own code vector; dropped levels give zeros. Fewer than K levels may be given."""
        count = codes.shape[-1]
        if count > self.num_codebooks or (codes.numel() and int(codes.max()) >= self.num_codes):
            raise BadInputError(
                f"Codes must be [B, L, at most {self.num_codebooks}] below {self.num_codes}, got {tuple(codes.shape)} "
                f"up to {int(codes.max()) if codes.numel() else 0}."
            )
        levels = torch.arange(count, device=codes.device)
        vectors = self.codebooks[levels, codes.clamp_min(0)]
        return vectors * (codes >= 0)[..., None]

    def embed(self, codes: Int[Tensor, "b l k"]) -> Float[Tensor, "b l c"]:
        """Give the vectors that codes stand for: the sum over the levels."""
        return self.embed_levels(codes).sum(dim=-2)

    def _kept_levels(self, rows: int, device: torch.device, generator: torch.Generator | None) -> Int[Tensor, "b"]:
        kept = torch.full((rows,), self.num_codebooks, dtype=torch.long)
        if self.training and self.dropout > 0 and self.num_codebooks > 1:
            drops = torch.rand(rows, generator=generator) < self.dropout
            fewer = torch.randint(1, self.num_codebooks, (rows,), generator=generator)
            kept = torch.where(drops, fewer, kept)
        return kept.to(device)

    @torch.no_grad()
    def _prepare(self, level: int, residual: Tensor, generator: torch.Generator | None) -> None:
        """Fill an empty codebook from the batch."""
        if bool(self.usage[level].any()):
            return
        picked = _random_rows(residual.flatten(0, 1), self.num_codes, generator)
        self.codebooks[level] = picked
        self.usage[level] = max(_MIN_USAGE, _FRESH * self.revive_share * residual.shape[:2].numel() / self.num_codes)

    @torch.no_grad()
    def _update(self, level: int, vectors: Tensor, chosen: Tensor, generator: torch.Generator | None) -> None:
        book, usage = self.codebooks[level], self.usage[level]
        counts = torch.bincount(chosen, minlength=self.num_codes).to(book)
        sums = torch.zeros_like(book).index_add_(0, chosen, vectors.to(book))
        _sum_over_processes(counts, sums)
        grown = self.decay * usage + (1 - self.decay) * counts
        mixed = self.decay * usage[:, None] * book + (1 - self.decay) * sums
        self.codebooks[level] = torch.where(
            grown[:, None] > _MIN_USAGE, mixed / grown.clamp_min(_MIN_USAGE)[:, None], book
        )
        self.usage[level] = grown
        mean = grown.mean()
        dead = grown < self.revive_share * mean
        if bool(dead.any()):  # the same in all processes, as they must draw together
            source = vectors if len(vectors) else book
            self.codebooks[level, dead] = _random_rows(source, int(dead.sum()), generator).to(book)
            self.usage[level, dead] = _FRESH * self.revive_share * mean


def perplexity(codes: Int[Tensor, "*b k"], num_codes: int) -> Float[Tensor, "k"]:
    """Give exp(entropy) of how often each code of each codebook occurs: N where all are used equally, 1 where one is.

    Dropped levels don't count.
    """
    result = []
    for level in codes.flatten(0, -2).unbind(dim=-1):
        counts = torch.bincount(level[level >= 0], minlength=num_codes).float()
        shares = counts / counts.sum().clamp_min(1.0)
        result.append(torch.special.entr(shares).sum().exp())
    return torch.stack(result)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)


def _random_rows(vectors: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` rows in random order, with repeats (slightly moved apart) only where there are fewer; the same in all
    processes."""
    order = torch.cat(
        [torch.randperm(len(vectors), generator=generator) for _ in range(-(-count // max(1, len(vectors))))]
    )
    picked = vectors[order[:count].to(vectors.device)]
    if count > len(vectors):
        noise = torch.randn(picked.shape, generator=generator).to(picked)
        picked = picked + 0.01 * vectors.std() * noise
    if distributed.is_available() and distributed.is_initialized():
        distributed.broadcast(picked, 0)
    return picked


def _sum_over_processes(*tensors: Tensor) -> None:
    if distributed.is_available() and distributed.is_initialized():
        for tensor in tensors:
            distributed.all_reduce(tensor)
