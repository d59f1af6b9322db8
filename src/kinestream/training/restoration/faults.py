"""Faults for what the foot denoiser is given: the rest of a body as capture delivers it, not as a recording has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.features.humanml_legs import carried
from kinestream.features.layout import HUMANML259

_SLOW_FRAMES = 15


@dataclass(frozen=True)
class FaultSizes:
    """The largest deviations; each row of a batch draws its own, so most are smaller."""

    jitter_m: float = 0.015
    """Of the root's place from frame to frame."""
    drift_m: float = 0.01
    """Of the root's speed over the ground, metres a frame, changing within half a second."""
    height_m: float = 0.06
    """Of the whole body above or below the floor."""
    joints_m: float = 0.01
    """Of every joint's place from frame to frame."""


def with_faults(
    features: Float[Tensor, "b t 259"], share: float, sizes: FaultSizes, rng: np.random.Generator
) -> Float[Tensor, "b t 259"]:
    """Un-normalised features; of this share of the rows root and joints tremble, the body slides, floats or sinks."""
    rows, frames = features.shape[:2]
    size = np.where(rng.random((rows, 1, 1)) < share, rng.random((rows, 4, 1)), 0.0).astype(np.float32)
    drawn = [torch.from_numpy(rng.standard_normal((rows, frames, 3), dtype=np.float32)) for _ in range(2)]
    jitter, drift, height, joints = (torch.from_numpy(size[:, kind : kind + 1]) for kind in range(4))
    tremble = drawn[0] * jitter * sizes.jitter_m
    slide = _slow(drawn[1]) * drift * sizes.drift_m
    offset = tremble + slide.cumsum(dim=1) * torch.tensor((1.0, 0.0, 1.0))
    side = torch.from_numpy(rng.standard_normal((rows, 1, 1), dtype=np.float32))
    offset = offset + side * height * sizes.height_m * torch.tensor((0.0, 1.0, 0.0))
    out = carried(features, offset)
    noise = torch.from_numpy(rng.standard_normal((rows, frames, 66), dtype=np.float32)) * joints * sizes.joints_m
    slices = HUMANML259.slices
    out[..., slices["positions"]] += noise[..., 3:]
    out[..., slices["velocities"]] += functional.pad(noise.diff(dim=1), (0, 0, 0, 1))
    return out


def _slow(noise: Float[Tensor, "b t 3"]) -> Float[Tensor, "b t 3"]:
    """White noise smoothed over half a second, of the deviation it had."""
    kernel = torch.hann_window(2 * _SLOW_FRAMES + 1, periodic=False)
    kernel = (kernel / kernel.square().sum().sqrt()).expand(3, 1, -1)
    return functional.conv1d(noise.transpose(1, 2), kernel, padding=_SLOW_FRAMES, groups=3).transpose(1, 2)
