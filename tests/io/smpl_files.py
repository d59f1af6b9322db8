"""A small SMPL-22 motion, and the same as a plain reading of SMPL's definition."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec
from kinestream.skeleton import smpl22

Floats = npt.NDArray[np.float64]


def small_motion(frames: int = 5, fps: float = 30.0) -> Motion:
    """Random moderate rotations and root positions."""
    generator = torch.Generator().manual_seed(1)
    rotations = quat_from_rotvec(0.5 * torch.randn(frames, 22, 3, generator=generator))
    return Motion(smpl22(), rotations, torch.randn(frames, 3, generator=generator), fps, name="small")


def smpl_joints(rotvec: Floats, trans: Floats) -> Floats:
    """World joints [22, 3] of the mean-shape SMPL model in one pose, in the axes of the parameters.

    SMPL rotates about the rest joints and then adds `trans`: the pelvis stays at its rest place plus `trans`.
    """
    skeleton = smpl22()
    world: list[Floats] = []
    for joint, parent in enumerate(skeleton.parents):
        local = np.eye(4)
        local[:3, :3] = _rodrigues(rotvec[joint])
        local[:3, 3] = skeleton.offsets_m[joint].numpy()
        world.append(local if parent < 0 else world[parent] @ local)
    return np.stack([matrix[:3, 3] for matrix in world]) + trans


def _rodrigues(rotvec: Floats) -> Floats:
    angle = float(np.linalg.norm(rotvec))
    x, y, z = rotvec / max(angle, 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: Floats = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turned
