"""Bodies that hang above the floor or stand in it, carried to where their flesh touches it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.metrics.inspection import Body
from kinestream.motion import Motion
from kinestream.restoration.over_time import gaussian

# The height of a body is that of its lowest flesh in this share of the frames around, or lower; around is so long, to
# each side: longer than a jump, so that those around it tell where the floor is.
LOW_SHARE = 0.25
REACH_S = 0.6
# Flesh is known to about this: smaller heights are left.
UNSURE_M = 0.01
_SMOOTHING_S = 0.15


def floor_offset_m(motion: Motion) -> Float[Tensor, " t"]:
    """How far each frame of an SMPL-22 motion is to be carried up (or down, negative) to stand on y = 0, metres.

    Slow in time: a height is one of the frames around, so jumps and steps keep theirs.
    """
    lowest = Body.of(motion).heights_m().amin(dim=1)
    reach = max(1, round(REACH_S * motion.fps))
    padded = torch.cat((lowest[:1].expand(reach), lowest, lowest[-1:].expand(reach)))
    around = padded.unfold(0, 2 * reach + 1, 1)
    height = around.kthvalue(1 + int(LOW_SHARE * (around.shape[1] - 1)), dim=1).values
    sure = functional.softshrink(height, UNSURE_M)
    return -gaussian(sure, _SMOOTHING_S * motion.fps)
