from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.io.smpl85 import read_smpl85, write_smpl85
from kinestream.rotations import quat_angle_rad, quat_conjugate, quat_rotate
from kinestream.skeleton import Skeleton, forward_kinematics
from tests.io.smpl_files import small_motion, smpl_joints


def test_joints_are_those_of_smpls_definition(tmp_path: Path) -> None:
    values = 0.4 * np.random.default_rng(0).standard_normal((3, 85)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    motion = read_smpl85(tmp_path / "x.npy")
    assert (motion.fps, motion.num_frames, motion.name) == (30.0, 3, "x")
    for frame, row in enumerate(values.astype(np.float64)):
        expected = smpl_joints(row[:66].reshape(22, 3), row[72:75])
        np.testing.assert_allclose(motion.joint_positions_m()[frame].numpy(), expected, atol=1e-5)


def test_columns_are_the_references(reference_dir: Path, tmp_path: Path) -> None:
    """The sample's own joints follow from its rotations and its body's bones; its pelvis from the translation."""
    with np.load(reference_dir / "motion272" / "sample.npz") as sample:
        np.save(tmp_path / "sample.npy", sample["smpl85_facing_z"])
        joints = torch.from_numpy(sample["joints_m"])
    motion = read_smpl85(tmp_path / "sample.npy")
    pelvis_from_trans = joints[:, 0] - motion.root_position_m
    assert float(pelvis_from_trans.std(dim=0).max()) < 1e-5  # a constant: the body's own shape and its floor
    world = motion.world_rotations()
    offsets = torch.zeros(22, 3)
    for joint, parent in enumerate(motion.skeleton.parents[1:], start=1):
        bone = quat_rotate(quat_conjugate(world[:, parent]), joints[:, joint] - joints[:, parent])
        offsets[joint] = bone.mean(dim=0)
    body = Skeleton("sample", motion.skeleton.joint_names, motion.skeleton.parents, offsets)
    posed, _ = forward_kinematics(body, motion.local_rotations, joints[:, 0])
    torch.testing.assert_close(posed, joints, atol=1e-5, rtol=0)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_round_trip_keeps_positions_and_rotations(tmp_path: Path, suffix: str) -> None:
    motion = small_motion()
    path = tmp_path / f"x{suffix}"
    write_smpl85(motion, path)
    again = read_smpl85(path)
    assert float((motion.joint_positions_m() - again.joint_positions_m()).norm(dim=-1).max()) < 1e-4
    assert float(quat_angle_rad(motion.local_rotations, again.local_rotations).max()) < 1e-4


def test_the_one_array_of_that_width_is_taken_from_an_npz(tmp_path: Path) -> None:
    write_smpl85(small_motion(), tmp_path / "a.npz")
    values = np.load(tmp_path / "a.npz")["smpl85"]
    np.savez(tmp_path / "b.npz", other=np.zeros((5, 3)), whatever=values)
    assert read_smpl85(tmp_path / "b.npz").num_frames == 5
    np.savez(tmp_path / "c.npz", one=values, two=values)
    with pytest.raises(BadInputError, match="expected one array"):
        read_smpl85(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.zeros((3, 84)), "expected one array of shape"),
        (np.zeros(85), "expected one array of shape"),
        (np.zeros((0, 85)), "no frames"),
        (np.full((3, 85), np.nan), "NaN"),
        (np.full((3, 85), 1e300), "infinity"),
        (np.full((3, 85), 200.0), "radians"),
        (np.zeros((3, 85), dtype=complex), "expected numbers"),
        (np.array([[None] * 85]), "pickled"),
    ],
)
def test_arrays_that_are_no_recording_are_refused(tmp_path: Path, values: np.ndarray, expected: str) -> None:
    np.save(tmp_path / "x.npy", values, allow_pickle=True)
    with pytest.raises(BadInputError, match=expected):
        read_smpl85(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", "empty"), (b"\x80\x04K\x01.", "pickle"), (b"HIERARCHY", "of another kind"), (b"\x93NUMPY", "cut off")],
)
def test_files_of_other_kinds_are_named_as_such(tmp_path: Path, data: bytes, expected: str) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(BadInputError, match=expected):
        read_smpl85(tmp_path / "x.npy")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    write_smpl85(small_motion(), tmp_path / "x.npy")
    data = (tmp_path / "x.npy").read_bytes()
    for length in range(0, len(data) - 1, 37):
        (tmp_path / "x.npy").write_bytes(data[:length])
        with pytest.raises(BadInputError, match=r"x\.npy"):
            read_smpl85(tmp_path / "x.npy")


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e9])
def test_unusable_rates_are_refused(tmp_path: Path, fps: float) -> None:
    write_smpl85(small_motion(), tmp_path / "x.npy")
    with pytest.raises(BadInputError, match="frame rate"):
        read_smpl85(tmp_path / "x.npy", fps=fps)
