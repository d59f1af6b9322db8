"""Each figure against a case solved by hand, and against the authors' numbers where they have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.metrics import (
    floor_penetration_m,
    foot_skating_ratio,
    jitter_mps3,
    mpjpe_mm,
    pa_mpjpe_mm,
    peak_jerk_mps3,
    world_mpjpe_mm,
)
from kinestream.rotations import quat_from_rotvec, quat_rotate


def test_mpjpe_agrees_with_the_authors_code(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "metrics_motionstreamer.npz")
    predicted, target = (torch.from_numpy(golden[name]) for name in ("pred_joints", "gt_joints"))
    expected = float(golden["mpjpe_eval_trans"].mean()) * 1000
    assert float(mpjpe_mm(predicted, target)) == pytest.approx(expected, rel=1e-4)


def test_mpjpe_ignores_where_the_body_is_and_sees_a_bent_arm() -> None:
    target = torch.rand(10, 22, 3)
    assert float(mpjpe_mm(target + torch.tensor([1.0, 0, 2.0]), target)) < 1e-3
    bent = target.clone()
    bent[:, 21, 0] += 0.022
    assert float(mpjpe_mm(bent, target)) == pytest.approx(1.0, rel=1e-4)
    with pytest.raises(BadInputError):
        mpjpe_mm(target, target[:5])


def test_world_mpjpe_sees_where_a_body_is() -> None:
    target = torch.rand(10, 22, 3)
    assert float(world_mpjpe_mm(target + torch.tensor([0.03, 0.0, 0.04]), target)) == pytest.approx(50.0, rel=1e-4)


def test_procrustes_takes_out_turn_size_and_place_of_every_frame_but_no_mirror() -> None:
    target = torch.rand(10, 22, 3)
    turns = quat_from_rotvec(torch.randn(10, 1, 3))
    moved = 1.3 * quat_rotate(turns, target) + torch.randn(10, 1, 3)
    assert float(pa_mpjpe_mm(moved, target)) < 1e-3
    assert float(pa_mpjpe_mm(target * torch.tensor([-1.0, 1.0, 1.0]), target)) > 100.0
    bent = target.clone()
    bent[:, 21] += 0.5
    assert float(pa_mpjpe_mm(bent, target)) > 5.0


def test_skating_counts_low_fast_toes_only() -> None:
    toes = torch.zeros(11, 2, 3)
    assert float(foot_skating_ratio(toes, 30.0)) == 0.0
    toes[6:, 0, 2] = torch.arange(1, 6) * 0.03  # 0.9 m/s for the last five of ten pairs
    assert float(foot_skating_ratio(toes, 30.0)) == pytest.approx(0.5)
    toes[:, 0, 1] = 0.2
    assert float(foot_skating_ratio(toes, 30.0)) == 0.0


def test_jerk_of_a_cubic_path_is_its_third_derivative() -> None:
    t = torch.arange(20, dtype=torch.float64)[:, None] / 30.0
    path = torch.stack((2.0 * t**3, t**2, t), dim=-1)
    assert float(jitter_mps3(path, 30.0)) == pytest.approx(12.0, rel=1e-6)
    assert float(peak_jerk_mps3(path, 30.0)) == pytest.approx(12.0, rel=1e-6)


def test_penetration_is_the_depth_of_the_lowest_joint() -> None:
    joints = torch.ones(3, 5, 3)
    joints[1, 2, 1] = -0.03
    assert floor_penetration_m(joints).tolist() == pytest.approx([0.0, 0.03, 0.0])
