"""The diffusion head as two programs: all modulations of a latent at once, then one small network a sampling step.

The modulations' weights, three fifths of the head, are read once a latent instead of once a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kinestream.inference.graph import Array, Precision, Runtime, array
from kinestream.models.ar_diffusion.head import DiffusionHead, SamplingNoise
from kinestream.nn.diffusion import SolverStep, run_chain

# Modulations of so many rows and steps are made at once: all of a latent's, for one to a few streams.
_MODULATION_ROWS = 256


class HeadPrograms:
    """Samples latents with a compiled diffusion head."""

    def __init__(self, head: DiffusionHead, runtime: Runtime, precision: Precision) -> None:
        config, head = head.config, head.folded()
        layers = head.modulation_layers()
        width = config.head_width
        graph = runtime.graph(precision)
        times, conditions = graph.input(-1, 1, width), graph.input(-1, config.hidden_dim)
        self._modulate = graph.compile(head.modulations(graph, times, conditions, layers))
        graph = runtime.graph(precision)
        x, modulations = graph.input(-1, config.latent_dim), graph.input(-1, sum(len(part.weight) for part in layers))
        self._denoise = graph.compile(head.denoise(graph, x, modulations))
        # What embeds the steps is small and needed once for each number of steps.
        self._times = {t: array(head.time_embedding(torch.tensor([t]))) for t in head.schedule.timesteps}

    def sample(
        self,
        cond: Array,
        uncond: Array | None,
        guidance_scale: Array,
        noise: SamplingNoise,
        steps: Sequence[SolverStep],
    ) -> Array:
        """One normalised latent a row, [B, C]; guidance_scale [B]."""
        rows = cond if uncond is None else np.concatenate([cond, uncond])

        def modulate(timesteps: Sequence[int]) -> Array:
            return self._modulate(np.stack([self._times[t] for t in timesteps]), rows)[0]

        def denoise(x: Array, modulations: Array) -> Array:
            return self._denoise(x if uncond is None else np.concatenate([x, x]), modulations)[0]

        latents: Array = run_chain(
            steps,
            (noise.initial.float().numpy(), noise.steps.float().numpy()),
            modulate,
            denoise,
            None if uncond is None else guidance_scale[:, None],
            span=max(1, _MODULATION_ROWS // len(rows)),
        )
        return latents
