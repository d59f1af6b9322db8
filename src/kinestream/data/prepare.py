"""From a recording on any skeleton to motion272 features: retarget, 30 fps, floor, heading, checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import MOTION272, motion272_from_motion
from kinestream.motion import FOOT_JOINTS, Motion, face_forward, ground, resample
from kinestream.skeleton import smpl22
from kinestream.skeleton.retarget import retarget

MIN_FRAMES = 16
MAX_FRAMES = 60 * 60 * 30
MAX_JOINT_SPEED_MPS = 25.0
# Deeper than this below the standing feet, a recording is lifted frame by frame instead of as a whole.
SINK_TOLERANCE_M = 0.015
_LIFT_WINDOW = 15


def smpl22_motion(motion: Motion, bone_map: Mapping[str, str] | None = None) -> Motion:
    """The recording on SMPL-22 at 30 fps, standing on y = 0, starting at the origin and facing +Z.

    BadInputError for what training cannot use: too short or too long, joints that jump.
    """
    if motion.duration_s * MOTION272.fps > MAX_FRAMES:
        raise BadInputError(f"the recording lasts {motion.duration_s:.0f} s, more than an hour")
    if motion.skeleton.joint_names != smpl22().joint_names:
        motion, _ = retarget(motion, smpl22(), source_map=bone_map)
    motion = face_forward(on_floor(resample(motion, MOTION272.fps)))
    if motion.num_frames < MIN_FRAMES:
        raise BadInputError(f"too short: {motion.num_frames} frames at 30 fps, at least {MIN_FRAMES} are needed")
    speed = float((motion.joint_positions_m().diff(dim=0).norm(dim=-1) * motion.fps).max())
    if speed > MAX_JOINT_SPEED_MPS:
        raise BadInputError(f"a joint jumps: {speed:.0f} m/s, more than {MAX_JOINT_SPEED_MPS:.0f} m/s")
    return motion


def checked_features(motion: Motion) -> Float[Tensor, "t 272"]:
    """motion272 features, all finite; BadInputError otherwise."""
    features = motion272_from_motion(motion).float()
    if not bool(torch.isfinite(features).all()):
        raise BadInputError("the features have values that are not finite")
    return features


def on_floor(motion: Motion) -> Motion:
    """Stands the motion on y = 0.

    Usually as MotionStreamer does, by the lowest joint of the whole recording. Where hands, knees or a back sink deeper
    than the feet stand (another body's proportions), that would make the feet float: then the height that the lower
    foot usually has is the floor, and only the frames that sink are lifted, smoothly.
    """
    heights = motion.joint_positions_m()[..., 1]
    lowest = heights.amin(dim=1)
    feet = [motion.skeleton.index(name) for name in FOOT_JOINTS]
    standing = float(heights[:, feet].amin(dim=1).quantile(0.1))
    if standing - float(lowest.min()) <= SINK_TOLERANCE_M:
        return ground(motion)
    sink = (standing - lowest).clamp_min(0.0)
    lift = _smooth_cover(sink)
    root = motion.root_position_m.clone()
    root[:, 1] += lift - standing
    return replace(motion, root_position_m=root)


def _smooth_cover(values: Float[Tensor, "t"]) -> Float[Tensor, "t"]:
    """A smooth curve that is nowhere below `values`: running maximum, then a Hann mean over the same window."""
    pad = _LIFT_WINDOW // 2
    padded = torch.cat((values[:1].expand(2 * pad), values, values[-1:].expand(2 * pad)))[None, None]
    cover = torch.nn.functional.max_pool1d(padded, _LIFT_WINDOW, stride=1)
    window = torch.hann_window(_LIFT_WINDOW + 2, periodic=False, dtype=values.dtype)[1:-1]
    return torch.nn.functional.conv1d(cover, (window / window.sum())[None, None])[0, 0]
