"""The networks as the engine uses them: candidates of many streams are sampled, and what is taken is decoded.

On a device a candidate is decoded where it is sampled, before anybody knows whether it is taken: that saves a wait. On
the processor what is not taken is not decoded. The choice is made here, once, when an engine is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.inference import (
    CompiledNetworks,
    DeviceNetworks,
    ModuleNetworks,
    Networks,
    on_host,
    without_compiled_weights,
)
from kinestream.inference.networks import DecoderState, Mode
from kinestream.inference.runtimes import has_kernels
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.nn.streaming import join_rows, take_rows
from kinestream.streaming.text.context import Context

Decoded = tuple[Tensor, DecoderState]
"""The normalised frames `[T, D]` of one latent, and the decoder's state after them."""


class StreamNetworks(Protocol):
    """Samples and decodes for many streams at once."""

    def sample(
        self,
        contexts: Sequence[Context],
        guidance: Float[Tensor, " b"] | None,
        noise: Float[Tensor, "s b c"],
        decoders: Sequence[DecoderState | None],
    ) -> tuple[Float[Tensor, "b c"], list[Decoded | None]]:
        """A normalised latent of each stream, and what is decoded of it already.

        guidance: None where no context has the empty text. noise: what the chain begins with, then that of its steps.
        decoders: states before the latent; None is that before the first.
        """
        ...

    def decode(self, latents: Float[Tensor, "b 1 c"], decoders: Sequence[DecoderState]) -> list[Decoded]:
        """Decode a latent of each stream."""
        ...


class HostStreams:
    """Networks on the processor, or modules wherever they are."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def sample(
        self,
        contexts: Sequence[Context],
        guidance: Float[Tensor, " b"] | None,
        noise: Float[Tensor, "s b c"],
        decoders: Sequence[DecoderState | None],
    ) -> tuple[Float[Tensor, "b c"], list[Decoded | None]]:
        """Sample; nothing is decoded yet."""
        latents = self._networks.sample(
            torch.stack([context.condition[0] for context in contexts]),
            None if guidance is None else torch.stack([context.condition[1] for context in contexts]),
            noise.new_ones(len(contexts)) if guidance is None else guidance,
            SamplingNoise(noise[0], noise[1:]),
            len(noise) - 1,
        )
        return latents, [None] * len(contexts)

    def decode(self, latents: Float[Tensor, "b 1 c"], decoders: Sequence[DecoderState]) -> list[Decoded]:
        """Decode all in one batch."""
        if len(decoders) == 1:
            frames, state = self._networks.decode(latents, decoders[0])
            return [(frames[0], state)]
        frames, state = self._networks.decode(latents, join_rows(decoders))
        return [(frames[row], take_rows(state, [row])) for row in range(len(decoders))]


class DeviceStreams:
    """Networks in a device's slots."""

    def __init__(self, networks: DeviceNetworks) -> None:
        self._networks = networks

    def sample(
        self,
        contexts: Sequence[Context],
        guidance: Float[Tensor, " b"] | None,
        noise: Float[Tensor, "s b c"],
        decoders: Sequence[DecoderState | None],
    ) -> tuple[Float[Tensor, "b c"], list[Decoded | None]]:
        """Sample and decode, with one wait."""
        states = [context.state for context in contexts]
        latents, frames, after = self._networks.sample_frames(states, guidance, noise, decoders)
        return latents, list(zip(frames, after, strict=True))

    def decode(self, latents: Float[Tensor, "b 1 c"], decoders: Sequence[DecoderState]) -> list[Decoded]:
        """Decode each from its slot."""
        return list(zip(*self._networks.decode_each(latents, decoders), strict=True))


def networks_for(model: TextToMotionModel, mode: Mode) -> Networks:
    """The networks that a mode and the model's device ask for."""
    if model.ar.latent_mean.device.type != "cpu":
        return DeviceNetworks(model, mode)
    return ModuleNetworks(model) if mode == "exact" and not has_kernels() else CompiledNetworks(model, mode)


def stream_networks(model: TextToMotionModel, networks: Networks) -> tuple[StreamNetworks, TextToMotionModel]:
    """What runs streams on these networks, and the model without the weights that they have their own of."""
    if isinstance(networks, DeviceNetworks):
        return DeviceStreams(networks), on_host(model)
    kept = model if isinstance(networks, ModuleNetworks) else without_compiled_weights(model, networks.mode)
    return HostStreams(networks), kept
