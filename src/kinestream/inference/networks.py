"""The text-to-motion networks as the engine uses them: condition, sample, decode; exact as they are, or compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.nn.motion_convs import ConvStates
from kinestream.nn.streaming import join_rows, take_rows

Mode = Literal["exact", "fast"]
ContextState = Any
# What `sample` needs to know of contexts: a tensor [r, h], or what stands for one; rows can be taken from it.
Condition = Any
# The decoder's state: `ConvStates`, with which any networks go on, or what stands for them.
DecoderState = Any


class Networks(Protocol):
    """What one latent takes. States are values: a call gives a new one and leaves the old one as it was.

    mode: "exact" gives the values of the trained networks to rounding, "fast" nearly those.
    sampling_steps: denoising steps of a latent unless others are asked for.
    notes: what the machine lacks and what is done instead.
    """

    mode: Mode
    sampling_steps: int
    notes: tuple[str, ...]

    def prefill(
        self, text: Float[Tensor, "r e"], history: Float[Tensor, "r k c"] | None
    ) -> tuple[Condition, ContextState]:
        """Start contexts with a text and past (normalised) latents; gives the conditions of the next latents."""
        ...

    def prefill_each(
        self, texts: Sequence[Float[Tensor, "r e"]], histories: Sequence[Float[Tensor, "r k c"] | None]
    ) -> list[tuple[Condition, ContextState]]:
        """As `prefill` for many streams, each with its own number of rows and latents."""
        ...

    def step(self, latents: Float[Tensor, "r 1 c"], state: ContextState) -> tuple[Condition, ContextState]:
        """Append one normalised latent to each context; gives the conditions of the next ones."""
        ...

    def join(self, states: Sequence[ContextState]) -> ContextState:
        """Put contexts together, one row after the other."""
        ...

    def take(self, state: ContextState, rows: Sequence[int]) -> ContextState:
        """The contexts of these rows."""
        ...

    def sample(
        self,
        cond: Condition,
        uncond: Condition | None,
        guidance_scale: Float[Tensor, " b"],
        noise: SamplingNoise,
        steps: int,
    ) -> Float[Tensor, "b c"]:
        """One normalised latent a row."""
        ...

    def decode(
        self, latents: Float[Tensor, "b 1 c"], state: DecoderState
    ) -> tuple[Float[Tensor, "b t d"], DecoderState]:
        """The normalised frames of one latent a row."""
        ...


class ModuleNetworks:
    """The trained networks as they are, on their own device and in their own precision."""

    mode: Mode = "exact"
    notes: tuple[str, ...] = ()

    def __init__(self, model: TextToMotionModel) -> None:
        self._model = model
        self.sampling_steps = model.ar.config.diffusion_steps

    def prefill(self, text: Tensor, history: Tensor | None) -> tuple[Tensor, ContextState]:
        """Start contexts."""
        ar = self._model.ar
        return ar.prefill(text, history, ar.init_state(len(text)))

    def prefill_each(
        self, texts: Sequence[Tensor], histories: Sequence[Tensor | None]
    ) -> list[tuple[Tensor, ContextState]]:
        """Start each alone, so that it is the same bits in any company."""
        return [self.prefill(text, history) for text, history in zip(texts, histories, strict=True)]

    def step(self, latents: Tensor, state: ContextState) -> tuple[Tensor, ContextState]:
        """Go on by one latent."""
        return self._model.ar.step(latents, state)

    def join(self, states: Sequence[ContextState]) -> ContextState:
        """Put contexts together."""
        return states[0] if len(states) == 1 else join_rows(states)

    def take(self, state: ContextState, rows: Sequence[int]) -> ContextState:
        """Take rows out."""
        return take_rows(state, rows)

    def sample(
        self, cond: Tensor, uncond: Tensor | None, guidance_scale: Tensor, noise: SamplingNoise, steps: int
    ) -> Tensor:
        """The ancestral chain."""
        return self._model.ar.head.sample(cond, uncond, guidance_scale, noise=noise, steps=steps)

    def decode(self, latents: Tensor, state: ConvStates) -> tuple[Tensor, ConvStates]:
        """The new frames only."""
        return self._model.tae.decoder.step(latents.to(state.convs[0]), state)
