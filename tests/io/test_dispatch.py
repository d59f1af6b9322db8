from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import motion272_from_motion
from kinestream.io import WRITE_SUFFIXES, read_motion, write_motion
from kinestream.io.amass import write_amass_npz
from kinestream.io.atomic import atomic_path
from kinestream.io.smpl85 import write_smpl85
from tests.io.bvh_reference import SMALL_RIG
from tests.io.smpl_files import small_motion


@pytest.mark.parametrize("suffix", [".bvh", ".npz", ".npy", ".BVH"])
def test_what_is_written_by_suffix_is_read_by_suffix(tmp_path: Path, suffix: str) -> None:
    motion = small_motion()
    write_motion(motion, tmp_path / f"x{suffix}")
    again = read_motion(tmp_path / f"x{suffix}")
    order = [again.skeleton.index(name) for name in motion.skeleton.joint_names]
    assert float((motion.joint_positions_m() - again.joint_positions_m()[:, order]).norm(dim=-1).max()) < 1e-3


def test_arrays_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    motion = small_motion()
    write_amass_npz(motion, tmp_path / "amass.npz")
    write_smpl85(motion, tmp_path / "smpl85.npz")
    features = motion272_from_motion(motion)
    np.save(tmp_path / "features.npy", features.numpy())
    assert read_motion(tmp_path / "amass.npz").num_frames == motion.num_frames
    assert read_motion(tmp_path / "smpl85.npz", fps=60.0).fps == 60.0
    again = read_motion(tmp_path / "features.npy")
    torch.testing.assert_close(motion272_from_motion(again)[:, 140:], features[:, 140:], atol=1e-4, rtol=0)
    assert again.name == "features"


def test_options_that_a_format_does_not_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bvh").write_text(SMALL_RIG)
    np.save(tmp_path / "x.npy", motion272_from_motion(small_motion()).numpy())
    assert read_motion(tmp_path / "x.bvh", fps=60.0).fps == 60.0
    with pytest.raises(BadInputError, match="up axis"):
        read_motion(tmp_path / "x.bvh", up="w")
    with pytest.raises(BadInputError, match="30 fps by definition"):
        read_motion(tmp_path / "x.npy", fps=60.0)
    with pytest.raises(BadInputError, match="metres"):
        read_motion(tmp_path / "x.npy", metres_per_unit=0.01)


@pytest.mark.parametrize("name", ["x.obj", "x.txt", "x", ".bvh"])
def test_names_of_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SMALL_RIG)
    with pytest.raises(BadInputError, match="expected a file named"):
        read_motion(tmp_path / name)


def test_mislabelled_files_are_refused(tmp_path: Path) -> None:
    motion = small_motion()
    write_amass_npz(motion, tmp_path / "good.npz")
    (tmp_path / "npz.bvh").write_bytes((tmp_path / "good.npz").read_bytes())
    (tmp_path / "bvh.npz").write_text(SMALL_RIG)
    np.save(tmp_path / "other.npy", np.zeros((5, 261)))
    for name in ("npz.bvh", "bvh.npz", "other.npy", "missing.npy", "missing.bvh"):
        with pytest.raises(BadInputError, match=name):
            read_motion(tmp_path / name)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITE_SUFFIXES if suffix not in (".html", ".mp4")])
def test_several_motions_go_only_where_they_stand_side_by_side(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(BadInputError, match="holds one motion, got 2"):
        write_motion([small_motion(), small_motion()], tmp_path / f"x{suffix}")
    with pytest.raises(BadInputError, match="got 0"):
        write_motion([], tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffixes_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="expected a file named"):
        write_motion(small_motion(), tmp_path / "x.c3d")


# --- whole or not at all ---


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), BadInputError("no")])
def test_an_interrupted_write_changes_nothing(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:  # noqa: PT012 (the block is what is tested)
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]


def test_a_full_disk_is_one_clear_error_that_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with pytest.raises(KinestreamError, match="No space left") as caught, atomic_path(target):
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux")
def test_devices_and_folders_are_not_replaced(tmp_path: Path) -> None:
    for target in (Path("/dev/full"), tmp_path):
        with pytest.raises(BadInputError, match="not a regular file"), atomic_path(target):
            pass
    with pytest.raises(BadInputError), atomic_path(tmp_path / "x\0y"):
        pass


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_path(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
