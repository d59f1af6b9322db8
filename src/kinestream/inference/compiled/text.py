"""Text to motion on compiled networks: as they were trained, or with int8 weights and a short sampling chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.inference.compiled.decoder import DecoderProgram
from kinestream.inference.compiled.head import HeadPrograms
from kinestream.inference.compiled.transformer import Contexts, TransformerProgram
from kinestream.inference.graph import Precision, Runtime, array
from kinestream.inference.networks import Mode
from kinestream.inference.runtimes import load_runtime
from kinestream.inference.twins import hollow, paged
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.nn.diffusion import SolverStep, ancestral_steps, fast_sampling
from kinestream.nn.motion_convs import ConvStates

# On the knee of quality over speed; see docs/performance.md.
FAST_STEPS = 8


class CompiledNetworks:
    """The networks of a model, compiled. They hold their own copy of the weights; the model's can be released.

    Args:
        model: weights are read, nothing is changed.
        mode: "exact" keeps float32 weights and the whole chain: the networks' own values to rounding. "fast" rounds
            weights to int8 and takes few steps.
        runtime: what compiles; None takes the fastest for this processor.

    Raises:
        MissingExtraError: no runtime is given, and this processor's is not installed.
    """

    def __init__(self, model: TextToMotionModel, mode: Mode = "fast", runtime: Runtime | None = None) -> None:
        runtime = load_runtime() if runtime is None else runtime
        precision: Precision = "int8" if mode == "fast" else "float32"
        self.mode = mode
        self.notes = runtime.notes
        self._schedule = model.ar.head.schedule
        self._plans: dict[int, tuple[SolverStep, ...]] = {}
        self.sampling_steps = min(FAST_STEPS, self._schedule.num_steps) if mode == "fast" else self._schedule.num_steps
        with torch.inference_mode():
            self._transformer = TransformerProgram(model.ar, runtime, precision)
            self._head = HeadPrograms(model.ar.head, runtime, precision)
            self._decoder = DecoderProgram(model.tae.decoder, runtime, precision)

    def prefill(self, text: Tensor, history: Tensor | None) -> tuple[Tensor, Contexts]:
        """Start contexts."""
        condition, state = self._transformer.prefill(array(text), None if history is None else array(history))
        return torch.from_numpy(condition), state

    def prefill_each(
        self, texts: Sequence[Tensor], histories: Sequence[Tensor | None]
    ) -> list[tuple[Tensor, Contexts]]:
        """Start each alone, so that it is the same bits in any company."""
        return [self.prefill(text, history) for text, history in zip(texts, histories, strict=True)]

    def step(self, latents: Tensor, state: Contexts) -> tuple[Tensor, Contexts]:
        """Go on by one latent."""
        condition, state = self._transformer.step(array(latents), state)
        return torch.from_numpy(condition), state

    def join(self, states: Sequence[Contexts]) -> Contexts:
        """Put contexts together."""
        return self._transformer.join(states)

    def take(self, state: Contexts, rows: Sequence[int]) -> Contexts:
        """Take rows out."""
        return self._transformer.take(state, rows)

    def sample(
        self, cond: Tensor, uncond: Tensor | None, guidance_scale: Tensor, noise: SamplingNoise, steps: int
    ) -> Tensor:
        """The chain, or the short one."""
        plan = self._plans.get(steps)
        if plan is None:
            fast = self.mode == "fast"
            plan = fast_sampling(self._schedule, steps) if fast else ancestral_steps(self._schedule.respaced(steps))
            self._plans[steps] = plan
        unconditioned = None if uncond is None else array(uncond)
        latents = self._head.sample(array(cond), unconditioned, array(guidance_scale), noise, plan)
        return torch.from_numpy(latents)

    def decode(self, latents: Tensor, state: ConvStates) -> tuple[Tensor, ConvStates]:
        """The new frames only."""
        return self._decoder.step(array(latents[:, 0]), state)


def without_compiled_weights(model: TextToMotionModel, mode: Mode) -> TextToMotionModel:
    """The model without the weights that `CompiledNetworks` has its own of; settings, buffers and encoder stay.

    In fast mode the encoder's are read from a file when a body comes to rest, which is all that needs them, and the
    decoder's are gone, too. The model itself keeps everything: memory is free when nobody holds it any more.
    """
    tae = model.tae
    if mode == "fast":
        tae = hollow(model.tae)
        tae.encoder = paged(model.tae.encoder)
    return replace(model, tae=tae, ar=hollow(model.ar))
