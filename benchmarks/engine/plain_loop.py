"""The baseline: text to motion as the paper describes it, nothing saved, nothing shared. For benchmarks and tests only.

Every latent runs the transformer over the whole context, once with the text and once without; takes all sampling steps
one by one, each with two separate evaluations of the head, modulations included; and decodes all latents so far.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.models.ar_diffusion.head import SamplingNoise


class PlainLoop:
    """One stream of one prompt.

    Args:
        model: float32 networks.
        text: the prompt's embedding [E].
        guidance: scale of classifier-free guidance.
    """

    def __init__(self, model: TextToMotionModel, text: Float[Tensor, " e"], guidance: float) -> None:
        self.model = model
        self.text = text[None]
        self.guidance = guidance
        self.latents = torch.zeros(1, 0, model.ar.config.latent_dim)

    @torch.inference_mode()
    def step(self, noise: SamplingNoise) -> tuple[Float[Tensor, " c"], Float[Tensor, "t d"]]:
        """The next latent, in the autoencoder's units, and its frames' features; noise of one row and all steps."""
        model = self.model
        latent = self._sample(self._condition(self.text), self._condition(model.ar.empty_text[None]), noise)
        self.latents = torch.cat([self.latents, latent[None]], dim=1)
        whole = model.tae.decode(model.ar.denormalize_latents(self.latents))[0]
        frames = model.statistics.denormalize(whole[-model.tae.config.frames_per_latent :])
        return model.ar.denormalize_latents(latent)[0], frames

    def _condition(self, text: Tensor) -> Tensor:
        context = self.latents[:, -self.model.ar.config.context_latents :]
        return self.model.ar.conditions(text, context)[:, -1]

    def _sample(self, cond: Tensor, uncond: Tensor, noise: SamplingNoise) -> Tensor:
        head = self.model.ar.head
        schedule = head.schedule
        of_start, of_noisy = schedule.posterior_mean_coefficients
        x = noise.initial
        for number, level in enumerate(reversed(range(schedule.num_steps))):
            t = torch.tensor([level])
            conditioned = head(x, t, cond)
            unconditioned = head(x, t, uncond)
            estimate = unconditioned + self.guidance * (conditioned - unconditioned)
            start = schedule.predict_start(x, estimate, t)
            x = float(of_start[level]) * start + float(of_noisy[level]) * x
            if level:
                x = x + float(schedule.posterior_std[level]) * noise.steps[number]
        return x
