"""`kinestream convert`: files in, files out, errors that say what to do."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinestream.io import read_motion
from kinestream.io.bvh import read_bvh_hierarchy, write_bvh
from kinestream.motion import Motion
from tests.cli.conftest import Run


def test_a_file_survives_the_way_to_npz_and_back(run: Run, clip_bvh: Path, swaying: Motion) -> None:
    assert run("convert", clip_bvh, "clip.npz").code == 0
    ended = run("convert", "clip.npz", "again.bvh")
    assert (ended.code, ended.out) == (0, "again.bvh\n")
    again = read_motion("again.bvh")
    order = [again.skeleton.index(name) for name in swaying.skeleton.joint_names]
    assert torch.allclose(again.joint_positions_m()[:, order], swaying.joint_positions_m(), atol=1e-3)


def test_fps_resamples(run: Run, clip_bvh: Path) -> None:
    assert run("convert", clip_bvh, "fast.bvh", "--fps", "60").code == 0
    assert read_motion("fast.bvh").fps == pytest.approx(60.0)
    assert read_motion("fast.bvh").num_frames == 29


def test_report_is_json_on_stdout_and_the_path_goes_to_stderr(run: Run, clip_bvh: Path) -> None:
    ended = run("convert", clip_bvh, "clip.npz", "--to", "smpl22", "--report")
    assert ended.code == 0
    assert json.loads(ended.out)["matched"]["pelvis"] == ["pelvis", "pelvis"]
    assert ended.err == "clip.npz\n"


def test_a_real_recording_becomes_smpl_without_being_asked(run: Run, bandai_namco_dir: Path) -> None:
    (clip,) = bandai_namco_dir.rglob("dataset-1_walk_normal_001.bvh")
    ended = run("convert", clip, "walk.npz")
    assert (ended.code, ended.out) == (0, "walk.npz\n")
    assert read_motion("walk.npz").skeleton.num_joints == 22


def test_a_rig_keeps_its_names_orders_and_units(run: Run, clip_bvh: Path, swaying: Motion) -> None:
    write_bvh(swaying, "rig.bvh", units_per_metre=1.0, rotation_order="XYZ")
    assert run("convert", clip_bvh, "mine.bvh", "--rig", "rig.bvh").code == 0
    rig, mine = read_bvh_hierarchy("rig.bvh"), read_bvh_hierarchy("mine.bvh")
    assert mine.joint_names == rig.joint_names
    assert mine.rotation_orders == rig.rotation_orders
    assert torch.allclose(torch.tensor(mine.offsets), torch.tensor(rig.offsets), atol=1e-4)


def test_a_map_file_names_unknown_bones(run: Run, swaying: Motion) -> None:
    from dataclasses import replace

    strange = {name: f"knochen{number}" for number, name in enumerate(swaying.skeleton.joint_names)}
    # All bones of one length: the structure does not say either which is which.
    offsets = 0.2 * torch.nn.functional.normalize(swaying.skeleton.offsets_m, dim=-1)
    skeleton = replace(swaying.skeleton, joint_names=tuple(strange.values()), offsets_m=offsets, end_sites={})
    write_bvh(replace(swaying, skeleton=skeleton), "strange.bvh")
    assert run("convert", "strange.bvh", "out.npz").code == 2
    Path("map.json").write_text(json.dumps({bone: joint for joint, bone in strange.items()}))
    assert run("convert", "strange.bvh", "out.npz", "--map", "map.json").code == 0


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "\x00", "[" * 100_000])
def test_a_map_file_that_is_none_is_refused(run: Run, clip_bvh: Path, text: str) -> None:
    Path("map.json").write_text(text)
    ended = run("convert", clip_bvh, "out.npz", "--to", "smpl22", "--map", "map.json")
    assert ended.code == 2
    assert "map.json" in ended.err


@pytest.mark.parametrize("content", [b"", b"HIERARCHY\n", b"\x00" * 100, b"MOTION\nFrames: 1\n"])
def test_a_damaged_file_is_one_line_and_leaves_nothing(run: Run, content: bytes) -> None:
    Path("bad.bvh").write_bytes(content)
    ended = run("convert", "bad.bvh", "out.npz")
    assert ended.code == 2
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert "bad.bvh" in ended.err
    assert [path.name for path in Path().iterdir()] == ["bad.bvh"]


def test_other_suffixes_are_refused_before_reading(run: Run, clip_bvh: Path) -> None:
    ended = run("convert", clip_bvh, "out.usd")
    assert ended.code == 2
    assert ".glb" in ended.err


def test_an_unwritable_folder_fails_and_leaves_nothing(run: Run, clip_bvh: Path) -> None:
    ended = run("convert", clip_bvh, "nowhere/out.bvh")
    assert ended.code == 2
    assert "nowhere" in ended.err


def _no_file_may_grow() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_a_disk_that_takes_no_more_fails_with_one_and_keeps_the_old_file(clip_bvh: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bvh"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-m", "kinestream.cli", "convert", str(clip_bvh), str(target), "--fps", "240"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_no_file_may_grow,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.bvh", "out.bvh"]


def test_several_outputs_and_cuts(run: Run, clip_bvh: Path, swaying: Motion) -> None:
    ended = run("convert", clip_bvh, "-o", "a.bvh", "-o", "b.npz", "--start", "0.1", "--end", "0.4", "--mirror")
    assert (ended.code, ended.out) == (0, "a.bvh\nb.npz\n")
    assert read_motion("a.bvh").num_frames == read_motion("b.npz").num_frames == 9
    assert run("convert", clip_bvh, "slow.bvh", "--speed", "0.5").code == 0
    assert read_motion("slow.bvh").num_frames == 2 * swaying.num_frames - 1


def test_two_files_become_one_that_loops(run: Run, clip_bvh: Path, swaying: Motion) -> None:
    assert run("convert", clip_bvh, clip_bvh, "--blend", "0.1", "-o", "two.bvh").code == 0
    assert read_motion("two.bvh").num_frames == 2 * swaying.num_frames - 3
    ended = run("convert", "two.bvh", "-o", "loop.bvh", "--loop", "--in-place")
    assert ended.code == 0
    assert "closed on the spot" in ended.err
    loop = read_motion("loop.bvh").joint_positions_m()
    assert torch.allclose(loop[0], loop[-1], atol=1e-4)


def test_files_of_other_skeletons_are_joined_on_the_first_ones(run: Run, clip_bvh: Path, swaying: Motion) -> None:
    from dataclasses import replace

    bigger = replace(swaying.skeleton, offsets_m=swaying.skeleton.offsets_m * 1.2)
    write_bvh(replace(swaying, skeleton=bigger, root_position_m=swaying.root_position_m * 1.2), "big.bvh")
    assert run("convert", clip_bvh, "big.bvh", "--blend", "0", "-o", "both.bvh").code == 0
    both = read_motion("both.bvh")
    assert both.num_frames == 2 * swaying.num_frames
    assert torch.allclose(
        both.skeleton.offsets_m[1:].norm(dim=-1), read_motion(clip_bvh).skeleton.offsets_m[1:].norm(dim=-1), atol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("x.bvh", "y.bvh"), "with -o"),
        ((), "file to write"),
        (("-o", "x.bvh", "--blend", "1"), "several files"),
        (("x.bvh", "--start", "2", "--end", "1"), "after --start"),
        (("x.bvh", "--start", "100"), "no frame"),
        (("x.bvh", "--speed", "0"), "above 0"),
        (("x.bvh", "--start", "-1"), "0 or more"),
        (("x.bvh", "--loop", "--end", "0.1"), "longer piece"),
    ],
)
def test_cuts_that_make_no_sense_are_refused(run: Run, clip_bvh: Path, options: tuple[str, ...], message: str) -> None:
    ended = run("convert", clip_bvh, *options)
    assert ended.code == 2
    assert message in ended.err
    assert not Path("x.bvh").exists()
