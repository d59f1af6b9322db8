"""Clips to measure on: made up walkers, real dances, a real recording; and what can be done to break them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinestream.skeleton import forward_kinematics, smpl22

FRAMES = 96
L_HIP, R_HIP = 1, 2
UPPER = (12, 15, 16, 17, 18, 19, 20, 21)
LEGS = (4, 5, 7, 8, 10, 11)
TOES = (10, 11)


class Clips(NamedTuple):
    """Joints [N, T, 22, 3] of SMPL-22 and their rate; row k is the same kind of thing as row k + 1."""

    joints: Tensor
    fps: float
    # Two groups of joints that move to one rhythm, the second the more clearly.
    rhythm: tuple[tuple[int, ...], tuple[int, ...]]

    def with_joints(self, joints: Tensor) -> Clips:
        """Other joints at the same rate."""
        return self._replace(joints=joints)

    def halves(self) -> tuple[Clips, Clips]:
        """Even and odd rows."""
        return self.with_joints(self.joints[::2]), self.with_joints(self.joints[1::2])


# Clips.


def walkers(count: int = 48) -> Clips:
    """People who walk at different paces and swing their arms; feet stand while they carry, fps 30."""
    generator = torch.Generator().manual_seed(3)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    pace, speed, swing, start = between(0.7, 1.2), between(0.7, 1.5), between(0.1, 0.35), between(0.0, 1.0)
    skeleton = smpl22()
    rest, _ = forward_kinematics(skeleton, torch.tensor((1.0, 0, 0, 0)).expand(22, 4), torch.zeros(3))
    t = torch.arange(FRAMES) / 30.0
    phase = pace * t + start
    joints = (rest - rest[0]).expand(count, FRAMES, 22, 3).clone()
    joints[..., 1] += (0.94 + 0.02 * torch.cos(4 * torch.pi * phase))[..., None]
    joints[..., 2] += (speed * t)[..., None]
    for side, (hip, knee, ankle, toe) in enumerate(((1, 4, 7, 10), (2, 5, 8, 11))):
        own = phase + 0.5 * side
        part, step = own.frac(), own.floor()
        going = ((part - 0.6) / 0.4).clamp(0.0, 1.0)
        ground = (step + 0.3 + going.square() * (3.0 - 2.0 * going) - start - 0.5 * side) / pace * speed
        raised = 0.12 * torch.sin(torch.pi * going) * (1.0 - 0.5 * going)
        joints[..., ankle, 0] = joints[..., hip, 0]
        joints[..., ankle, 1], joints[..., ankle, 2] = 0.08 + raised, ground
        joints[..., toe, :] = joints[..., ankle, :] + torch.tensor((0.0, -0.06, 0.13))
        joints[..., knee, :] = 0.5 * (joints[..., hip, :] + joints[..., ankle, :]) + torch.tensor((0.0, 0.0, 0.05))
    for side, (elbow, wrist) in enumerate(((18, 20), (19, 21))):
        angle = swing * torch.sin(2 * torch.pi * (phase + 0.5 * side))
        joints[..., elbow, 2] += 0.6 * angle
        joints[..., wrist, 2] += angle + 0.1
        joints[..., wrist, 1] += 0.1 * angle.square() - 0.3 + 0.3 * swing
    return Clips(joints, 30.0, ((18,), (20,)))


def dances(shared: Path, songs: int = 16, each: int = 4) -> Clips:
    """Windows of the Dance with Melody recordings on SMPL-22's joints (waist and neck put between others), 25 fps."""
    folder = shared / "data" / "dance-with-melody"
    rows = json.loads((folder / "index.json").read_text(encoding="utf-8"))["sequences"]
    windows = []
    for row in rows[:: max(1, len(rows) // songs)][:songs]:
        with np.load(folder / "motion" / f"{row['id']}.npz") as found:
            world = torch.from_numpy(found["joints"] + found["center"][:, None]) / 100.0
        body = _smpl_joints(world)
        body[..., 1] -= body[..., 1].amin(dim=-1).quantile(0.02)
        stride = (len(body) - FRAMES) // each
        windows += [body[k * stride : k * stride + FRAMES] for k in range(each)]
    return Clips(torch.stack(windows), 25.0, (UPPER, LEGS))


def recording(reference: Path) -> Clips:
    """Windows of the reference recording, 30 fps."""
    with np.load(reference / "motion272" / "sample.npz") as found:
        body = torch.from_numpy(found["joints_m"]).clone()
    body[..., 1] -= body[..., 1].amin()
    stride = (len(body) - FRAMES) // 19
    return Clips(torch.stack([body[k * stride : k * stride + FRAMES] for k in range(20)]), 30.0, (UPPER, LEGS))


def _smpl_joints(world: Tensor) -> Tensor:
    pelvis, shoulders = 0.5 * (world[:, 16] + world[:, 7]), 0.5 * (world[:, 12] + world[:, 3])
    spine = [pelvis + share * (shoulders - pelvis) for share in (0.3, 0.5, 0.7, 1.0)]
    collars = [shoulders + 0.3 * (world[:, joint] - shoulders) for joint in (12, 3)]
    parts = [
        pelvis,
        world[:, 16],
        world[:, 7],
        spine[0],
        world[:, 17],
        world[:, 8],
        spine[1],
        world[:, 18],
        world[:, 9],
    ]
    parts += [spine[2], world[:, 20], world[:, 11], spine[3], *collars, world[:, 0], world[:, 12], world[:, 3]]
    parts += [world[:, joint] for joint in (13, 4, 14, 5)]
    return torch.stack(parts, dim=1)


# What breaks them.


def noisy(joints: Tensor, size_m: float = 0.01) -> Tensor:
    """Every joint trembles."""
    return joints + size_m * torch.randn(joints.shape, generator=torch.Generator().manual_seed(5))


def reversed_in_time(joints: Tensor) -> Tensor:
    """The film runs backwards."""
    return joints.flip(-3)


def slid(joints: Tensor, fps: float, speed_mps: float = 0.8) -> Tensor:
    """The floor is ice: everything drifts sideways."""
    t = torch.arange(joints.shape[-3])[:, None] / fps
    drift = torch.zeros(joints.shape[-3], 1, 3)
    drift[..., 0] = speed_mps * t
    return joints + drift


def raised(joints: Tensor, height_m: float) -> Tensor:
    """All joints higher (or lower) than they were."""
    return joints + torch.tensor((0.0, height_m, 0.0))


def frozen_feet_lifted(joints: Tensor, height_m: float = 0.15) -> Tensor:
    """Legs keep the first frame's pose under the root, above the floor."""
    broken = joints.clone()
    legs = list(LEGS)
    broken[..., legs, :] = joints[..., :1, legs, :] - joints[..., :1, :1, :] + joints[..., :1, :]
    return raised(broken, height_m)


def torn(joints: Tensor, at_frame: int, jump_m: float = 0.2) -> Tensor:
    """The body is somewhere else from one frame to the next."""
    broken = joints.clone()
    broken[..., at_frame:, :, 0] += jump_m
    return broken


def frozen(joints: Tensor) -> Tensor:
    """The first frame, and nothing else."""
    return joints[..., :1, :, :].expand_as(joints).clone()


def slowed(joints: Tensor) -> Tensor:
    """Half as fast: the first half of the frames, each followed by the mean of itself and the next."""
    half = joints[..., : joints.shape[-3] // 2 + 1, :, :]
    between = 0.5 * (half[..., :-1, :, :] + half[..., 1:, :, :])
    return torch.stack((half[..., :-1, :, :], between), dim=-3).flatten(-4, -3)


def collapsed(joints: Tensor) -> Tensor:
    """The same clip over and over, with a millimetre of noise."""
    return noisy(joints[:1].expand_as(joints), 0.001)


# What stands for an evaluator: statistics of movement as the body sees it, that know forward from backward.


def embedded(clips: Clips) -> Tensor:
    """[N, 30]: means and spreads of velocities and places of ends, and how high feet are while they go forward."""
    joints = clips.joints.double()
    left = joints[..., L_HIP, :] - joints[..., R_HIP, :]
    left = torch.nn.functional.normalize(left * torch.tensor((1.0, 0.0, 1.0)), dim=-1)
    up = torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64).expand_as(left)
    frame = torch.stack((left, up, torch.linalg.cross(left, up)), dim=-2)[..., 1:, :, :]
    ends = joints[..., [7, 8, 15, 20, 21], :] - joints[..., :1, :]
    seen = torch.einsum("ntij,ntej->ntei", frame, ends[..., 1:, :, :])
    root = torch.einsum("ntij,ntj->nti", frame, joints[..., 0, :].diff(dim=-2) * clips.fps)
    moved = torch.einsum("ntij,ntej->ntei", frame, ends.diff(dim=-3) * clips.fps)
    height = seen[..., 1] - seen[..., 1].mean(dim=1, keepdim=True)
    parts = [root.mean(1), root.std(1), seen.std(1).flatten(1), moved.std(1)[..., 2], seen.mean(1)[..., 1]]
    return torch.cat([*parts, (height * moved[..., 2]).mean(1)[..., [0, 1]]], dim=-1)
