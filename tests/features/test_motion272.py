"""The 272 features agree with the authors' files and lead back to the motion."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.features import (
    MOTION272,
    RootIntegrator,
    Statistics,
    motion272_from_motion,
    motion_from_motion272,
    positions_from_motion272,
)
from kinestream.features.motion272 import features_from_pose
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.motion import face_forward, ground, resample
from kinestream.rotations import quat_angle_rad, quat_from_rotvec
from tests.test_motion import swaying


def test_layout_tiles_the_vector_without_gap() -> None:
    parts = sorted(MOTION272.slices.values(), key=lambda part: part.start)
    assert parts[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(parts))
    assert MOTION272.width == 272


def test_features_agree_with_the_authors_sample(reference_dir: Path) -> None:
    sample = np.load(reference_dir / "motion272" / "sample.npz")
    expected = torch.from_numpy(sample["representation"])
    joints = torch.from_numpy(sample["joints_m"]).clone()
    joints[..., 1] -= joints[..., 1].min()
    rotations = quat_from_rotvec(torch.from_numpy(sample["smpl85_facing_z"])[:, :66].reshape(-1, 22, 3))
    assert (features_from_pose(joints, rotations) - expected).abs().max() < 1e-4


def test_recovery_agrees_with_the_authors_sample(reference_dir: Path) -> None:
    sample = np.load(reference_dir / "motion272" / "sample.npz")
    features = torch.from_numpy(sample["representation"])
    joints = torch.from_numpy(sample["joints_m"]).clone()
    joints[..., 1] -= joints[..., 1].min()
    joints[..., [0, 2]] -= joints[0, 0, [0, 2]].clone()
    assert (positions_from_motion272(features) - joints).abs().max() < 1e-4
    rotations = quat_from_rotvec(torch.from_numpy(sample["smpl85_facing_z"])[:, :66].reshape(-1, 22, 3))
    assert quat_angle_rad(motion_from_motion272(features).local_rotations, rotations).max() < 1e-4


def test_recovery_agrees_with_the_authors_code_on_unclean_features(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "metrics_motionstreamer.npz")
    features = torch.from_numpy(golden["feat272"])
    assert (
        positions_from_motion272(features, upright=False) - torch.from_numpy(golden["joints_from_position"])
    ).abs().max() < 1e-4
    smpl85 = torch.from_numpy(golden["smpl85_from_rotation"]).float()
    motion = motion_from_motion272(features, upright=False)
    expected = quat_from_rotvec(smpl85[:, :66].reshape(-1, 22, 3))
    assert quat_angle_rad(motion.local_rotations, expected).max() < 1e-3
    assert (motion.root_position_m - smpl85[:, 72:75]).abs().max() < 1e-4


@pytest.mark.parametrize("source", ["rotations", "positions"])
def test_motion_comes_back_from_its_features(source: str) -> None:
    motion = face_forward(ground(swaying()))
    back = motion_from_motion272(motion272_from_motion(motion), source)  # type: ignore[arg-type]
    assert (back.joint_positions_m() - motion.joint_positions_m()).norm(dim=-1).max() < 1e-4


def test_first_frame_has_no_velocity() -> None:
    first = motion272_from_motion(swaying())[0]
    assert not MOTION272.take(first, "root_velocity").any()
    assert not MOTION272.take(first, "velocities").any()
    assert MOTION272.take(first, "heading_change_rot6d").tolist() == [1, 0, 0, 0, 1, 0]


def test_root_integrated_in_chunks_equals_the_whole() -> None:
    features = motion272_from_motion(swaying())
    integrator = RootIntegrator()
    whole, headings, _ = integrator.step(features, integrator.init_state())
    state, parts = integrator.init_state(), []
    for start in range(0, len(features), 4):
        root, _, state = integrator.step(features[start : start + 4], state)
        parts.append(root)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(state.heading, headings[-1])


def test_other_rates_and_skeletons_are_refused() -> None:
    with pytest.raises(BadInputError, match="resample"):
        motion272_from_motion(resample(swaying(), 60.0))
    with pytest.raises(BadInputError, match="272"):
        motion_from_motion272(torch.zeros(3, 263))


def test_statistics_share_a_deviation_within_each_part(reference_dir: Path) -> None:
    published = Statistics.load(reference_dir / "motion272" / "humanml3d_stats.npz")
    own = Statistics.of([motion272_from_motion(swaying())], MOTION272)
    for statistics in (published, own):
        for part in MOTION272.slices.values():
            assert len(set(statistics.std[part].tolist())) == 1
    features = motion272_from_motion(swaying())
    torch.testing.assert_close(own.denormalize(own.normalize(features)), features)


def test_unsound_statistics_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", mean=np.zeros(4), std=np.zeros(4))
    for path in (tmp_path / "s.npz", tmp_path, tmp_path / "missing.npz"):
        with pytest.raises(BadInputError):
            Statistics.load(path)


def test_long_streams_stay_upright() -> None:
    features = motion272_from_motion(swaying()).repeat(50, 1)
    features = features + 0.01 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    _, headings, _ = RootIntegrator().step(features, RootIntegrator().init_state())
    assert headings[:, [1, 3]].abs().max() < 1e-5


def test_batched_recovery_equals_the_motion(reference_dir: Path) -> None:
    features = torch.from_numpy(np.load(reference_dir / "motion272" / "sample.npz")["representation"])[:400]
    expected = motion_from_motion272(features).joint_positions_m()
    assert (world_joints_from_rotations(features[None])[0] - expected).abs().max() < 1e-4
