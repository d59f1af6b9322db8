"""Recordings damaged on purpose, as capture damages them: feet skate, joints tremble, bodies leave the floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec, quat_multiply

# Four strengths each: the body's drift over the floor (deviation of its speed, m/s), what the root and every rotation
# tremble by (m, radians), how far the body is off the floor (m).
SKATING_MPS = (0.15, 0.3, 0.5, 0.8)
JITTER_M, JITTER_RAD = (0.002, 0.004, 0.007, 0.01), (0.01, 0.02, 0.035, 0.05)
OFF_FLOOR_M = (0.03, 0.06, 0.1, 0.15)
STRENGTHS = 4
# Drift changes its direction within about this time.
_DRIFT_S = 0.5

Damage = Callable[[Motion, int, torch.Generator], Motion]


def skating(motion: Motion, strength: int, generator: torch.Generator) -> Motion:
    """The body drifts over the floor, this way and that, whether its feet stand or not."""
    noise = torch.randn(motion.num_frames, 3, generator=generator) * torch.tensor((1.0, 0.0, 1.0))
    speed = _slow(noise, _DRIFT_S * motion.fps) * SKATING_MPS[strength]
    return _moved(motion, (speed / motion.fps).cumsum(dim=0))


def jitter(motion: Motion, strength: int, generator: torch.Generator) -> Motion:
    """The root's place and every rotation tremble from frame to frame."""
    shaken = _moved(motion, torch.randn(motion.num_frames, 3, generator=generator) * JITTER_M[strength])
    noise = torch.randn(*motion.local_rotations.shape[:-1], 3, generator=generator) * JITTER_RAD[strength]
    return replace(shaken, local_rotations=quat_multiply(shaken.local_rotations, quat_from_rotvec(noise)))


def floating(motion: Motion, strength: int, generator: torch.Generator) -> Motion:
    """The body hangs above the floor, by a height that changes slowly by a quarter."""
    wave = 1.0 + 0.25 * _slow(torch.randn(motion.num_frames, 1, generator=generator), motion.fps).clamp(-1.0, 1.0)
    return _moved(motion, OFF_FLOOR_M[strength] * wave * torch.tensor((0.0, 1.0, 0.0)))


def sinking(motion: Motion, strength: int, generator: torch.Generator) -> Motion:
    """The body stands in the floor, by a depth that changes slowly by a quarter."""
    raised = floating(motion, strength, generator)
    return replace(motion, root_position_m=2.0 * motion.root_position_m - raised.root_position_m)


DAMAGES: dict[str, Damage] = {"skating": skating, "jitter": jitter, "floating": floating, "sinking": sinking}


def _moved(motion: Motion, offset_m: Float[Tensor, "t 3"]) -> Motion:
    return replace(motion, root_position_m=motion.root_position_m + offset_m)


def _slow(noise: Float[Tensor, "t k"], frames: float) -> Float[Tensor, "t k"]:
    """White noise smoothed over so many frames, of the deviation it had."""
    reach = max(1, round(frames))
    kernel = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
    kernel = (kernel / kernel.square().sum().sqrt()).expand(noise.shape[1], 1, -1)
    padded = functional.pad(noise.T[None], (reach, reach), mode="circular" if len(noise) > reach else "constant")
    return functional.conv1d(padded, kernel, groups=noise.shape[1])[0].T
