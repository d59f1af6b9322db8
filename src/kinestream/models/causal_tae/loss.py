"""Training objective of the causal temporal autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from kinestream.models.causal_tae.model import LatentDistribution

_MIN_SIGMA = math.exp(-6.0)
# Differences of joint positions in metres are a thousand times smaller than normalised features.
_MIN_SIGMA_M = 1e-6


class CausalTAELoss(NamedTuple):
    """The terms of the objective, each a scalar tensor; `total` carries the gradient, `sigma` is analytic."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    root: Tensor
    sigma: Tensor


def causal_tae_loss(
    recon: Float[Tensor, "b t d"],
    target: Float[Tensor, "b t d"],
    posterior: LatentDistribution,
    *,
    root_dims: int = 8,
    root_weight: float = 7.0,
) -> CausalTAELoss:
    """Give the sigma-VAE objective with root loss (MotionStreamer, equations 2 to 6).

    recon and target are normalised features; the first `root_dims` of them belong to the root; `root_weight` is lambda.
    sigma* is the root of the mean squared error (eq. 5), taken as a constant: it is the optimum, where its own gradient
    vanishes; `mean_squared_error` gives its square where several processes share a batch. It is kept above e^-6. All
    sums are divided by the number of target values B N D, which leaves the ratios of the terms as in the paper and
    keeps gradients of order one. Computed in float32.
    """
    error = (recon.float() - target.float()).square()
    sigma = error.mean().detach().sqrt().clamp_min(_MIN_SIGMA)
    nll = error / (2 * sigma.square()) + sigma.log()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + logvar.exp() - logvar - 1)
    count = target.numel()
    reconstruction = nll.sum() / count
    kl = divergence.sum() / count
    root = nll[..., :root_dims].sum() / count
    return CausalTAELoss(reconstruction + kl + root_weight * root, reconstruction, kl, root, sigma)


class MotionSmoothnessLoss(NamedTuple):
    """velocity, feet (velocity of the feet alone), jerk: scalar tensors with gradient."""

    velocity: Tensor
    feet: Tensor
    jerk: Tensor


def motion_smoothness_loss(
    joints_m: Float[Tensor, "b t j 3"], target_joints_m: Float[Tensor, "b t j 3"], feet: Sequence[int]
) -> MotionSmoothnessLoss:
    """Give the log-likelihoods of first and third differences of joint positions, each with its own analytic sigma.

    Not in the paper. Equation 3 hardly sees an error of two millimetres that changes sign from frame to frame, but an
    animator does, and a foot that should stand slides by it: the step of a joint (first difference) and its jerk
    (third) are therefore scored on their own scale, and the steps of the joints `feet` once more on theirs.
    """
    error = joints_m.float() - target_joints_m.float()
    velocity, jerk = _difference_nll(error, 1), _difference_nll(error, 3)
    return MotionSmoothnessLoss(velocity, _difference_nll(error[..., list(feet), :], 1), jerk)


def _difference_nll(error: Tensor, order: int) -> Tensor:
    squares = error.diff(n=order, dim=1).square()
    sigma = squares.mean().detach().sqrt().clamp_min(_MIN_SIGMA_M)
    return (squares / (2 * sigma.square()) + sigma.log()).mean()
