"""Motions made from sines, for tests that need a body that moves: a walk in place or along a curve, a wave."""

from __future__ import annotations

import math

import torch

from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec
from kinestream.skeleton import Skeleton, smpl22


def walking(frames: int = 45, fps: float = 30.0, turn_radps: float = 0.4, wave: bool = False) -> Motion:
    """SMPL-22 walking with swinging arms, turning left, the right hand waving if asked for."""
    skeleton = smpl22()
    seconds = torch.arange(frames) / fps
    stride = 2 * math.pi * 0.9 * seconds
    turns = torch.zeros(frames, 22, 3)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        phase = stride if sign > 0 else stride + math.pi
        turns[:, skeleton.index(f"{side}_hip"), 0] = -0.45 * torch.sin(phase) - 0.08
        turns[:, skeleton.index(f"{side}_knee"), 0] = 0.35 + 0.5 * torch.cos(phase).clamp(min=0)
        turns[:, skeleton.index(f"{side}_shoulder"), 2] = -1.2 * sign
        turns[:, skeleton.index(f"{side}_elbow"), 1] = -0.4 * sign
    if wave:
        turns[:, skeleton.index("right_shoulder"), 2] = -0.4
        turns[:, skeleton.index("right_elbow")] = 0.0
        turns[:, skeleton.index("right_elbow"), 2] = -1.2 + 0.5 * torch.sin(9 * seconds)
    yaw = turn_radps * seconds
    turns[:, 0, 1] = yaw
    step = torch.stack([torch.sin(yaw), torch.zeros(frames), torch.cos(yaw)], dim=-1) * 1.2 / fps
    root = torch.cumsum(step, dim=0)
    root[:, 1] = 0.9 + 0.02 * torch.cos(2 * stride)
    return Motion(skeleton, quat_from_rotvec(turns), root, fps, name="walking")


def crane(frames: int = 20, fps: float = 24.0) -> Motion:
    """Another kind of skeleton: five joints in a chain with a tip, one of them sliding along its parent."""
    offsets = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.5, 0.1], [0.3, 0.2, 0.0], [0.2, 0.0, 0.0]])
    names = ("base", "mast", "boom", "slide", "hook")
    skeleton = Skeleton("crane", names, (-1, 0, 1, 2, 3), offsets, {"hook": (0.0, -0.2, 0.0)})
    seconds = torch.arange(frames) / fps
    turns = torch.stack(
        [torch.stack([0.3 * j * torch.sin(seconds + j), seconds, 0.2 * j * seconds], -1) for j in range(5)], 1
    )
    translations = offsets.repeat(frames, 1, 1)
    translations[:, 3, 0] += 0.2 * torch.sin(3 * seconds)
    root = torch.stack([seconds, torch.full_like(seconds, 0.05), torch.zeros(frames)], -1)
    return Motion(skeleton, quat_from_rotvec(turns), root, fps, translations, name="crane")
