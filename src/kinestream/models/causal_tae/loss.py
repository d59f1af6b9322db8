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
    kl_weight: float = 1.0,
) -> CausalTAELoss:
    """Give the sigma-VAE objective with root loss (MotionStreamer, equations 2 to 6).

    recon and target are normalised features; the first `root_dims` of them belong to the root; `root_weight` is lambda;
    `kl_weight` 0 leaves the divergence out, for a plain autoencoder (Table 3).
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
    return CausalTAELoss(reconstruction + kl_weight * kl + root_weight * root, reconstruction, kl, root, sigma)


class JointLoss(NamedTuple):
    """pose, height (of the feet), velocity, feet (velocity of the feet alone), jerk: scalar tensors with gradient."""

    pose: Tensor
    height: Tensor
    velocity: Tensor
    feet: Tensor
    jerk: Tensor


def joint_loss(
    joints_m: Float[Tensor, "b t j 3"], target_joints_m: Float[Tensor, "b t j 3"], feet: Sequence[int]
) -> JointLoss:
    """Give the log-likelihoods of joint positions and of their first and third differences, each with its own sigma.

    Not in the paper. Equation 3 hardly sees an error of two millimetres that changes sign from frame to frame, nor a
    body that stands two centimetres too low, but an animator does: positions around the root (joint 0), the heights of
    the joints `feet`, steps (first difference) and jerks (third) are therefore scored on their own scales, and the
    steps of the feet once more on theirs.
    """
    error = joints_m.float() - target_joints_m.float()
    on_feet = error[..., list(feet), :]
    return JointLoss(
        pose=_likelihood(error - error[..., :1, :]),
        height=_likelihood(on_feet[..., 1]),
        velocity=_likelihood(error.diff(n=1, dim=1)),
        feet=_likelihood(on_feet.diff(n=1, dim=1)),
        jerk=_likelihood(error.diff(n=3, dim=1)),
    )


def _likelihood(error: Tensor) -> Tensor:
    squares = error.square()
    sigma = squares.mean().detach().sqrt().clamp_min(_MIN_SIGMA_M)
    return (squares / (2 * sigma.square()) + sigma.log()).mean()
