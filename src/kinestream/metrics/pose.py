"""Reconstruction error and physical plausibility of joint positions."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError

SKATE_HEIGHT_M = 0.05
SKATE_SPEED_MPS = 0.5


def mpjpe_mm(predicted_m: Float[Tensor, "t j 3"], target_m: Float[Tensor, "t j 3"]) -> Tensor:
    """Mean per-joint position error in millimetres with joint 0 of every frame aligned (MotionStreamer, Table 3)."""
    if predicted_m.shape != target_m.shape:
        raise BadInputError(f"mpjpe: expected equal shapes, got {tuple(predicted_m.shape)} and {tuple(target_m.shape)}")
    difference = (predicted_m - predicted_m[..., :1, :]) - (target_m - target_m[..., :1, :])
    error: Tensor = difference.norm(dim=-1).mean()
    return error * 1000.0


def foot_skating_ratio(toes_m: Float[Tensor, "t f 3"], fps: float) -> Tensor:
    """Share of frame pairs in which a toe stays lower than 5 cm and yet moves over the ground faster than 0.5 m/s.

    The measure of Karunratanakul et al. (GMD, ICCV 2023): 2.5 cm a frame at 20 fps. 0 for fewer than two frames.
    """
    if toes_m.shape[0] < 2:
        return toes_m.new_zeros(())
    low = toes_m[..., 1] < SKATE_HEIGHT_M
    speed = (toes_m[1:, :, [0, 2]] - toes_m[:-1, :, [0, 2]]).norm(dim=-1) * fps
    skates = low[1:] & low[:-1] & (speed > SKATE_SPEED_MPS)
    share: Tensor = skates.any(dim=-1).float().mean()
    return share


def jerk_mps3(joints_m: Float[Tensor, "t j 3"], fps: float) -> Float[Tensor, "t2 j"]:
    """Magnitude of the third difference quotient of positions, metres per second cubed; T - 3 rows."""
    jerk: Tensor = joints_m.diff(n=3, dim=0).norm(dim=-1) * fps**3
    return jerk


def jitter_mps3(joints_m: Float[Tensor, "t j 3"], fps: float) -> Tensor:
    """Mean jerk over frames and joints (Yi et al., TransPose, 2021); 0 for fewer than four frames."""
    return jerk_mps3(joints_m, fps).mean() if joints_m.shape[0] > 3 else joints_m.new_zeros(())


def peak_jerk_mps3(joints_m: Float[Tensor, "t j 3"], fps: float) -> Tensor:
    """Largest jerk over frames and joints (Barquero et al., FlowMDM, CVPR 2024); 0 for fewer than four frames."""
    return jerk_mps3(joints_m, fps).max() if joints_m.shape[0] > 3 else joints_m.new_zeros(())


def floor_penetration_m(joints_m: Float[Tensor, "t j 3"]) -> Float[Tensor, "t"]:
    """How far the lowest joint of each frame is below the floor y = 0 (0 where it is above)."""
    return (-joints_m[..., 1].min(dim=-1).values).clamp_min(0.0)
