"""Arrays in the shapes that people have: SMPL poses, joint positions, features, with their up axes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError, InputWarning
from kinestream.features.humanml import humanml263_from_motion
from kinestream.io import read_motion, read_motion_file
from kinestream.io.amass import write_amass_npz
from kinestream.motion import Motion, resample
from kinestream.rotations import matrix_from_quat, quat_from_rotvec
from kinestream.skeleton import smpl22
from tests.skeleton.retarget_rigs import walk_and_wave

FRAMES = 12


@pytest.fixture
def walk() -> Motion:
    return walk_and_wave(FRAMES)


def parameters(walk: Motion, tmp_path: Path, up: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    write_amass_npz(walk, tmp_path / "amass.npz", body_model="smplx", up=up)  # type: ignore[arg-type]
    found = np.load(tmp_path / "amass.npz")
    return found["poses"], found["trans"]


def assert_same(found: Motion, walk: Motion, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found.joint_positions_m(), walk.joint_positions_m(), atol=atol, rtol=0)


SHAPES = {
    "66": lambda p: p[:, :66],
    "72": lambda p: np.concatenate((p[:, :66], np.zeros((len(p), 6))), axis=1),
    "156": lambda p: np.concatenate((p[:, :66], np.zeros((len(p), 90))), axis=1),
    "159": lambda p: p[:, :159],
    "165": lambda p: p,
    "22x3": lambda p: p[:, :66].reshape(-1, 22, 3),
    "24x3": lambda p: p[:, :72].reshape(-1, 24, 3),
    "52x3": lambda p: p[:, :156].reshape(-1, 52, 3),
    "55x3": lambda p: p.reshape(-1, 55, 3),
    "24 matrices": lambda p: matrix_from_quat(quat_from_rotvec(torch.from_numpy(p[:, :72].reshape(-1, 24, 3)))).numpy(),
}


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("shape", SHAPES)
def test_poses_of_every_shape_are_one_motion(tmp_path: Path, walk: Motion, shape: str, up: str) -> None:
    poses, trans = parameters(walk, tmp_path, up)
    np.savez(tmp_path / "x.npz", poses=SHAPES[shape](poses), trans=trans, fps=30)
    found = read_motion_file(tmp_path / "x.npz")
    assert (found.up, found.up_how, found.warnings) == (up, "movement", ())
    assert_same(found.motion, walk)


@pytest.mark.parametrize(
    "names",
    [
        ("global_orient", "body_pose", "transl"),
        ("root_orient", "pose_body", "trans"),
        ("smpl_params_global/global_orient", "smpl_params_global/body_pose", "smpl_params_global/transl"),
        ("pose_world", None, "trans_world"),
        ("smpl_poses", None, "smpl_trans"),
    ],
)
def test_parameters_under_the_names_of_other_programs(
    tmp_path: Path, walk: Motion, names: tuple[str, str | None, str]
) -> None:
    poses, trans = parameters(walk, tmp_path, "y")
    root, body, place = names
    arrays = {place: trans, root: poses[:, :72] if body is None else poses[:, :3]}
    arrays |= {} if body is None else {body: poses[:, 3:66].reshape(-1, 21, 3)}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BadInputError, match=r"frame rate.*--input-fps"):
        read_motion(tmp_path / "x.npz")
    found = read_motion_file(tmp_path / "x.npz", fps=30.0)
    assert found.up == "y"
    assert_same(found.motion, walk)


def test_motion_x_is_read_by_its_width(tmp_path: Path, walk: Motion) -> None:
    poses, trans = parameters(walk, tmp_path, "y")
    rows = np.zeros((FRAMES, 322), dtype=np.float32)
    rows[:, :66], rows[:, 309:312] = poses[:, :66], trans
    np.save(tmp_path / "x.npy", rows)
    assert_same(read_motion(tmp_path / "x.npy", fps=30.0), walk)


@pytest.mark.parametrize("shape", ["66", "72", "24x3", "52x3", "159", "165"])
def test_a_pose_alone_stays_in_place_on_the_floor(tmp_path: Path, walk: Motion, shape: str) -> None:
    poses, _ = parameters(walk, tmp_path, "z")
    np.save(tmp_path / "x.npy", SHAPES[shape](poses))
    found = read_motion_file(tmp_path / "x.npy")
    assert (found.up, found.motion.fps) == ("z", 30.0)
    assert [word in " ".join(found.warnings) for word in ("no rate", "no translation")] == [True, True]
    centred = [m.joint_positions_m() - m.root_position_m[:, None] for m in (found.motion, walk)]
    torch.testing.assert_close(centred[0], centred[1], atol=1e-4, rtol=0)
    assert float(found.motion.joint_positions_m()[..., 1].min()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("joints", "metres"), [(22, 1.0), (22, 0.001), (24, 1.0)])
@pytest.mark.parametrize("up", ["y", "z"])
def test_joint_positions_are_read(tmp_path: Path, walk: Motion, joints: int, metres: float, up: str) -> None:
    positions = walk.joint_positions_m().numpy().astype(np.float64) / metres
    positions = (
        positions if up == "y" else np.stack((positions[..., 0], -positions[..., 2], positions[..., 1]), axis=-1)
    )
    hands = positions[:, [20, 21]] + 0.05 / metres
    np.save(tmp_path / "x.npy", np.concatenate((positions, hands), axis=1)[:, :joints])
    found = read_motion_file(tmp_path / "x.npy")
    assert (found.up, found.metres_per_unit, found.motion.fps) == (up, metres, 20.0)
    assert "no rate" in found.warnings[0]
    assert_same(found.motion, walk, atol=0.03)  # what twist a body had cannot be seen


def test_positions_of_another_body_keep_its_bones(tmp_path: Path, walk: Motion) -> None:
    np.save(tmp_path / "x.npy", 0.7 * walk.joint_positions_m().numpy())
    found = read_motion(tmp_path / "x.npy", fps=30.0)
    lengths = [skeleton.offsets_m[1:].norm(dim=-1) for skeleton in (found.skeleton, smpl22())]
    torch.testing.assert_close(lengths[0], 0.7 * lengths[1], atol=1e-3, rtol=0)


def test_humanml3d_features_are_read(tmp_path: Path, walk: Motion) -> None:
    slow = resample(walk_and_wave(60), 20.0)
    np.save(tmp_path / "x.npy", humanml263_from_motion(slow).numpy())
    found = read_motion(tmp_path / "x.npy")
    assert (found.fps, found.num_frames) == (20.0, slow.num_frames - 1)
    height = [m.joint_positions_m()[:-1, 15, 1] for m in (found, slow.slice(0, slow.num_frames - 1))]
    torch.testing.assert_close(height[0], height[1], atol=0.03, rtol=0)
    with pytest.raises(BadInputError, match="20 fps by definition"):
        read_motion(tmp_path / "x.npy", fps=30.0)


class _Evil:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code in a pickle ran",))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pkl", "x.pt"])
def test_pickles_are_never_run_and_the_error_says_how_to_convert(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "x.npy":
        np.save(path, np.array({"poses": _Evil()}, dtype=object), allow_pickle=True)
    elif name == "x.npz":
        np.savez(path, poses=np.array([_Evil()], dtype=object))
    else:
        path.write_bytes(pickle.dumps({"poses": _Evil()}))
    with pytest.raises(BadInputError, match=r"pickle.*numpy\.savez\('out\.npz', poses="):
        read_motion(path)


def test_what_is_odd_is_a_warning_of_its_own_kind(tmp_path: Path, walk: Motion) -> None:
    np.save(tmp_path / "x.npy", walk.joint_positions_m().numpy())
    with pytest.warns(InputWarning, match="no rate"):
        read_motion(tmp_path / "x.npy")
