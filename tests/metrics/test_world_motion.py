"""Errors of motions in the world: what each sees, and what it is blind to."""

from __future__ import annotations

import pytest
import torch

from kinestream.metrics.world_motion import (
    gravity_error_rad,
    pa_mpjpe_mm,
    path_error,
    root_aligned_mpjpe_mm,
    similarity_aligned,
)
from kinestream.rotations import quat_about_axis, quat_rotate


@pytest.fixture
def joints() -> torch.Tensor:
    return torch.randn(12, 22, 3, generator=torch.Generator().manual_seed(0))


def turned(joints: torch.Tensor, axis: str, angle: float) -> torch.Tensor:
    return quat_rotate(quat_about_axis(torch.tensor(angle), axis).expand(*joints.shape[:-1], 4), joints)


def test_procrustes_error_is_blind_to_turn_shift_and_size_of_each_frame(joints: torch.Tensor) -> None:
    moved = 1.3 * turned(joints, "X", 0.7) + torch.linspace(0, 3, 12)[:, None, None]
    assert float(pa_mpjpe_mm(moved, joints).max()) < 1e-2
    mirrored = joints * torch.tensor((-1.0, 1.0, 1.0))
    assert float(pa_mpjpe_mm(mirrored, joints).min()) > 100.0


def test_root_aligned_error_is_blind_to_place_alone(joints: torch.Tensor) -> None:
    root = joints[:, 0]
    assert float(root_aligned_mpjpe_mm(joints + 5.0, joints, root + 5.0, root).max()) < 1e-2
    off = joints.clone()
    off[:, 1:, 0] += 0.01
    assert float(root_aligned_mpjpe_mm(off, joints, root, root)[0]) == pytest.approx(10.0 * 21 / 22, rel=1e-3)


def test_path_error_is_blind_to_heading_and_start_and_sees_drift() -> None:
    path = torch.stack((torch.linspace(0, 4, 50), torch.full((50,), 0.9), torch.sin(torch.linspace(0, 3, 50))), dim=-1)
    error, travelled = path_error(turned(path, "Y", 1.0) + 2.0, path)
    assert error < 1e-5
    assert travelled == pytest.approx(float(path.diff(dim=0).norm(dim=-1).sum()), rel=1e-5)
    assert path_error(1.1 * path, path)[0] > 0.05


@pytest.mark.parametrize("angle", [0.0, 0.05, 0.4])
def test_gravity_error_is_the_tilt_and_not_the_heading(joints: torch.Tensor, angle: float) -> None:
    tilted = turned(turned(joints, "Y", 1.2), "Z", angle)
    assert gravity_error_rad(tilted, joints) == pytest.approx(angle, abs=2e-3)


def test_alignment_keeps_size_where_it_is_told(joints: torch.Tensor) -> None:
    kept = similarity_aligned(2.0 * joints, joints, scale=False)
    spread = (kept - kept.mean(dim=1, keepdim=True)).norm() / (joints - joints.mean(dim=1, keepdim=True)).norm()
    assert float(spread) == pytest.approx(2.0, rel=1e-4)
    assert float((similarity_aligned(2.0 * joints, joints, scale=True) - joints).abs().max()) < 1e-4
