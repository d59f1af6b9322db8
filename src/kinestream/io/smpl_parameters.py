"""SMPL body parameters (axis-angle pose and translation) <-> Motion on the SMPL-22 skeleton."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec, quat_multiply, quat_rotate, rotvec_from_quat
from kinestream.skeleton import smpl22

UpAxis = Literal["y", "z"]

_MAX_ANGLE_RAD = 100.0
_MAX_METRES = 1e5
_SAME_OFFSET_M = 5e-4
# Turns Z up into Y up: (x, y, z) -> (x, z, -y).
_Y_UP_FROM_Z_UP = (math.sqrt(0.5), -math.sqrt(0.5), 0.0, 0.0)


def motion_from_smpl(
    pose_rotvec: Float[Tensor, "t 22 3"], trans_m: Float[Tensor, "t 3"], fps: float, up: UpAxis, name: str
) -> Motion:
    """SMPL's first 22 joint rotations and `trans` as a Motion on `smpl22()`, Y up.

    SMPL's `trans` moves a model whose pelvis rests at `offsets_m[0]`, and the body turns about its pelvis, so the
    pelvis is at trans + offsets_m[0] (in the file's axes). The body is the mean shape: shape coefficients (betas) act
    through SMPL's licensed model files, which we neither have nor need; see `kinestream.motion.ground`.
    Raises BadInputError for values that are no radians and metres.
    """
    if len(pose_rotvec) == 0:
        raise BadInputError(f"{name}: the recording has no frames")
    largest = float(pose_rotvec.abs().max())
    if largest > _MAX_ANGLE_RAD:
        raise BadInputError(f"{name}: expected axis-angle rotations in radians, got values up to {largest:.4g}")
    farthest = float(trans_m.abs().max())
    if farthest > _MAX_METRES:
        raise BadInputError(f"{name}: expected translations in metres, got values up to {farthest:.4g}")
    skeleton = smpl22()
    local = quat_from_rotvec(pose_rotvec)
    root = trans_m + skeleton.offsets_m[0]
    if up == "z":
        turn = torch.tensor(_Y_UP_FROM_Z_UP)
        root = quat_rotate(turn, root)
        local = torch.cat((quat_multiply(turn, local[:, :1]), local[:, 1:]), dim=1)
    return Motion(skeleton=skeleton, local_rotations=local, root_position_m=root, fps=fps, name=name)


def smpl_from_motion(motion: Motion, up: UpAxis) -> tuple[Float[Tensor, "t 22 3"], Float[Tensor, "t 3"]]:
    """(axis-angle pose, trans in metres) of the mean-shape SMPL body, in SMPL's joint order and the given axes.

    Raises BadInputError unless the motion moves the SMPL-22 skeleton: joints by name, offsets within 0.5 mm.
    """
    skeleton, wanted = motion.skeleton, smpl22()
    if set(skeleton.joint_names) != set(wanted.joint_names):
        raise BadInputError(
            f"motion {motion.name!a} has the skeleton {skeleton.name!a} of {skeleton.num_joints} joints, and SMPL "
            "files hold SMPL-22 motion: retarget it to smpl22 first"
        )
    order = [skeleton.index(name) for name in wanted.joint_names]
    same_tree = all(
        skeleton.joint_names[skeleton.parents[joint]] == wanted.joint_names[parent]
        for joint, parent in zip(order[1:], wanted.parents[1:], strict=True)
        if skeleton.parents[joint] >= 0
    )
    difference_m = float((skeleton.offsets_m[order][1:] - wanted.offsets_m[1:]).abs().max())
    if not same_tree or skeleton.parents[order[0]] != -1 or difference_m > _SAME_OFFSET_M:
        raise BadInputError(
            f"motion {motion.name!a} has SMPL-22's joint names on a body of other proportions (offsets differ by up to "
            f"{difference_m * 1000:.1f} mm): retarget it to smpl22 first"
        )
    extra = motion.joint_translations_m
    if extra is not None and float((extra - skeleton.offsets_m)[:, 1:].abs().max()) > _SAME_OFFSET_M:
        raise BadInputError(f"motion {motion.name!a} moves joints against their parents, which SMPL files cannot hold")
    local = motion.local_rotations[:, order].detach().cpu().float()
    root = motion.root_position_m.detach().cpu().float()
    if up == "z":
        turn = torch.tensor(_Y_UP_FROM_Z_UP) * torch.tensor([1.0, -1.0, -1.0, -1.0])
        root = quat_rotate(turn, root)
        local = torch.cat((quat_multiply(turn, local[:, :1]), local[:, 1:]), dim=1)
    return rotvec_from_quat(local), root - wanted.offsets_m[0]


def checked_fps(fps: float, where: str) -> float:
    """A usable frame rate: positive, at most 10,000; rates within float32 rounding of a whole number become whole."""
    if not (math.isfinite(fps) and 0.01 <= fps <= 10_000.0):
        raise BadInputError(f"{where}: expected a frame rate between 0.01 and 10,000, got {fps:g}")
    return float(round(fps)) if abs(fps - round(fps)) < 1e-6 * fps else fps
