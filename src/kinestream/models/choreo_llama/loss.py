"""The next-token loss over the codebooks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


class ChoreoLlamaLoss(NamedTuple):
    """Scalar `total` with gradient: the mean over the levels; `levels` [K], each level's cross entropy in nats; and
    `accuracy` [K], how often the likeliest code is the true one."""

    total: Tensor
    levels: Tensor
    accuracy: Tensor


def choreo_llama_loss(
    logits: Float[Tensor, "b l k n"], codes: Int[Tensor, "b l k"], mask: Bool[Tensor, "b l"] | None = None
) -> ChoreoLlamaLoss:
    """Cross entropy of each code given all before it; steps where `mask` is False don't count. Computed in float32."""
    inside = torch.ones_like(codes[..., 0], dtype=torch.bool) if mask is None else mask
    each = functional.cross_entropy(logits.float().flatten(0, 2), codes.flatten(), reduction="none").view(codes.shape)
    count = inside.sum().clamp_min(1)
    levels = (each * inside[..., None]).sum(dim=(0, 1)) / count
    right = (logits.argmax(dim=-1) == codes) & inside[..., None]
    return ChoreoLlamaLoss(levels.mean(), levels, right.sum(dim=(0, 1)) / count)
