"""Reconstruction error, foot skating and smoothness of joint positions.

All take [..., T, J, 3] in metres, Y up, and give one figure a clip ([...]; a scalar for one clip).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.metrics.inputs import require_fps, require_joints, require_pair

SKATE_HEIGHT_M = 0.05
SKATE_SPEED_MPS = 0.5


def mpjpe_mm(predicted_m: Float[Tensor, "*b t j 3"], target_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b"]:
    """Mean per-joint position error in millimetres with joint 0 of every frame aligned (MotionStreamer, Table 3).

    mean over t, j of |(p_tj - p_t0) - (q_tj - q_t0)|. Lower is better.
    Blind to where the body is in the world, to the root's drift and to smoothness: noise of a few millimetres costs as
    little as a steady offset. Penalises every other plausible answer, so it measures reconstruction, not generation.
    """
    require_joints(predicted_m, "mpjpe")
    require_joints(target_m, "mpjpe")
    require_pair(predicted_m, target_m, "mpjpe", "frames and joints of both motions, at one rate,")
    difference = (predicted_m - predicted_m[..., :1, :]) - (target_m - target_m[..., :1, :])
    error: Tensor = difference.norm(dim=-1).mean(dim=(-2, -1))
    return error * 1000.0


def world_mpjpe_mm(predicted_m: Float[Tensor, "*b t j 3"], target_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b"]:
    """Mean per-joint position error in millimetres as the bodies stand in the world, nothing aligned. Lower is better.

    mean over t, j of |p_tj - q_tj|. Sees a body that slides, floats or sinks, which `mpjpe_mm` takes out.
    """
    require_joints(predicted_m, "world mpjpe")
    require_joints(target_m, "world mpjpe")
    require_pair(predicted_m, target_m, "world mpjpe", "frames and joints of both motions, at one rate,")
    error: Tensor = (predicted_m - target_m).norm(dim=-1).mean(dim=(-2, -1))
    return error * 1000.0


def pa_mpjpe_mm(predicted_m: Float[Tensor, "*b t j 3"], target_m: Float[Tensor, "*b t j 3"]) -> Float[Tensor, "*b"]:
    """Mean per-joint position error in millimetres after the best turn, size and shift of each frame (Procrustes).

    Kanazawa et al., HMR (CVPR 2018), "reconstruction error". Lower is better. Blind to where the body is, faces and how
    large it is, so to all that goes wrong between a body and its floor.
    """
    require_joints(predicted_m, "pa-mpjpe", joints=3)
    require_joints(target_m, "pa-mpjpe", joints=3)
    require_pair(predicted_m, target_m, "pa-mpjpe", "frames and joints of both motions, at one rate,")
    ours, theirs = (joints - joints.mean(dim=-2, keepdim=True) for joints in (predicted_m.double(), target_m.double()))
    left, sizes, right = torch.linalg.svd(theirs.transpose(-1, -2) @ ours)
    sign = torch.ones_like(sizes)
    sign[..., -1] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    turn = (left * sign[..., None, :]) @ right
    spread = ours.square().sum(dim=(-2, -1)).clamp_min(1e-12)
    scale = (sizes * sign).sum(dim=-1) / spread
    aligned = scale[..., None, None] * (ours @ turn.transpose(-1, -2))
    error: Tensor = (aligned - theirs).norm(dim=-1).mean(dim=(-2, -1))
    return (error * 1000.0).to(predicted_m.dtype)


def foot_skating_ratio(toes_m: Float[Tensor, "*b t f 3"], fps: float) -> Float[Tensor, "*b"]:
    """Share of frame pairs in which a toe stays lower than 5 cm and yet moves over the ground faster than 0.5 m/s.

    The measure of Karunratanakul et al. (GMD, ICCV 2023): 2.5 cm a frame at 20 fps. 0 for fewer than two frames. Lower
    is better, down to what real recordings have (a dancer's slides count).
    Blind to feet that slide above 5 cm (a body lifted off the floor scores 0: look at floating beside it), to slides
    slower than 0.5 m/s, and to bodies that stand still.
    """
    require_joints(toes_m, "foot skating ratio")
    require_fps(fps, "foot skating ratio")
    if toes_m.shape[-3] < 2:
        return toes_m.new_zeros(toes_m.shape[:-3])
    low = toes_m[..., 1] < SKATE_HEIGHT_M
    step = toes_m.diff(dim=-3)
    speed = torch.hypot(step[..., 0], step[..., 2]) * fps
    skates = low[..., 1:, :] & low[..., :-1, :] & (speed > SKATE_SPEED_MPS)
    share: Tensor = skates.any(dim=-1).float().mean(dim=-1)
    return share


def jerk_mps3(joints_m: Float[Tensor, "*b t j 3"], fps: float, *, compat: bool = False) -> Float[Tensor, "*b t3 j"]:
    """Magnitude of the third difference quotient of positions, metres per second cubed; T - 3 rows.

    `compat` takes |x| + |y| + |z| for the magnitude, as FlowMDM's code does: 1 to 1.73 times the Euclidean one, and
    another for a body that is turned.
    """
    require_joints(joints_m, "jerk", frames=4)
    require_fps(fps, "jerk")
    jerk: Tensor = joints_m.diff(n=3, dim=-3).norm(p=1 if compat else 2, dim=-1) * fps**3
    return jerk


def jitter_mps3(joints_m: Float[Tensor, "*b t j 3"], fps: float) -> Float[Tensor, "*b"]:
    """Mean jerk over frames and joints in m/s³ (Yi et al., TransPose, SIGGRAPH 2021); 0 for fewer than four frames.

    mean over t, j of |Δ³ p_tj| · fps³. Compare with real motion of the same contents: closer is better, and below it is
    as wrong as above. Tables of GVHMR and InfiniteDance print tens of m/s³.
    Smoothing and freezing win it; it grows with how lively the contents are, and with the cube of the frame rate of
    the noise, so figures at different rates are not comparable. Blind to the direction of time.
    """
    require_joints(joints_m, "jitter")
    require_fps(fps, "jitter")
    if joints_m.shape[-3] < 4:
        return joints_m.new_zeros(joints_m.shape[:-3])
    return jerk_mps3(joints_m, fps).mean(dim=(-2, -1))


def peak_jerk_mps3(joints_m: Float[Tensor, "*b t j 3"], fps: float, *, compat: bool = False) -> Float[Tensor, "*b"]:
    """Largest jerk over frames and joints in m/s³ (Barquero et al., FlowMDM, CVPR 2024); 0 for fewer than four frames.

    `compat`: see `jerk_mps3`. For transitions see `transition_jerk`. One bad frame of one joint decides it; a body that
    never moves wins it.
    """
    require_joints(joints_m, "peak jerk")
    require_fps(fps, "peak jerk")
    if joints_m.shape[-3] < 4:
        return joints_m.new_zeros(joints_m.shape[:-3])
    return jerk_mps3(joints_m, fps, compat=compat).amax(dim=(-2, -1))
