"""Pure measurements on joint positions [.., T, J, 3] in metres, Y up, floor at 0; every figure carries its unit."""

from kinestream.metrics.pose import (
    floor_penetration_m,
    foot_skating_ratio,
    jerk_mps3,
    jitter_mps3,
    mpjpe_mm,
    peak_jerk_mps3,
)

__all__ = [
    "floor_penetration_m",
    "foot_skating_ratio",
    "jerk_mps3",
    "jitter_mps3",
    "mpjpe_mm",
    "peak_jerk_mps3",
]
