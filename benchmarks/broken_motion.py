"""Motions broken on purpose, each in one way and between two frames: what a check must see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch

from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec, quat_multiply

SLIDE_MPS = 0.6
NOISE_RAD = 0.06
SHIFT_M = 0.12
KNEE_BACK_RAD = 0.9


class Breakage(NamedTuple):
    """How to break SMPL-22 frames `first` to `last` (inclusive), and the check and part that must say so."""

    make: Callable[[Motion, int, int], Motion]
    check: str
    part: str | None


def feet_slid(motion: Motion, first: int, last: int) -> Motion:
    """The whole body drifts over the floor while its feet stand."""
    root = motion.root_position_m.clone()
    steps = torch.arange(motion.num_frames).clamp(first, last) - first
    root[:, 0] += steps * (SLIDE_MPS / motion.fps)
    return replace(motion, root_position_m=root)


def noisy(motion: Motion, first: int, last: int) -> Motion:
    """Every rotation trembles by a few degrees from frame to frame."""
    generator = torch.Generator().manual_seed(5)
    rotations = motion.local_rotations.clone()
    part = rotations[first : last + 1]
    noise = torch.randn(*part.shape[:-1], 3, generator=generator) * NOISE_RAD
    rotations[first : last + 1] = quat_multiply(part, quat_from_rotvec(noise))
    return replace(motion, local_rotations=rotations)


def sunk(motion: Motion, first: int, last: int) -> Motion:
    """The body stands in the floor."""
    return _shifted(motion, first, last, -SHIFT_M)


def lifted(motion: Motion, first: int, last: int) -> Motion:
    """The body stands on air."""
    return _shifted(motion, first, last, SHIFT_M)


def _shifted(motion: Motion, first: int, last: int, height_m: float) -> Motion:
    root = motion.root_position_m.clone()
    root[first : last + 1, 1] += height_m
    return replace(motion, root_position_m=root)


def arm_in_trunk(motion: Motion, first: int, last: int) -> Motion:
    """The left upper arm hangs and the forearm points sideways through the belly."""
    rotations = motion.local_rotations.clone()
    names = motion.skeleton.joint_names
    hang = quat_from_rotvec(torch.tensor([0.0, 0.0, -1.35]))
    turn_in = quat_from_rotvec(torch.tensor([1.45, 0.0, 0.0]))
    rotations[first : last + 1, names.index("left_collar")] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    rotations[first : last + 1, names.index("left_shoulder")] = quat_multiply(hang, turn_in)
    rotations[first : last + 1, names.index("left_elbow")] = quat_from_rotvec(torch.tensor([0.0, -1.5, 0.0]))
    return replace(motion, local_rotations=rotations)


def knee_backwards(motion: Motion, first: int, last: int) -> Motion:
    """The right knee bends the wrong way."""
    rotations = motion.local_rotations.clone()
    knee = motion.skeleton.joint_names.index("right_knee")
    rotations[first : last + 1, knee] = quat_from_rotvec(torch.tensor([-KNEE_BACK_RAD, 0.0, 0.0]))
    return replace(motion, local_rotations=rotations)


def held(motion: Motion, first: int, last: int) -> Motion:
    """The stream is dead: the first frame is repeated."""
    rotations, root = motion.local_rotations.clone(), motion.root_position_m.clone()
    rotations[first : last + 1], root[first : last + 1] = rotations[first], root[first]
    return replace(motion, local_rotations=rotations, root_position_m=root)


BREAKAGES: dict[str, Breakage] = {
    "feet slid": Breakage(feet_slid, "skating", None),
    "noise": Breakage(noisy, "jitter", None),
    "sunk": Breakage(sunk, "penetration", None),
    "lifted": Breakage(lifted, "floating", "whole body"),
    "arm in trunk": Breakage(arm_in_trunk, "self_collision", "left forearm"),
    "knee backwards": Breakage(knee_backwards, "joint_limits", "right leg"),
    "held": Breakage(held, "frozen", "whole body"),
}
