"""People's own motions with their own sentences: what is found, what is refused and why, and splits of whole files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kinestream.data.build import DEFAULT_PAIRS, BuildOptions, build
from kinestream.data.clips import MotionClips, StreamPairs
from kinestream.data.layout import read_features, read_text_lines
from kinestream.data.manifest import Manifest
from kinestream.data.sources.motions import OwnMotions
from kinestream.data.splits import assign_file_splits
from kinestream.data.text.captions import swap_sides
from kinestream.errors import BadInputError
from kinestream.features import motion_from_motion272
from kinestream.io import write_motion
from tests.data.own_takes import write_takes
from tests.io.walking import crane, walking

QUICK = BuildOptions(pairs=0, workers=1)


def built(folder: Path, root: Path, options: BuildOptions = QUICK) -> Manifest:
    return build({"motions": folder}, root, options, progress=False)


def lines_of(root: Path, name: str) -> list[tuple[str, float, float]]:
    return [(line.caption, line.start_s, line.end_s) for line in read_text_lines(root / "texts" / f"{name}.txt")]


def test_takes_of_a_foreign_rig_become_training_clips_with_their_sentences(tmp_path: Path) -> None:
    root = tmp_path / "set"
    manifest = built(write_takes(tmp_path / "takes"), root)
    name = "OWN_walks__take_0"
    assert lines_of(root, name) == [
        ("walks in a curve to the left", 0.0, 0.0),
        ("A person moves, take 0!", 0.0, 0.0),
    ]
    # The mirrored copy says the other side, and its body does so.
    assert lines_of(root, f"M_{name}")[0][0] == "walks in a curve to the right"
    clip = manifest.clip(name)
    assert (clip.content, clip.recording_id) == ("walks", "walks/take 0.bvh")
    motion = motion_from_motion272(torch.from_numpy(read_features(root / "motion_data" / f"{name}.npy")))
    assert clip.frames == pytest.approx(70, abs=1)
    positions = motion.joint_positions_m()
    assert abs(float(positions[..., 1].min())) < 0.02, "on the floor"
    assert 1.4 < float(positions[0, :, 1].max()) < 1.9, "in metres, as large as SMPL"
    assert float(positions[-1, 0, 2] - positions[0, 0, 2]) > 1.0, "it walks forward"


def test_a_table_gives_sentences_for_files_and_parts_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "takes"
    (folder / "sub").mkdir(parents=True)
    write_motion(walking(frames=120), folder / "a.npz")
    write_motion(walking(frames=90), folder / "sub" / "b.bvh")
    write_motion(walking(frames=90, wave=True), folder / "c.npy")
    (folder / "c.txt").write_text("waves")
    (folder / "captions.csv").write_text(
        "\ufeffFile;Caption;start;end\n"
        'a.npz;"walks; slowly";0;2\na;"turns #1 left";2;\nsub\\b.bvh;strolls;;\nc;waves a hand;;\nnone.bvh;jumps;;\n',
        encoding="utf-8",
    )
    root = tmp_path / "set"
    manifest = built(folder, root, BuildOptions(pairs=12, workers=1))
    assert lines_of(root, "OWN_a") == [("walks; slowly", 0.0, 2.0), ("turns 1 left", 2.0, 0.0)]
    assert [line[0] for line in lines_of(root, "OWN_c")] == ["waves", "waves a hand"]
    assert manifest.clip("OWN_sub__b").captions == 1
    assert [(reject["name"], reject["reason"]) for reject in manifest.rejects] == [
        ("none.bvh", "captions.csv, line 6: no motion file of that name")
    ]
    parts = {part.name: part for split in ("train", "val", "test") for part in MotionClips.load([root], split).parts}
    assert set(parts) == {f"{m}OWN_{name}" for m in ("", "M_") for name in ("a", "sub__b", "c")}


def test_pairs_of_a_tiny_set_come_from_parts_that_are_long_enough(tmp_path: Path) -> None:
    folder = tmp_path / "takes"
    folder.mkdir()
    for number in range(4):
        write_motion(walking(frames=120, turn_radps=0.2 * number), folder / f"{number}.npz")
        (folder / f"{number}.txt").write_text("steps#x#0.0#0.5\nwalks on#x#0.5#0\n")
    root = tmp_path / "set"
    manifest = built(folder, root, BuildOptions(workers=1))
    assert 0 < len(manifest.pairs) < DEFAULT_PAIRS
    assert {pair.after for pair in StreamPairs.load([root], "train").pairs} == {"walks on"}


def test_what_has_no_caption_or_is_no_motion_is_named_with_its_reason(tmp_path: Path) -> None:
    folder = write_takes(tmp_path / "takes", 2)
    write_motion(walking(), folder / "silent.bvh")
    (folder / "broken.bvh").write_text("HIERARCHY")
    (folder / "broken.txt").write_text("walks")
    write_motion(crane(), folder / "crane.bvh")
    (folder / "crane.txt").write_text("lifts a load")
    write_motion(walking(), folder / "twice.bvh")
    write_motion(walking(), folder / "twice.npz")
    (folder / "twice.txt").write_text("walks")
    write_motion(walking(frames=60), folder / "late.bvh")
    (folder / "late.txt").write_text("walks#x#9#10\n")
    write_motion(walking(), folder / "words.bvh")
    (folder / "words.txt").write_text("...\n")
    (folder / ".hidden.bvh").write_text("not looked at")
    reasons = {reject["name"]: reject["reason"] for reject in built(folder, tmp_path / "set").rejects}
    assert set(reasons) == {"silent.bvh", "OWN_broken", "OWN_crane", "twice.npz", "OWN_late", "words.bvh"}
    assert "silent.txt" in reasons["silent.bvh"]
    assert "joints" in reasons["OWN_crane"] or "bone" in reasons["OWN_crane"]
    assert "twice.bvh" in reasons["twice.npz"]
    assert "starts at 9 s" in reasons["OWN_late"]
    assert "words.txt, line 1" in reasons["words.bvh"]
    assert str(tmp_path) not in json.dumps(reasons)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found no motion file"),
        ({"a.bvh": "", "b.bvh": ""}, r"none of its 2 motion files can be used; the first, a\.bvh: no caption"),
        ({"a.bvh": "", "c.csv": "name,text\n"}, "columns file, caption"),
        ({"a.bvh": "", "c.csv": ""}, "columns file, caption"),
        ({"a.bvh": "", "c.csv": "file,caption\na.bvh,walks, slowly\n"}, "in quotes"),
        ({"a.bvh": "", "b.csv": "", "c.csv": ""}, r"one table of captions, got b\.csv, c\.csv"),
        ({"a.bvh": "", "c.csv": "file,caption,start\na,walks,soon\n"}, "no caption"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=message):
        OwnMotions().find(tmp_path)


def test_one_file_alone_is_refused_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="at least two are needed"):
        built(write_takes(tmp_path / "takes", 1), tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.parametrize("count", range(2, 40))
def test_a_tiny_set_trains_and_validates_on_whole_files(count: int) -> None:
    names = [f"OWN_take_{number}" for number in range(count)]
    splits = assign_file_splits(names)
    assert assign_file_splits(names[::-1]) == splits
    counts = {split: sum(value == split for value in splits.values()) for split in ("train", "val", "test")}
    assert counts["val"] >= 1
    assert (counts["test"] >= 1) == (count >= 3)
    assert counts["train"] >= max(1, count // 2 - (count == 3))
    assert sum(counts.values()) == count


def test_a_large_set_of_files_has_the_usual_shares() -> None:
    splits = list(assign_file_splits([f"OWN_{number}" for number in range(2000)]).values())
    assert 0.12 < splits.count("test") / 2000 < 0.18
    assert 0.03 < splits.count("val") / 2000 < 0.07


def test_the_manifest_says_what_was_split_how(tmp_path: Path) -> None:
    manifest = built(write_takes(tmp_path / "takes", 2), tmp_path / "set")
    assert "whole files by the SHA-256 of their names: 1 in train, 1 in val, 0 in test" in " ".join(manifest.notes)
    assert "3 are needed" in " ".join(manifest.notes)
    splits = {clip.recording: clip.split for clip in manifest.clips}
    assert all(clip.split == splits[clip.recording] for clip in manifest.clips), "copies stay with their recording"


def test_new_sentences_leave_the_motions_alone(tmp_path: Path) -> None:
    folder, root = write_takes(tmp_path / "takes", 2), tmp_path / "set"
    built(folder, root)
    motion = root / "motion_data" / "OWN_walks__take_0.npy"
    before = motion.stat().st_mtime_ns
    (folder / "walks" / "take 0.txt").write_text("marches")
    built(folder, root)
    assert motion.stat().st_mtime_ns == before
    assert lines_of(root, "OWN_walks__take_0") == [("marches", 0.0, 0.0)]


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("turns counter-clockwise to the left", "turns clockwise to the right"),
        ("Clockwise, then leftwards", "Counterclockwise, then rightwards"),
        ("left-handed, brightly, a leftover", "right-handed, brightly, a leftover"),
    ],
)
def test_mirrored_sentences_say_the_other_side(text: str, mirrored: str) -> None:
    assert swap_sides(text) == mirrored
