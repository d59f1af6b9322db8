"""Values over time, smoothed or faded in and out: what the stages share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.motion import Motion

# A Gaussian reaches this many of its deviations to each side.
CUTOFF = 3.0
# A stage's changes come and go in this time within its spans.
FADE_S = 0.2


def gaussian(values: Float[Tensor, "t *k"], deviation: float) -> Float[Tensor, "t *k"]:
    """Values over time smoothed by a Gaussian of so many frames; the ends are held."""
    reach = max(1, round(CUTOFF * deviation))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    flat = values.reshape(len(values), -1).T[:, None]
    padded = functional.pad(flat, (reach, reach), mode="replicate")
    return functional.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0].T.reshape(values.shape)


def faded(motion: Motion, start: int, stop: int) -> Float[Tensor, " n"]:
    """1 within a span, to 0 at those of its ends that the motion goes on beyond."""
    reach = FADE_S * motion.fps
    frames = torch.arange(stop - start, dtype=torch.float32) + 1.0
    share = torch.ones(stop - start)
    if start > 0:
        share = torch.minimum(share, (frames / reach).clamp(max=1.0))
    if stop < motion.num_frames:
        share = torch.minimum(share, (frames.flip(0) / reach).clamp(max=1.0))
    return share * share * (3.0 - 2.0 * share)
