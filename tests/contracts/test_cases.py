"""The files that once came out wrong, each with its right value: see cases/README.md among the reference files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinestream.cli import main
from kinestream.cli.rig import load_rig
from kinestream.errors import BadInputError
from kinestream.io import read_motion_file
from kinestream.motion import Motion
from kinestream.skeleton import smpl22
from kinestream.skeleton.retarget import retarget


@pytest.fixture(scope="module")
def cases(shared_dir: Path) -> Path:
    folder = shared_dir / "cases" / "files"
    if not folder.is_dir():
        pytest.skip(f"needs the cases: {folder} is missing")
    return folder


def reached(motion: Motion) -> tuple[float, float]:
    height = motion.joint_positions_m()[..., 1]
    return float(height.min()), float(height.max())


def onto_smpl(path: Path, fps: float | None = None) -> tuple[Motion, dict[str, list[float]]]:
    """The motion on SMPL-22, and where its arms and trunk point in the first frame."""
    moved, _ = retarget(read_motion_file(path, fps=fps).motion, smpl22())
    place, index = moved.joint_positions_m()[0], smpl22().index
    ends = {
        "left": ("left_shoulder", "left_elbow"),
        "right": ("right_shoulder", "right_elbow"),
        "trunk": ("pelvis", "neck"),
    }
    bones = {name: place[index(b)] - place[index(a)] for name, (a, b) in ends.items()}
    return moved, {name: (bone / bone.norm()).tolist() for name, bone in bones.items()}


BASE = {"left": [0.50, 0.87, 0.0], "right": [-0.34, -0.94, 0.0], "trunk": [0.0, 1.0, -0.08]}
NAMES = (
    "biovision_classic", "cc_iclone", "daz_genesis8", "index_suffix", "mixamo_plain", "mmd_japanese",
    "optitrack_motive",
    "rokoko_newton", "slimevr", "suffix_side_thigh", "xsens_mvn",
)  # fmt: skip
PLAIN = (
    "base", "zup", "zup_motion_yup_rest", "decimetres", "frames_one_more", "comma_decimals", "two_roots",
    "wrong_frame_time", "zero_offsets_positions", "positions_all", *(f"names_{name}" for name in NAMES),
)  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_bodies_are_read_upright_in_metres_and_retargeted(cases: Path, name: str) -> None:
    found = read_motion_file(cases / f"{name}.bvh")
    low, high = reached(found.motion)
    assert low == pytest.approx(-0.027, abs=0.002)
    assert high == pytest.approx(1.884, abs=0.04)
    moved, bones = onto_smpl(cases / f"{name}.bvh")
    for bone, direction in BASE.items():
        assert bones[bone] == pytest.approx(direction, abs=0.01)
    lowest = moved.joint_positions_m()[..., 1].amin(dim=1)
    assert -0.026 < float(lowest.min()) <= float(lowest.max()) < 0.002


@pytest.mark.parametrize("name", PLAIN)
def test_as_rigs_they_take_the_plain_motion_as_it_was(cases: Path, name: str) -> None:
    base = read_motion_file(cases / "base.bvh").motion
    rig = load_rig(cases / f"{name}.bvh")
    moved, _ = retarget(base, rig.skeleton, target_example=rig.example)
    torch.testing.assert_close(moved.joint_positions_m(), base.joint_positions_m(), atol=2e-3, rtol=0)


def test_a_bow_turns_no_pelvis(cases: Path) -> None:
    plain, _ = onto_smpl(cases / "bow_mixamo_plain.bvh")
    other, _ = onto_smpl(cases / "bow_suffix_side_thigh.bvh")
    torch.testing.assert_close(other.joint_positions_m(), plain.joint_positions_m(), atol=1e-4, rtol=0)
    torch.testing.assert_close(other.local_rotations[:, 0], plain.local_rotations[:, 0], atol=1e-4, rtol=0)


def test_a_tangled_rig_rests_as_its_take(cases: Path) -> None:
    base = read_motion_file(cases / "base.bvh").motion
    rig = load_rig(cases / "tangled_rig_with_t_pose_take.bvh")
    moved, report = retarget(base, rig.skeleton, target_example=rig.example)
    assert report.target_rest == "first frame"
    torch.testing.assert_close(moved.joint_positions_m(), base.joint_positions_m(), atol=3e-3, rtol=0)


def test_a_step_up_leaves_the_floor_where_it_was(cases: Path) -> None:
    moved, _ = onto_smpl(cases / "step_up_then_stay_15cm.bvh")
    lowest = moved.joint_positions_m()[..., 1].amin(dim=1)
    assert float(lowest[0]) == pytest.approx(0.0, abs=0.002)
    assert float(lowest[-1]) == pytest.approx(0.141, abs=0.002)


def test_a_sole_without_toes_stands_on_the_floor(cases: Path) -> None:
    rig = load_rig(cases / "no_toe_joints.bvh")
    standing = read_motion_file(cases / "bow_mixamo_plain.bvh").motion
    _, report = retarget(standing, rig.skeleton)
    assert max(map(abs, report.foot_height_m)) < 0.002


@pytest.mark.parametrize(
    ("name", "fps", "up"),
    [("beat2_yup_165.npz", None, "y"), ("gvhmr_yup.npz", 30.0, "y"), ("poses_66.npz", None, "z"),
     ("poses_T24x3.npz", None, "z")],
)  # fmt: skip
def test_smpl_arrays_come_upright(cases: Path, name: str, fps: float | None, up: str) -> None:
    found = read_motion_file(cases / name, fps=fps)
    assert found.up == up
    place, index = found.motion.joint_positions_m(), smpl22().index
    assert float((place[:, index("head"), 1] - place[:, index("left_foot"), 1]).min()) > 1.3


@pytest.mark.parametrize(("name", "frames"), [("hml263.npy", 8), ("joints_22x3.npy", 8)])
def test_features_and_positions_are_read(cases: Path, name: str, frames: int) -> None:
    assert read_motion_file(cases / name).motion.num_frames == frames


def test_a_wrong_rate_is_replaced(cases: Path) -> None:
    assert read_motion_file(cases / "wrong_frame_time.bvh", fps=120.0).motion.fps == 120.0


@pytest.mark.parametrize(
    ("name", "words"),
    [("frame_time_zero", "--input-fps 30"), ("nan_value", "line 132.*Xposition of 'Hips' in frame 3")],
)
def test_what_has_no_plain_meaning_is_one_error(cases: Path, name: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_motion_file(cases / f"{name}.bvh")
    assert name != "frame_time_zero" or read_motion_file(cases / f"{name}.bvh", fps=30.0).motion.num_frames == 2


@pytest.mark.parametrize("verb", ["info", "inspect", "render", "convert"])
def test_every_verb_that_reads_takes_the_options(cases: Path, tmp_path: Path, verb: str) -> None:
    outputs = {"render": ["-o", str(tmp_path / "x.png"), "--poses", "2"], "convert": [str(tmp_path / "x.glb")]}
    for name, options in (
        ("gvhmr_yup.npz", ["--up", "y", "--input-fps", "30"]),
        ("decimetres.bvh", ["--unit", "dm"]),
        ("wrong_frame_time.bvh", ["--input-fps", "120"]),
    ):
        assert main([verb, str(cases / name), *outputs.get(verb, []), *options]) == 0
