"""Whether a body that accelerates has a foot to push with."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inputs import require_fps, require_joints

# (ankle, toe) of each foot in the SMPL-22 skeleton.
SMPL22_FEET = ((7, 10), (8, 11))
# Published figures use steps of 1/30 s and are printed times this.
PUBLISHED_FPS = 30.0
PUBLISHED_SCALE = 10_000.0


def physical_foot_contact(
    joints_m: Float[Tensor, "*b t j 3"], fps: float, feet: tuple[tuple[int, int], ...] = SMPL22_FEET
) -> Float[Tensor, "*b"]:
    """Physical foot contact score of each clip (Tseng et al., EDGE, CVPR 2023, Section 4.2); lower is better.

    10⁴ · mean over t of ã_t · Π over feet of min(step of ankle, step of toe). ã_t is the root's acceleration with
    downward parts set to 0 (gravity needs no foot), as a share of its largest value in the clip; steps are horizontal,
    metres in 1/30 s, so that clips of any rate compare with the paper's table. 0 where the root never accelerates.

    The share of the clip's largest acceleration is easily gamed: one jolt scales all other frames down, and a clip's
    score depends on where it is cut. A frozen or gliding body scores 0. Rolls, hand stands and jumps count as faults.
    Blind to height (feet may hover) and nearly blind to the direction of time.
    """
    least = 1 + max(max(foot) for foot in feet)
    require_joints(joints_m, "physical foot contact", frames=3, joints=least)
    require_fps(fps, "physical foot contact")
    acceleration = joints_m[..., 0, :].diff(n=2, dim=-2)
    upward = acceleration[..., 1].clamp_min(0.0)
    size = torch.stack((acceleration[..., 0], upward, acceleration[..., 2]), dim=-1).norm(dim=-1)
    largest = size.amax(dim=-1, keepdim=True)
    share = torch.where(largest > 0, size / largest.clamp_min(torch.finfo(size.dtype).tiny), torch.zeros_like(size))
    step = joints_m[..., 1:, :, :].diff(dim=-3) * (fps / PUBLISHED_FPS)
    moved = torch.hypot(step[..., 0], step[..., 2])
    for foot in feet:
        share = share * moved[..., list(foot)].amin(dim=-1)
    score: Tensor = share.mean(dim=-1) * PUBLISHED_SCALE
    return score
