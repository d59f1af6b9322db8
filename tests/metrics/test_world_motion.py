"""Errors of motions in the world: what each sees, and what it is blind to."""

from __future__ import annotations

import pytest
import torch

from kinestream.metrics.world_motion import gravity_error_rad, path_error, rigidly_aligned
from kinestream.rotations import quat_about_axis, quat_rotate


@pytest.fixture
def joints() -> torch.Tensor:
    return torch.randn(12, 22, 3, generator=torch.Generator().manual_seed(0))


def turned(joints: torch.Tensor, axis: str, angle: float) -> torch.Tensor:
    return quat_rotate(quat_about_axis(torch.tensor(angle).to(joints), axis).expand(*joints.shape[:-1], 4), joints)


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


def test_alignment_turns_and_shifts_and_never_mirrors_or_scales(joints: torch.Tensor) -> None:
    points = joints[0].double()
    assert float((rigidly_aligned(turned(points, "X", 2.0) + 3.0, points) - points).abs().max()) < 1e-6
    mirrored = rigidly_aligned(points * torch.tensor((-1.0, 1.0, 1.0)).double(), points)
    assert float((mirrored - points).abs().max()) > 0.1
    doubled = rigidly_aligned(2.0 * points, points)
    assert float((doubled - doubled.mean(0)).norm() / (points - points.mean(0)).norm()) == pytest.approx(2.0)
