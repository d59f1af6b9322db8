"""Physics of one clip: feet, jitter, floor and length, by the same functions for recordings and generated clips."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinestream.features import MOTION272, motion_from_motion272
from kinestream.metrics import floating_share, floor_penetration_m, foot_skating_ratio, jitter_mps3, penetration_share
from kinestream.skeleton import smpl22

TOES = tuple(smpl22().index(name) for name in ("left_foot", "right_foot"))


PHYSICS = ("foot_skating_ratio", "jitter_mps3", "share_below_floor_2cm", "worst_depth_m", "share_floating_5cm")


def shown_joints(features: Float[Tensor, "t 272"]) -> Float[Tensor, "t 22 3"]:
    """World positions of the body that a user sees: the rotations on the SMPL-22 skeleton."""
    return motion_from_motion272(features).joint_positions_m()


def clip_physics(joints_m: Float[Tensor, "t 22 3"]) -> dict[str, float]:
    """Figures of one clip at 30 fps on the SMPL-22 skeleton, floor at y = 0; shares are of its frames."""
    fps = MOTION272.fps
    return {
        "foot_skating_ratio": float(foot_skating_ratio(joints_m[:, list(TOES)], fps)),
        "jitter_mps3": float(jitter_mps3(joints_m, fps)),
        "share_below_floor_2cm": float(penetration_share(joints_m)),
        "worst_depth_m": float(floor_penetration_m(joints_m).max()),
        "share_floating_5cm": float(floating_share(joints_m)),
        "length_s": len(joints_m) / fps,
    }
