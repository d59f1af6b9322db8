"""Holding a pose: latents for a body that comes to rest, made by the causal encoder.

When nothing is left to act and the model has no idle prompt, the body must neither freeze mid-swing nor slide. The
last frames are continued by an ease-out (velocities decay with a time constant of a sixth of a second), and the encoder
turns them into latents like any recorded motion. The decoder goes on without a restart, the model sees an honest
history of standing when the next prompt comes, and after `SETTLE_LATENTS` the latent no longer changes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features import MOTION272, Statistics
from kinestream.models.causal_tae import CausalTAE
from kinestream.streaming.frames import damp_root, standing_still

EASE_FRAMES = 5.0
LOOK_BACK_LATENTS = 16
SETTLE_LATENTS = 24


def root_keep(latents_since: int, frames_per_latent: int) -> Float[Tensor, " t"]:
    """How much of the root's movement is kept in each frame of the hold's latent number `latents_since` (from 0)."""
    frame = torch.arange(frames_per_latent) + 1 + latents_since * frames_per_latent
    return torch.exp(-frame / EASE_FRAMES)


def ease_out(last: Float[Tensor, "272"], frames: int) -> Float[Tensor, "t 272"]:
    """`frames` features that continue the frame `last` and come to rest."""
    velocity = MOTION272.slices["velocities"]
    step = torch.arange(1, frames + 1, dtype=last.dtype, device=last.device)[:, None]
    decay = torch.exp(-step / EASE_FRAMES)
    eased = damp_root(last.expand(frames, -1), decay[:, 0])
    eased[:, velocity] = last[velocity] * decay
    # Positions follow from the decaying velocities; rotations stay, which for such short ways is not seen.
    eased[:, MOTION272.slices["positions"]] = last[MOTION272.slices["positions"]] + eased[:, velocity].cumsum(dim=0)
    return eased


def settling_latents(tae: CausalTAE, statistics: Statistics, recent: Float[Tensor, "t 272"]) -> Float[Tensor, "l c"]:
    """The `SETTLE_LATENTS` latents in which a body comes to rest after the frames `recent`.

    `recent` are the newest features (metres, not normalised), a whole number of latents; none at all means that the
    stream starts with a hold, and the body stands in the mean pose.
    """
    per_latent = tae.config.frames_per_latent
    count = SETTLE_LATENTS * per_latent
    if recent.shape[0] == 0:
        frames = standing_still(statistics.mean.expand(count, -1))
    else:
        frames = torch.cat([recent, ease_out(recent[-1], count)])
    parameter = next(tae.parameters())
    normalised = statistics.normalize(frames).to(parameter)
    return tae.encode(normalised[None]).mean[0, -SETTLE_LATENTS:].float()
