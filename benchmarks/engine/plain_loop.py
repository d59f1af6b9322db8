"""The baseline: text to motion as the authors' released code runs it. For benchmarks and tests only.

Every latent runs the transformer over the whole context; takes all sampling steps one by one, each an evaluation of the
whole head, modulations included; rows with the text and without share a batch in both. Latents are decoded together
when all are there, as the released demo does.
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
    def step(self, noise: SamplingNoise) -> Float[Tensor, " c"]:
        """The next latent, in the autoencoder's units; noise of one row and all steps."""
        ar = self.model.ar
        context = self.latents[:, -ar.config.context_latents :]
        texts = torch.cat([self.text, ar.empty_text[None]])
        conditions = ar.conditions(texts, context.expand(2, -1, -1))[:, -1]
        latent = self._sample(conditions, noise)
        self.latents = torch.cat([self.latents, latent[None]], dim=1)
        return ar.denormalize_latents(latent)[0]

    @torch.inference_mode()
    def decode(self) -> Float[Tensor, "t d"]:
        """The frames' features of all latents so far."""
        model = self.model
        return model.statistics.denormalize(model.tae.decode(model.ar.denormalize_latents(self.latents))[0])

    def _sample(self, conditions: Tensor, noise: SamplingNoise) -> Tensor:
        head = self.model.ar.head
        schedule = head.schedule
        of_start, of_noisy = schedule.posterior_mean_coefficients
        x = noise.initial
        for number, level in enumerate(reversed(range(schedule.num_steps))):
            t = torch.tensor([level])
            conditioned, unconditioned = head(x.expand(2, -1), t.expand(2), conditions)[:, None]
            estimate = unconditioned + self.guidance * (conditioned - unconditioned)
            start = schedule.predict_start(x, estimate, t)
            x = float(of_start[level]) * start + float(of_noisy[level]) * x
            if level:
                x = x + float(schedule.posterior_std[level]) * noise.steps[number]
        return x
