"""Folders of foot restoration models."""

from __future__ import annotations

from pathlib import Path

from kinestream.checkpoints.folder import FOOT_RESTORATION, load_model
from kinestream.features import Statistics
from kinestream.models.foot_restoration import FootRestoration

DEFAULT_RESTORATION_DIR = Path(__file__).resolve().parent.parent / "assets" / "default_restoration"


def load_foot_restoration(folder: str | Path = DEFAULT_RESTORATION_DIR) -> tuple[FootRestoration, Statistics]:
    """The denoiser of a model folder of kind "foot-restoration" in float32, and its statistics.

    Raises BadInputError where the folder is missing, damaged or of another kind.
    """
    model, statistics, _ = load_model(folder, FOOT_RESTORATION)
    assert isinstance(model, FootRestoration)
    return model, statistics
