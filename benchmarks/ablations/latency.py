"""Time to the first frame when a decoder can begin at once, and when it has to wait for the last latent."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from benchmarks.ablations.store import Measured
from kinestream.checkpoints import TextToMotionModel

LENGTHS = (40, 80, 160, 240, 300)
REPEATS = 2


@torch.inference_mode()
def first_frame(model: TextToMotionModel, lengths: Sequence[int], repeats: int) -> Measured:
    """Processor seconds to the first frame with a causal decoder, and with one that needs all latents, by length.

    Both wait for the transformer and the diffusion head (guided) of what they need; the second then decodes the whole
    sequence in one go. Weights play no part in time, so the causal decoder's serve for both.
    """
    found: dict[str, list[float]] = {}
    _run(model, 2)  # the first pass makes tables
    for _ in range(repeats):
        for length in lengths:
            for name, latents in (("causal", 1), ("whole", length // 4)):
                begun = time.process_time()
                _run(model, latents)
                found.setdefault(f"{name} {length}", []).append(time.process_time() - begun)
    return Measured(sets=found)


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
