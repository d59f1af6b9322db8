"""Pictures that a run leaves behind, so that somebody looks at the motion and not only at the loss."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kinestream.features import Statistics, motion_from_motion272
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.causal_tae.model import CausalTAE


def write_strips(path: Path, clips: list[Tensor]) -> None:
    """A strip of poses for each clip of motion272 features [T, 272], one file per clip (path-0.png, path-1.png ...)."""
    from kinestream.io.video import write_strip  # compiles a renderer: only when a picture is wanted

    path.parent.mkdir(parents=True, exist_ok=True)
    for index, clip in enumerate(clips):
        write_strip(motion_from_motion272(clip), path.with_name(f"{path.stem}-{index}{path.suffix}"))


@torch.no_grad()
def sample_clips(
    model: ARDiffusion,
    tae: CausalTAE,
    statistics: Statistics,
    texts: Tensor,
    end_latent: Tensor,
    *,
    seed: int,
    guidance_scale: float = 4.0,
    stop_threshold: float | None = None,
) -> tuple[list[Tensor], list[int]]:
    """A clip of motion272 features for each text embedding [N, E], and their lengths in frames.

    All clips run to the full context; one ends where its latent comes nearer to the end latent than `stop_threshold`
    (half the end latent's distance from the mean latent where not given).
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(texts)
    both = torch.cat([texts, model.empty_text.expand(count, -1)])
    condition, state = model.prefill(both, None, model.init_state(2 * count))
    latents = []
    for _ in range(model.config.context_latents):
        latent = model.head.sample(condition[:count], condition[count:], guidance_scale, generator=generator)
        latents.append(model.denormalize_latents(latent))
        if len(latents) < model.config.context_latents:
            condition, state = model.step(latent.repeat(2, 1)[:, None], state)
    sequence = torch.stack(latents, dim=1)
    near = (sequence - end_latent.to(sequence)).norm(dim=-1)
    threshold = stop_threshold if stop_threshold is not None else 0.5 * float((end_latent - model.latent_mean).norm())
    clips, lengths = [], []
    for row in range(count):
        ended = (near[row, 1:] < threshold).nonzero()
        length = int(ended[0]) + 1 if len(ended) else sequence.shape[1]
        frames = statistics.denormalize(tae.decode(sequence[row : row + 1, :length])[0].float().cpu())
        clips.append(frames)
        lengths.append(len(frames))
    return clips, lengths
