"""The tokenizer's objective: features, positions, velocities and commitment."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class RVQVAELoss(NamedTuple):
    """Scalar tensors: the weighted total, and its terms before weighting."""

    total: Tensor
    features: Tensor
    positions: Tensor
    velocities: Tensor
    commitment: Tensor


def rvq_vae_loss(
    recon: Float[Tensor, "b t d"],
    target: Float[Tensor, "b t d"],
    commitment: Float[Tensor, ""],
    *,
    positions: slice,
    velocities: slice,
    position_weight: float = 0.5,
    velocity_weight: float = 0.5,
    commitment_weight: float = 0.02,
) -> RVQVAELoss:
    """Smooth L1 on normalised features, once more on joint positions, and on velocities; plus the commitment.

    The velocity term scores what both say of velocity: the velocity columns, and the steps of the position columns
    from frame to frame. Computed in float32.
    """
    recon, target = recon.float(), target.float()
    features = functional.smooth_l1_loss(recon, target)
    placed = functional.smooth_l1_loss(recon[..., positions], target[..., positions])
    steps = functional.smooth_l1_loss(recon[..., positions].diff(dim=1), target[..., positions].diff(dim=1))
    moving = steps + functional.smooth_l1_loss(recon[..., velocities], target[..., velocities])
    total = features + position_weight * placed + velocity_weight * moving + commitment_weight * commitment.float()
    return RVQVAELoss(total, features, placed, moving, commitment)
