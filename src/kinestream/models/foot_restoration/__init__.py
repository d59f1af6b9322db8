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
from kinestream.models.foot_restoration.sampling import READINGS, Guidance, restore_features

__all__ = [
    "READINGS",
    "ContactThresholds",
    "FootRestoration",
    "FootRestorationConfig",
    "FootRestorationLoss",
    "Guidance",
    "LossWeights",
    "feet_in_contact",
    "foot_restoration_loss",
    "restore_features",
]
