"""Time to the first frame when a decoder can begin at once, and when it has to wait for the last latent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.ablations.store import Measured
from kinestream.checkpoints import TextToMotionModel

LENGTHS = (40, 80, 120, 160, 200, 240, 300)
REPEATS = 3


@torch.inference_mode()
def first_frame(model: TextToMotionModel, lengths: Sequence[int], repeats: int) -> tuple[Measured, Measured]:
    """Processor seconds to the first frame with a causal decoder, and with one that needs all latents, by length.

    Both wait for the transformer and the diffusion head (guided) of what they need; the second then decodes the whole
    sequence in one go. Weights play no part in time, so the causal decoder's serve for both.
    """
    causal: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    _run(model, 2)  # the first pass makes tables
    for _ in range(repeats):
        for length in lengths:
            causal.setdefault(str(length), []).append(_seconds(lambda: _run(model, 1)))
            whole.setdefault(str(length), []).append(_seconds(lambda length=length: _run(model, length // 4)))  # type: ignore[misc]
    return Measured(sets=causal), Measured(sets=whole)


def _run(model: TextToMotionModel, latents: int) -> None:
    """Make `latents` latents of one motion, then decode them."""
    ar, generator = model.ar, torch.Generator().manual_seed(0)
    text = torch.cat([ar.empty_text[None] + 0.05, ar.empty_text[None]])
    condition, state = ar.prefill(text, None, ar.init_state(2))
    made = []
    for number in range(latents):
        latent = ar.head.sample(condition[:1], condition[1:], model.guidance, generator=generator)
        made.append(ar.denormalize_latents(latent))
        if number + 1 < latents:
            condition, state = ar.step(latent.repeat(2, 1)[:, None], state)
    sequence = torch.stack(made, dim=1)
    if latents == 1:
        model.tae.decoder.step(sequence, model.tae.decoder.init_state(1))
    else:
        model.tae.decode(sequence)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
