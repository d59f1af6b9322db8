"""Named layouts of feature vectors, their statistics, and the way from and to Motion."""

from kinestream.features.layout import MOTION272, FeatureLayout, layout_by_name
from kinestream.features.motion272 import (
    RootIntegrator,
    RootState,
    motion272_from_motion,
    motion_from_motion272,
    positions_from_motion272,
)
from kinestream.features.statistics import Statistics

__all__ = [
    "MOTION272",
    "FeatureLayout",
    "RootIntegrator",
    "RootState",
    "Statistics",
    "layout_by_name",
    "motion272_from_motion",
    "motion_from_motion272",
    "positions_from_motion272",
]
