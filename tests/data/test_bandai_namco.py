"""The Bandai-Namco set: labels from names, mislabelled files refused, real clips upright on the floor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinestream.data.build import BuildOptions, build
from kinestream.data.prepare import smpl22_motion
from kinestream.data.sources.bandai_namco import BandaiNamco
from kinestream.errors import BadInputError


def listed(root: Path, names: list[str]) -> Path:
    data = root / "Bandai-Namco-Research-Motiondataset-1" / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data.parent / "cfg").mkdir(exist_ok=True)
    (data.parent / "cfg" / "content_label.txt").write_text("dataset-1_walk\ndataset-1_bow\n")
    (data.parent / "cfg" / "style_label.txt").write_text("dataset-1_normal\ndataset-1_old\n")
    for name in names:
        (data / f"{name}.bvh").write_text("HIERARCHY\n")
    return data


def test_labels_come_from_the_names_and_are_merged(tmp_path: Path) -> None:
    listed(tmp_path, ["dataset-1_walk_old_001", "dataset-1_dance-short_normal_001"])
    walk, dance = sorted(BandaiNamco().find(tmp_path).recordings, key=lambda r: r.name, reverse=True)
    assert (walk.name, walk.content, walk.style, walk.recording_id) == (
        "BN1_walk_old_001",
        "walk",
        "old",
        "dataset-1/001",
    )
    assert (dance.content, dance.source_content) == ("dance", "dance-short")
    assert [segment.content for segment in dance.segments] == ["stand", "dance"]


def test_wrong_names_labels_and_label_files_are_rejects(tmp_path: Path) -> None:
    data = listed(tmp_path, ["dataset-1_walk_old_001", "dataset-1_walk_old_002", "dataset-1_walk_grumpy_001", "take 7"])
    (data / "dataset-1_walk_old_001.json").write_text(json.dumps({"content": 0, "style": 1}))
    (data / "dataset-1_walk_old_002.json").write_text(json.dumps({"content": 1, "style": 1}))
    listing = BandaiNamco().find(tmp_path)
    assert [r.name for r in listing.recordings] == ["BN1_walk_old_001"]
    reasons = {reject.name: reject.reason for reject in listing.rejects}
    assert "mislabelled" in reasons["dataset-1_walk_old_002"]
    assert "grumpy" in reasons["dataset-1_walk_grumpy_001"]
    assert "CONTENT_STYLE_ID" in reasons["take 7"]


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    listed(tmp_path / "real", ["dataset-1_walk_old_001"])
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real" / "circle").symlink_to(tmp_path / "given", target_is_directory=True)
    assert len(BandaiNamco().find(tmp_path / "given").recordings) == 1


def test_a_folder_without_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="dataset-N_CONTENT_STYLE_ID"):
        BandaiNamco().find(tmp_path)


def test_real_recordings_stand_on_the_floor_and_face_z(bandai_namco_dir: Path) -> None:
    source = BandaiNamco()
    wanted = {"BN1_walk_normal_001", "BN2_wave-right-hand_normal_001", "BN1_bow_normal_001"}
    recordings = [r for r in source.find(bandai_namco_dir).recordings if r.name in wanted]
    assert {r.name for r in recordings} == wanted
    for recording in recordings:
        motion = smpl22_motion(source.read(recording), source.bone_map)
        positions = motion.joint_positions_m()
        assert motion.fps == 30.0
        assert float(positions[..., 1].min()) == pytest.approx(0.0, abs=1e-4)
        assert 1.3 < float(positions[0, 15, 1]) < 1.8
        if recording.content == "walk":
            assert float(motion.root_position_m[-1, 2]) > 5.0
        if recording.content == "wave-right-hand":
            right, left = positions[:, 21, 1].max(), positions[:, 20, 1].max()
            assert float(right - left) > 0.5


def test_a_build_of_real_recordings_rejects_none(bandai_namco_dir: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for path in sorted(bandai_namco_dir.rglob("*_normal_001.bvh"))[:6]:
        target = few / path.relative_to(bandai_namco_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    manifest = build({"bandai-namco": few}, tmp_path / "set", BuildOptions(pairs=4, workers=1), progress=False)
    assert not manifest.rejects
    assert manifest.sources["bandai-namco"]["licence"] == "CC BY-NC 4.0"
    assert manifest.summary()["recordings"] == 6
