"""Named layouts of feature vectors, their statistics, and the way from and to Motion."""

from kinestream.features.humanml import (
    humanml259_from_motion,
    humanml263_from_motion,
    humanml264_from_motion,
    motion_from_humanml259,
    motion_from_humanml263,
    motion_from_humanml264,
)
from kinestream.features.layout import (
    HUMANML259,
    HUMANML263,
    HUMANML264,
    MOTION272,
    FeatureLayout,
    held,
    layout_by_name,
)
from kinestream.features.motion272 import (
    RootIntegrator,
    RootState,
    motion272_from_motion,
    motion_from_motion272,
    positions_from_motion272,
)
from kinestream.features.pulse import PULSE, pulse_from_motion272
from kinestream.features.statistics import Statistics

__all__ = [
    "HUMANML259",
    "HUMANML263",
    "HUMANML264",
    "MOTION272",
    "PULSE",
    "FeatureLayout",
    "RootIntegrator",
    "RootState",
    "Statistics",
    "held",
    "humanml259_from_motion",
    "humanml263_from_motion",
    "humanml264_from_motion",
    "layout_by_name",
    "motion272_from_motion",
    "motion_from_humanml259",
    "motion_from_humanml263",
    "motion_from_humanml264",
    "motion_from_motion272",
    "positions_from_motion272",
    "pulse_from_motion272",
]
