"""The layouts of HumanML3D's family: 263 values a frame, the dance release's 264, and InfiniteDance's 259.

All three describe a frame in the heading of the body. The heading is that of the line across hips and shoulders,
smoothed over time as the published preprocessing does (Guo et al., Generating Diverse and Natural 3D Human Motions from
Text, 2022). Velocities are steps to the *next* frame: a motion of T frames gives T - 1. The yaw velocity is half
the turn to the next frame, in radians: the angle of a quaternion (cos, 0, sin, 0) of the inverse heading.

    263, 20 fps: yaw velocity, root's step (x, z) in the next frame's heading, root height, 21 positions, 21 rotations,
        22 velocities, 4 contacts (left ankle, left toes, right ankle, right toes). Rotations are those of the published
        inverse kinematics: least twist from fixed axes, without the body's own twist.
    264, 30 fps: root height, accumulated yaw velocity, then as 263 from the yaw velocity on, without the height.
    259, 30 fps (InfiniteDance, section 3.1): yaw velocity, root's step, height, 22 velocities, 21 positions, 21 local
        rotations of SMPL's joints; no contacts.

6D rotations in these layouts are the first two *columns* of the matrix, as the field stores them; `motion272` has rows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features.aiming import rotations_from_positions
from kinestream.features.layout import HUMANML259, HUMANML263, HUMANML264, FeatureLayout
from kinestream.motion import Motion
from kinestream.rotations import (
    matrix_from_quat,
    matrix_from_rot6d_rows,
    quat_about_axis,
    quat_between,
    quat_conjugate,
    quat_from_matrix,
    quat_multiply,
    quat_rotate,
    rot6d_from_matrix_rows,
)
from kinestream.skeleton import smpl22

_JOINTS = 22
# Frames: the deviation of the Gaussian that smooths the heading, and where it is cut off (in deviations).
_HEADING_SMOOTHING, _CUTOFF = 20.0, 4.0
# A foot that moves less than this in a frame (square metres) stands; the published value, at any rate.
_CONTACT_STEP_M2 = 0.002
_FEET = ("left_ankle", "left_foot", "right_ankle", "right_foot")
# The published inverse kinematics: chains from the pelvis or the chest, and the axis that a joint's bone has at rest.
_CHAINS = ((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20))
_AXES = {1: "+x", 2: "-x", 10: "+z", 11: "+z", 13: "+x", 14: "-x", 15: "+z"} | dict.fromkeys((3, 6, 9, 12), "+y")

Source = Literal["rotations", "positions"]


def humanml263_from_motion(motion: Motion) -> Float[Tensor, "t 263"]:
    """Features [T - 1, 263] of an SMPL-22 motion at 20 fps that stands on y = 0; BadInputError for others."""
    return _features(motion, HUMANML263)


def humanml264_from_motion(motion: Motion) -> Float[Tensor, "t 264"]:
    """Features [T - 1, 264] of an SMPL-22 motion at 30 fps that stands on y = 0; BadInputError for others."""
    return _features(motion, HUMANML264)


def humanml259_from_motion(motion: Motion) -> Float[Tensor, "t 259"]:
    """Features [T - 1, 259] of an SMPL-22 motion at 30 fps that stands on y = 0; BadInputError for others."""
    return _features(motion, HUMANML259)


def motion_from_humanml263(features: Float[Tensor, "t 263"], name: str = "") -> Motion:
    """An SMPL-22 motion at 20 fps, from the positions: the layout's rotations know no twist."""
    return _from_positions(features, HUMANML263, name)


def motion_from_humanml264(features: Float[Tensor, "t 264"], name: str = "") -> Motion:
    """An SMPL-22 motion at 30 fps, from the positions: the layout's rotations know no twist."""
    return _from_positions(features, HUMANML264, name)


def motion_from_humanml259(features: Float[Tensor, "t 259"], source: Source = "rotations", name: str = "") -> Motion:
    """An SMPL-22 motion at 30 fps; `source` says whether local rotations or positions decide the pose.

    The pelvis' own orientation is not in the layout: hips and lowest spine joint tell it.
    """
    positions = positions_from_humanml(features, HUMANML259)
    local = rotations_from_positions(smpl22(), positions)
    if source == "rotations":
        columns = HUMANML259.take(features.float(), "rotations_rot6d").unflatten(-1, (_JOINTS - 1, 6))
        local[:, 1:] = quat_conjugate(quat_from_matrix(matrix_from_rot6d_rows(columns)))
    return Motion(smpl22(), local, positions[:, 0].clone(), HUMANML259.fps, name=name)


def heading_angles(features: Float[Tensor, "*b t d"], layout: FeatureLayout) -> Float[Tensor, "*b t"]:
    """The turn about Y, in radians, that takes each frame's heading to the first one's (the sum of the yaw steps)."""
    half_turn = layout.take(features, "yaw_velocity")[..., 0]
    return -2.0 * (half_turn.cumsum(-1) - half_turn)


def positions_from_humanml(features: Float[Tensor, "*b t d"], layout: FeatureLayout) -> Float[Tensor, "*b t 22 3"]:
    """World joint positions from the position columns, starting at the origin facing +Z (the published recovery)."""
    layout.check(features)
    features = features.float()
    heading = quat_about_axis(heading_angles(features, layout), "Y")
    ground = layout.take(features, "root_velocity")[..., :-1, :]
    step = torch.stack((ground[..., 0], torch.zeros_like(ground[..., 0]), ground[..., 1]), dim=-1)
    root = torch.nn.functional.pad(quat_rotate(heading[..., 1:, :], step).cumsum(-2), (0, 0, 1, 0))
    local = layout.take(features, "positions").unflatten(-1, (_JOINTS - 1, 3))
    others = quat_rotate(heading[..., None, :], local) + root[..., None, :]
    root = torch.stack((root[..., 0], layout.take(features, "root_height")[..., 0], root[..., 2]), dim=-1)
    return torch.cat((root[..., None, :], others), dim=-2)


def _from_positions(features: Tensor, layout: FeatureLayout, name: str) -> Motion:
    positions = positions_from_humanml(features, layout)
    local = rotations_from_positions(smpl22(), positions)
    return Motion(smpl22(), local, positions[:, 0].clone(), layout.fps, name=name)


def _checked(motion: Motion, layout: FeatureLayout) -> Motion:
    if motion.skeleton.joint_names != smpl22().joint_names:
        raise BadInputError(f"{layout.name} needs the smpl22 skeleton, got {motion.skeleton.name!r}: retarget first")
    if abs(motion.fps - layout.fps) > 1e-3:
        raise BadInputError(f"{layout.name} needs {layout.fps:g} fps, got {motion.fps:g}: resample first")
    if motion.num_frames < 2:
        raise BadInputError(f"{layout.name} needs at least two frames, got {motion.num_frames}")
    return motion


def _forward(positions_m: Tensor) -> Tensor:
    """Where the body faces [T, 3], square to the lines across hips and shoulders."""
    index = smpl22().index
    across = positions_m[:, index("left_hip")] - positions_m[:, index("right_hip")]
    across = across + positions_m[:, index("left_shoulder")] - positions_m[:, index("right_shoulder")]
    up = torch.tensor((0.0, 1.0, 0.0)).expand_as(across)
    across = torch.nn.functional.normalize(across, dim=-1)
    return torch.nn.functional.normalize(torch.linalg.cross(across, up), dim=-1)


def _facing_z(motion: Motion) -> Tensor:
    """Positions [T, J, 3], turned and moved so that the first frame faces +Z above the origin."""
    positions = motion.joint_positions_m()
    start = positions[0, 0] * torch.tensor((1.0, 0.0, 1.0))
    return quat_rotate(quat_about_axis(-first_heading_rad(positions), "Y"), positions - start)


def first_heading_rad(positions_m: Float[Tensor, "t 22 3"]) -> Float[Tensor, ""]:
    """By how much about Y the first frame faces away from +Z: what these layouts take out of a motion."""
    first = _forward(positions_m[:1])[0]
    return torch.atan2(first[0], first[2])


def _inverse_headings(positions_m: Tensor) -> Tensor:
    """Quaternions [T, 4] that turn the smoothed forward direction to +Z; the first is the identity, as published."""
    forward = _forward(positions_m)
    reach = int(_HEADING_SMOOTHING * _CUTOFF + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / _HEADING_SMOOTHING) ** 2)
    padded = torch.cat((forward[:1].expand(reach, 3), forward, forward[-1:].expand(reach, 3)))
    smooth = torch.nn.functional.conv1d(padded.T[:, None], (kernel / kernel.sum())[None, None])[:, 0].T
    angle = torch.atan2(smooth[:, 0], smooth[:, 2])
    angle[0] = 0.0
    return quat_about_axis(-angle, "Y")


def _features(motion: Motion, layout: FeatureLayout) -> Tensor:
    """The layout's slices, T - 1 frames each, in its order."""
    motion = _checked(motion, layout)
    positions = _facing_z(motion)
    inverse_heading = _inverse_headings(positions)
    turn = quat_multiply(inverse_heading[1:], quat_conjugate(inverse_heading[:-1]))
    turn = torch.where(turn[:, :1] < 0, -turn, turn)
    yaw_velocity = torch.arcsin(turn[:, 2:3].clamp(-1.0, 1.0))
    steps = positions[1:] - positions[:-1]
    centred = positions - positions[:, :1] * torch.tensor((1.0, 0.0, 1.0))
    local = quat_rotate(inverse_heading[:, None], centred)[:-1, 1:]
    feet = [smpl22().index(name) for name in _FEET]
    own = layout is HUMANML259
    rotations = motion.local_rotations[:, 1:] if own else _published_rotations(positions, inverse_heading)
    parts = {
        "yaw": torch.cat((yaw_velocity.new_zeros(1, 1), yaw_velocity[:-1].cumsum(0))),
        "yaw_velocity": yaw_velocity,
        "root_velocity": quat_rotate(inverse_heading[1:], steps[:, 0])[:, [0, 2]],
        "root_height": positions[:-1, 0, 1:2],
        "positions": local.flatten(1),
        "rotations_rot6d": _columns(rotations[:-1]),
        "velocities": quat_rotate(inverse_heading[:-1, None], steps).flatten(1),
        "contacts": (steps[:, feet].square().sum(-1) < _CONTACT_STEP_M2).float(),
    }
    return torch.cat([parts[name] for name in layout.slices], dim=1)


def _published_rotations(positions: Tensor, inverse_heading: Tensor) -> Tensor:
    """Rotations [T, 21, 4] of the joints below the root, by the published chains of least-twist swings."""
    rotations = torch.zeros(len(positions), _JOINTS, 4)
    for chain in _CHAINS:
        above = inverse_heading
        for joint, child in pairwise(chain):
            axis = _rest_axis(child).expand(len(positions), 3)
            swing = quat_between(axis, positions[:, child] - positions[:, joint])
            rotations[:, child] = quat_multiply(quat_conjugate(above), swing)
            above = quat_multiply(above, rotations[:, child])
    return rotations[:, 1:]


def _rest_axis(joint: int) -> Tensor:
    name = _AXES.get(joint, "-y")
    axis = torch.zeros(3)
    axis["xyz".index(name[1])] = 1.0 if name[0] == "+" else -1.0
    return axis


def _columns(rotations: Tensor) -> Tensor:
    """The first two columns of the matrices of quaternions [T, n, 4], flat: the rows of their inverses."""
    return rot6d_from_matrix_rows(matrix_from_quat(quat_conjugate(rotations))).flatten(1)
