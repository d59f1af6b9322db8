"""Training objective of the Foot Restoration Diffusion Model (InfiniteDance, equations 1 to 3 and appendix B.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.features.humanml import positions_from_humanml
from kinestream.features.humanml_legs import (
    ANKLES,
    LEGS,
    TOES,
    leg_columns,
    legs_from_rotations,
    local_positions,
    pelvis_orientation,
    world_steps,
)
from kinestream.features.layout import HUMANML259

FEET = (*ANKLES, *TOES)
"""Both ankles, then both toes."""


@dataclass(frozen=True)
class ContactThresholds:
    """When a foot joint stands (equation 2); the paper's values."""

    step_m: float = 0.001
    """V_th: it moves less than this to the next frame (at 30 frames a second: 3 cm/s), metres."""
    toe_height_m: float = 0.05
    """H_toe: a toe is lower than this above the floor."""
    ankle_height_m: float = 0.08
    """H_ankle: an ankle is lower than this above the floor."""


class FootRestorationLoss(NamedTuple):
    """The terms, each a scalar; `total` is their weighted sum and carries the gradient."""

    total: Tensor
    reconstruction: Tensor
    root: Tensor
    foot: Tensor
    velocity_position: Tensor
    rotation_position: Tensor


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms. The paper names none; these bring the terms, in metres, to the size of the first."""

    root: float = 1.0
    foot: float = 1000.0
    velocity_position: float = 10.0
    rotation_position: float = 1.0


def feet_in_contact(
    feet_m: Float[Tensor, "*b t 4 3"], steps_m: Float[Tensor, "*b t 4 3"], thresholds: ContactThresholds
) -> Bool[Tensor, "*b t 4"]:
    """b of equation 2 for the joints `FEET`: slow to the next frame and low over the floor (y = 0)."""
    heights = (thresholds.ankle_height_m,) * 2 + (thresholds.toe_height_m,) * 2
    slow = steps_m.norm(dim=-1) < thresholds.step_m
    contact: Tensor = slow & (feet_m[..., 1] < feet_m.new_tensor(heights))
    return contact


def foot_restoration_loss(
    estimate: Float[Tensor, "b t 259"],
    clean: Float[Tensor, "b t 259"],
    mean: Float[Tensor, "259"],
    std: Float[Tensor, "259"],
    *,
    weights: LossWeights = LossWeights(),
    thresholds: ContactThresholds = ContactThresholds(),
    epsilon_m2: float = 0.1,
) -> FootRestorationLoss:
    """Give the objective of normalised estimates of x_0.

    reconstruction and root: mean squared errors of the restored columns, and of the root's four, normalised.
    foot: equation 1, the squared step of standing feet in the world; b is the clean motion's. velocity_position: the
    world places of root and legs against their velocities summed from the first frame. rotation_position: equation 3
    on knees, ankles and toes, in square metres beyond `epsilon_m2`. Sums over joints, means over frames and rows.
    """
    estimate, clean = estimate.float(), clean.float()
    error = (estimate - clean).square()
    restored = error[..., leg_columns().to(error.device)].mean()
    root_width = HUMANML259.slices["velocities"].start
    root = error[..., :root_width].mean()
    features, real = (values * std + mean for values in (estimate, clean))
    places = positions_from_humanml(features, HUMANML259)
    real_feet = positions_from_humanml(real, HUMANML259)[..., FEET, :]
    steps = real_feet.diff(dim=-3)
    contact = feet_in_contact(real_feet[..., :-1, :, :], steps, thresholds)
    slid = places[..., FEET, :].diff(dim=-3).square().sum(-1)
    moved = [0, *LEGS]
    summed = world_steps(features)[..., :-1, moved, :].cumsum(dim=-3)
    drift = places[..., 1:, moved, :] - places[..., :1, moved, :] - summed
    turned = legs_from_rotations(features, pelvis_orientation(real))
    apart = (turned - local_positions(features)[..., LEGS, :]).square().sum(-1)
    terms = {
        "root": root,
        "foot": (slid * contact).sum(-1).mean(),
        "velocity_position": drift.square().sum(-1).mean(),
        "rotation_position": (apart - epsilon_m2).clamp_min(0.0).sum(-1).mean(),
    }
    total = restored + sum((getattr(weights, name) * term for name, term in terms.items()), torch.zeros_like(root))
    return FootRestorationLoss(total, restored, **terms)
