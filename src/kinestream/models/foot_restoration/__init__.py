"""Foot Restoration Diffusion Model: root, knees and feet of a motion made anew, the rest kept as it is."""

from kinestream.models.foot_restoration.config import FootRestorationConfig
from kinestream.models.foot_restoration.loss import (
    ContactThresholds,
    FootRestorationLoss,
    LossWeights,
    feet_in_contact,
    foot_restoration_loss,
)
from kinestream.models.foot_restoration.model import FootRestoration

__all__ = [
    "ContactThresholds",
    "FootRestoration",
    "FootRestorationConfig",
    "FootRestorationLoss",
    "LossWeights",
    "feet_in_contact",
    "foot_restoration_loss",
]
