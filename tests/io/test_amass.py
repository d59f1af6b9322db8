from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.io.amass import POSE_WIDTHS, BodyModel, read_amass_npz, write_amass_npz
from kinestream.motion import Motion
from kinestream.rotations import quat_angle_rad
from kinestream.skeleton import Skeleton, smpl22
from tests.io.smpl_files import small_motion, smpl_joints


def amass_arrays(frames: int = 4, width: int = 156) -> dict[str, Any]:
    """What an AMASS file of a standing person holds (Z up: the rest pose is turned by +90 degrees about X)."""
    rng = np.random.default_rng(0)
    poses = np.zeros((frames, width))
    poses[:, :66] = 0.2 * rng.standard_normal((frames, 66))
    poses[:, :3] = [np.pi / 2, 0.0, 0.0]
    trans = np.array([0.3, -0.7, 0.95]) + 0.1 * rng.standard_normal((frames, 3))
    return {"poses": poses, "trans": trans, "betas": np.ones(16), "gender": "male", "mocap_framerate": 120.0}


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "clip.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("up", ["z", "y"])
def test_joints_are_those_of_smpls_definition_turned_y_up(tmp_path: Path, up: Any) -> None:
    arrays = amass_arrays()
    motion = read_amass_npz(saved(tmp_path, **arrays), up=up)
    for frame in range(4):
        x, y, z = smpl_joints(arrays["poses"][frame, :66].reshape(22, 3), arrays["trans"][frame]).T
        expected = np.stack((x, z, -y) if up == "z" else (x, y, z), axis=-1)
        np.testing.assert_allclose(motion.joint_positions_m()[frame].numpy(), expected, atol=1e-5)


def test_a_z_up_person_stands_upright_and_faces_forward(tmp_path: Path) -> None:
    arrays = amass_arrays()
    arrays["poses"][:, 3:] = 0.0
    motion = read_amass_npz(saved(tmp_path, **arrays))
    joints = motion.joint_positions_m()[0]
    assert float(joints[15, 1] - joints[7, 1]) > 1.2  # head above ankle
    assert float(joints[10, 2] - joints[7, 2]) > 0.05  # toes point along +Z
    assert float(joints[0, 1]) == pytest.approx(arrays["trans"][0, 2] + 0.0282, abs=1e-3)


@pytest.mark.parametrize("body_model", get_args(BodyModel))
@pytest.mark.parametrize("up", ["z", "y"])
def test_round_trip_keeps_positions_and_rotations(tmp_path: Path, body_model: BodyModel, up: Any) -> None:
    motion = small_motion(fps=59.94)
    write_amass_npz(motion, tmp_path / "x.npz", body_model=body_model, up=up)
    again = read_amass_npz(tmp_path / "x.npz", up=up)
    assert float((motion.joint_positions_m() - again.joint_positions_m()).norm(dim=-1).max()) < 1e-4
    assert float(quat_angle_rad(motion.local_rotations, again.local_rotations).max()) < 1e-4
    assert again.fps == motion.fps
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert arrays["poses"].shape == (5, POSE_WIDTHS[body_model])
        assert not arrays["betas"].any()
        assert str(arrays["gender"]) == "neutral"
        if body_model == "smplx":
            parts = [arrays[name] for name in ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand")]
            np.testing.assert_array_equal(np.concatenate(parts, axis=1), arrays["poses"])


def test_every_key_family_gives_the_same_motion(tmp_path: Path) -> None:
    arrays = amass_arrays(width=165)
    expected = read_amass_npz(saved(tmp_path, **arrays)).joint_positions_m()
    poses, trans = arrays["poses"], arrays["trans"]
    families: list[dict[str, Any]] = [
        {"root_orient": poses[:, :3], "pose_body": poses[:, 3:66], "trans": trans, "mocap_frame_rate": 120.0},
        {"global_orient": poses[:, :3], "body_pose": poses[:, 3:72], "transl": trans, "fps": np.array([120])},
        {"poses": poses[:, :72].astype(np.float32), "trans": trans.astype(np.float32), "mocap_framerate": 120},
        {"poses": np.asfortranarray(poses[:, :156]), "trans": np.asfortranarray(trans), "mocap_framerate": 120},
    ]
    for family in families:
        motion = read_amass_npz(saved(tmp_path, **family))
        torch.testing.assert_close(motion.joint_positions_m(), expected, atol=1e-5, rtol=0)
        assert motion.fps == 120.0


def test_missing_rate_must_be_given(tmp_path: Path) -> None:
    arrays = amass_arrays()
    del arrays["mocap_framerate"]
    path = saved(tmp_path, **arrays)
    with pytest.raises(BadInputError, match="does not say its frame rate"):
        read_amass_npz(path)
    assert read_amass_npz(path, fps=60).fps == 60.0


class _Evil:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code in a pickle ran",))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"poses": np.zeros((4, 150))}, "'poses' of shape"),
        ({"poses": np.zeros((4, 51, 3))}, "'poses' of shape"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "no frames"),
        ({"poses": np.full((4, 156), np.nan)}, "NaN"),
        ({"poses": np.full((4, 156), 90.0) * 2}, "radians"),
        ({"poses": np.array([["a"] * 156] * 4)}, "expected numbers"),
        ({"poses": np.array([[_Evil()] * 156] * 4)}, "pickled"),
        ({"trans": np.zeros((3, 3))}, "expected 'trans' of shape"),
        ({"trans": np.full((4, 3), np.inf)}, "NaN or infinity"),
        ({"trans": np.full((4, 3), 1e6)}, "metres"),
        ({"trans": None}, "no array 'trans'"),
        ({"poses": None}, "no body parameters"),
        ({"mocap_framerate": -30.0}, "frame rate"),
        ({"mocap_framerate": np.nan}, "frame rate"),
        ({"mocap_framerate": "fast"}, "expected one number"),
        ({"mocap_framerate": np.arange(3.0)}, "expected one number"),
    ],
)
def test_arrays_that_are_no_recording_are_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    arrays = {name: array for name, array in {**amass_arrays(), **change}.items() if array is not None}
    with pytest.raises(BadInputError, match=expected):
        read_amass_npz(saved(tmp_path, **arrays))


def test_objects_beside_the_poses_are_never_loaded(tmp_path: Path) -> None:
    """Some sets store the gender as a Python object; nothing needs it."""
    assert read_amass_npz(saved(tmp_path, **{**amass_arrays(), "gender": np.array(_Evil())})).num_frames == 4


def test_an_array_that_announces_more_than_it_holds_allocates_nothing(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 156)})
    path = saved(tmp_path, trans=np.zeros((4, 3)), mocap_framerate=30)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("poses.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(BadInputError, match="cut off"):
        read_amass_npz(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = saved(tmp_path, **amass_arrays()).read_bytes()
    path = tmp_path / "cut.npz"
    for length in range(0, len(data) - 1, 97):
        path.write_bytes(data[:length])
        with pytest.raises(BadInputError, match=r"cut\.npz"):
            read_amass_npz(path)


def test_motion_on_another_body_is_not_written_as_smpl(tmp_path: Path) -> None:
    motion = small_motion()
    taller = Skeleton("tall", smpl22().joint_names, smpl22().parents, smpl22().offsets_m * 1.1)
    other = Skeleton("stick", ("a", "b"), (-1, 0), torch.ones(2, 3))
    with pytest.raises(BadInputError, match="retarget"):
        write_amass_npz(Motion(taller, motion.local_rotations, motion.root_position_m, 30.0), tmp_path / "x.npz")
    with pytest.raises(BadInputError, match="retarget"):
        write_amass_npz(Motion(other, motion.local_rotations[:, :2], motion.root_position_m, 30.0), tmp_path / "x.npz")
    with pytest.raises(BadInputError, match="body model"):
        write_amass_npz(motion, tmp_path / "x.npz", body_model="mano")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_headers_from_python_2_are_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    arrays = amass_arrays()
    path = saved(tmp_path, **{name: array for name, array in arrays.items() if name != "trans"})
    out = io.BytesIO()
    np.save(out, arrays["trans"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("trans.npy", out.getvalue().replace(b"(4, 3), }  ", b"(4L, 3L), }"))
    assert read_amass_npz(path).num_frames == 4
    assert not recwarn.list
