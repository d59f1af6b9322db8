"""Training objective of the autoregressive diffusion model: diffusion loss, and Two-Forward training around it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion.head import DiffusionHead
from kinestream.models.ar_diffusion.model import ARDiffusion

Estimate = Literal["denoise", "sample"]


class DiffusionLoss(NamedTuple):
    """loss: scalar with gradient. per_row [N]: mean squared noise error. start_estimate [N, C]: the x_0 it implies."""

    loss: Tensor
    per_row: Tensor
    start_estimate: Tensor


class TwoForwardLoss(NamedTuple):
    """loss: scalar with gradient. replaced: share of the input latents that were replaced by predictions."""

    loss: Tensor
    replaced: Tensor


def replaced_share(step: int, total: int) -> float:
    """Give the share of latents to replace, (1 - cos(pi t / T)) / 2 (MotionStreamer, appendix A)."""
    if total < 1 or step < 0:
        raise BadInputError(f"replaced_share needs 0 <= step and total >= 1, got step {step} of {total}.")
    return 0.5 * (1.0 - math.cos(math.pi * min(step, total) / total))


def diffusion_loss(
    head: DiffusionHead,
    conditions: Float[Tensor, "n h"],
    targets: Float[Tensor, "n c"],
    *,
    t: Int[Tensor, " n"] | None = None,
    noise: Float[Tensor, "n c"] | None = None,
    generator: torch.Generator | None = None,
    batch_mul: int = 1,
) -> DiffusionLoss:
    """Give E |eps - eps_theta(x_t | t, c)|^2 (equation 7), the mean over rows and dimensions.

    targets are normalised latents. t and noise are drawn where not given; `batch_mul` draws that many of them per row,
    which makes more of each pass through the transformer. per_row and start_estimate then have n * batch_mul rows.
    """
    if batch_mul > 1:
        conditions, targets = conditions.repeat(batch_mul, 1), targets.repeat(batch_mul, 1)
    schedule, device = head.schedule, targets.device
    targets = targets.float()
    if t is None:
        t = torch.randint(schedule.num_steps, (len(targets),), generator=generator, device=_source(generator, device))
    if noise is None:
        noise = torch.randn(targets.shape, generator=generator, device=_source(generator, device))
    t, noise = t.to(device), noise.to(device)
    noisy = schedule.add_noise(targets, noise, t)
    estimate = head(noisy, t, conditions).float()
    per_row = (noise - estimate).square().mean(dim=-1)
    return DiffusionLoss(per_row.mean(), per_row, schedule.predict_start(noisy, estimate.detach(), t))


def two_forward_loss(
    model: ARDiffusion,
    text: Float[Tensor, "b e"],
    latents: Float[Tensor, "b l c"],
    loss_mask: Bool[Tensor, "b l"],
    replace_share: float,
    generator: torch.Generator | None = None,
    *,
    lengths: Int[Tensor, " b"] | None = None,
    batch_mul: int = 1,
    estimate: Estimate = "denoise",
    sample_steps: int = 8,
    estimate_limit: float = 5.0,
    opening: int = 0,
    opening_mul: int = 1,
) -> TwoForwardLoss:
    """Give the training loss with Two-Forward (MotionStreamer, section 3.3 and appendix A).

    latents: normalised [history, current, end latent, padding]; loss_mask is True on the current latents and the end
    latent, which alone carry the loss; history only conditions. lengths [B]: latents that are no padding (found from
    loss_mask's last True where not given). The first forward, without gradient, predicts the current latents; each is
    put in place of its ground truth in the input with chance `replace_share`; the second forward carries the gradient,
    always towards the ground truth. With share 0 the first forward is left out. Text is dropped per row with chance
    `config.text_drop`.

    estimate: "denoise" takes the x_0 estimate from a random noise level, as the release does; "sample" draws a real
    sample in `sample_steps` steps, which costs more and is closer to generation. Both are clamped to +-estimate_limit
    deviations, since an estimate from the highest levels multiplies the network's error by up to 1015.

    opening: so many latents from a prompt's first on count `opening_mul` times (not in the paper). Content and style
    are decided there, from the text alone; all later latents can read them off the motion so far.
    """
    if loss_mask.dtype != torch.bool or loss_mask.shape != latents.shape[:2]:
        raise BadInputError(
            f"loss_mask must be boolean {tuple(latents.shape[:2])}, got {loss_mask.dtype} {tuple(loss_mask.shape)}."
        )
    if not bool(loss_mask.any()):
        raise BadInputError("loss_mask is False everywhere: there is nothing to train on.")
    device = latents.device
    if lengths is None:
        places = torch.arange(1, latents.shape[1] + 1, device=device)
        lengths = (places * loss_mask).amax(dim=1)
    dropped = _uniform((len(text),), generator, device) < model.config.text_drop
    text = torch.where(dropped[:, None], model.empty_text.to(text.dtype), text)
    inputs, replaced = latents, torch.zeros((), device=device)
    if replace_share > 0:
        swap = loss_mask & (_uniform(latents.shape[:2], generator, device) < replace_share)
        predicted = _predict(model, text, latents, swap, lengths, generator, estimate, sample_steps)
        inputs = torch.where(swap[..., None], predicted.clamp(-estimate_limit, estimate_limit), latents)
        replaced = swap.sum() / loss_mask.sum()
    conditions = model.conditions(text, _inputs_that_matter(inputs), lengths)[:, : latents.shape[1]]
    rows, targets = conditions[loss_mask], latents[loss_mask]
    if opening_mul > 1:
        first = loss_mask & (loss_mask.cumsum(dim=1) <= opening)
        rows = torch.cat((rows, conditions[first].repeat(opening_mul - 1, 1)))
        targets = torch.cat((targets, latents[first].repeat(opening_mul - 1, 1)))
    loss = diffusion_loss(model.head, rows, targets, generator=generator, batch_mul=batch_mul).loss
    return TwoForwardLoss(loss, replaced)


def _inputs_that_matter(latents: Tensor) -> Tensor:
    """Leave out the last latent: it conditions nothing that carries a loss."""
    return latents[:, :-1]


@torch.no_grad()
def _predict(
    model: ARDiffusion,
    text: Tensor,
    latents: Tensor,
    wanted: Tensor,
    lengths: Tensor,
    generator: torch.Generator | None,
    estimate: Estimate,
    sample_steps: int,
) -> Tensor:
    """Predict the `wanted` latents from the ground truth before them; the others stay as they are."""
    if estimate not in ("denoise", "sample"):
        raise BadInputError(f'estimate must be "denoise" or "sample", got {estimate!r}.')
    if not bool(wanted.any()):
        return latents
    was_training = model.training
    model.eval()
    conditions = model.conditions(text, _inputs_that_matter(latents), lengths)[:, : latents.shape[1]][wanted]
    if estimate == "sample":
        steps = min(sample_steps, model.config.diffusion_steps)
        start = model.head.sample(conditions, generator=generator, steps=steps)
    else:
        start = diffusion_loss(model.head, conditions, latents[wanted], generator=generator).start_estimate
    model.train(was_training)
    return latents.masked_scatter(wanted[..., None], start.to(latents.dtype))


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=_source(generator, device)).to(device)


def _source(generator: torch.Generator | None, device: torch.device) -> torch.device:
    """Where random numbers are drawn: on the generator's device, so that a seed means the same everywhere."""
    return generator.device if generator is not None else device
