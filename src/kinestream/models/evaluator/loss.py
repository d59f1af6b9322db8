"""Losses of the evaluator (TMR, section 3.2 and 3.3): reconstruction, KL, latents, InfoNCE with filtered negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from kinestream.models.evaluator.layers import valid_positions
from kinestream.models.evaluator.model import Evaluator, LatentDistribution


@dataclass(frozen=True)
class LossWeights:
    """Weights and settings of the terms; the paper's are the defaults."""

    reconstruction: float = 1.0
    """Smooth L1 of the motions that are decoded from the two latents, added."""
    kl: float = 1e-5
    """The four divergences."""
    latent: float = 1e-5
    """Smooth L1 between the two latents."""
    contrastive: float = 0.1
    """InfoNCE."""
    temperature: float = 0.1
    """Of InfoNCE."""
    similarity: float = 0.6
    """Texts more alike than this (cosine) are no negatives of each other; 0.8 on the paper's scale of 0 to 1."""
    contrast_means: bool = False
    """InfoNCE compares the Gaussians' means, by which is measured later, instead of samples: it learns faster."""


class EvaluatorLoss(NamedTuple):
    """The weighted total and its terms, unweighted."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    latent: Tensor
    contrastive: Tensor


def kl_divergence(one: LatentDistribution, other: LatentDistribution | None = None) -> Tensor:
    """KL(one || other), mean over rows and dimensions; without `other`, from the standard normal distribution."""
    mean, logvar = one.mean.float(), one.logvar.float()
    other_mean = torch.zeros_like(mean) if other is None else other.mean.float()
    other_logvar = torch.zeros_like(logvar) if other is None else other.logvar.float()
    ratio = (logvar - other_logvar).exp() + (mean - other_mean).square() * (-other_logvar).exp()
    divergence: Tensor = 0.5 * (ratio - 1 - logvar + other_logvar).mean()
    return divergence


def info_nce(
    text: Float[Tensor, "b c"],
    motion: Float[Tensor, "b c"],
    temperature: float,
    similarity: Float[Tensor, "b b"] | None = None,
    threshold: float = 1.0,
) -> Tensor:
    """Symmetric InfoNCE over cosines: each text finds its motion among the batch's, and each motion its text.

    similarity: how alike the rows' texts are; a pair above `threshold` is no negative (equation 4 with the filtering of
    section 3.3), though its own positive always stays.
    """
    with torch.autocast(text.device.type, enabled=False):  # bfloat16 has three digits, too few for cosines
        logits = functional.normalize(text.float(), dim=-1) @ functional.normalize(motion.float(), dim=-1).T
    logits = logits / temperature
    own = torch.arange(len(logits), device=logits.device)
    if similarity is not None:
        alike = (similarity > threshold) & (own[:, None] != own)
        logits = logits.masked_fill(alike, float("-inf"))
    return 0.5 * (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own))


def evaluator_loss(
    model: Evaluator,
    features: Float[Tensor, "b t d"],
    lengths: Int[Tensor, " b"],
    text: LatentDistribution,
    similarity: Float[Tensor, "b b"] | None,
    weights: LossWeights,
    generator: torch.Generator,
    *,
    groups: int = 1,
) -> EvaluatorLoss:
    """All terms for motions (normalised, padded) and the distributions of their texts; all frames count alike.

    groups: the rows are worked on in so many groups, each no longer than its longest row; where rows are in the order
    of their lengths this saves padding, and changes nothing else.
    """
    parts = [part for part in torch.arange(len(lengths)).tensor_split(groups) if len(part)]
    cut = [(features[part][:, : int(lengths[part].max())], lengths[part]) for part in parts]
    encoded = [model.encode_motion(*one) for one in cut]
    motion = LatentDistribution(*(torch.cat(values) for values in zip(*encoded, strict=True)))
    motion_latent, text_latent = motion.sample(generator), text.sample(generator)
    reconstruction = text_latent.new_zeros((), dtype=torch.float32)
    if weights.reconstruction > 0:
        # Frames that fill no whole token are not decoded.
        covered = torch.minimum(lengths, model.token_lengths(lengths) * model.config.frames_per_token)
        for part, (target, own_lengths) in zip(parts, cut, strict=True):
            for latent in (motion_latent, text_latent):
                error = _summed_smooth_l1(model.decode(latent[part], own_lengths), target, covered[part])
                reconstruction = reconstruction + error / covered.sum()
    kl = kl_divergence(motion) + kl_divergence(text) + kl_divergence(motion, text) + kl_divergence(text, motion)
    between = functional.smooth_l1_loss(text_latent.float(), motion_latent.float())
    compared = (text.mean, motion.mean) if weights.contrast_means else (text_latent, motion_latent)
    contrastive = info_nce(*compared, weights.temperature, similarity, weights.similarity)
    total = (
        weights.reconstruction * reconstruction
        + weights.kl * kl
        + weights.latent * between
        + weights.contrastive * contrastive
    )
    return EvaluatorLoss(total, reconstruction, kl, between, contrastive)


def _summed_smooth_l1(decoded: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
    """Mean over a frame's numbers, summed over the first `lengths` frames of each row."""
    count = min(decoded.shape[1], target.shape[1])
    valid = valid_positions(lengths, count)
    error = functional.smooth_l1_loss(decoded[:, :count].float(), target[:, :count].float(), reduction="none")
    return (error.mean(dim=-1) * valid).sum()
