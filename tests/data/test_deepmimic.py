"""DeepMimic's clips become upright motions that face +Z, with the durations and cycles that the files say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from kinestream.data.prepare import smpl22_motion
from kinestream.data.sources.deepmimic import DeepMimic, read_deepmimic
from kinestream.errors import BadInputError
from tests.data.deepmimic_clips import clip, write_clips


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "humanoid3d_walk.txt"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_rest_pose_faces_z_with_left_on_x(tmp_path: Path) -> None:
    motion = read_deepmimic(written(tmp_path, clip(sway=0.0)))
    positions = motion.joint_positions_m()[0]
    at = {name: positions[motion.skeleton.index(name)] for name in motion.skeleton.joint_names}
    assert at["left_hip"][0] > 0 > at["right_hip"][0]
    assert at["left_knee"][0] > 0
    # Hanging arms: hands below shoulders, elbows bent forward (+Z).
    assert at["left_wrist"][1] < at["left_shoulder"][1] - 0.4
    assert at["left_wrist"][2] > at["left_elbow"][2]
    assert at["neck"][1] > at["chest"][1] > at["root"][1]
    # Knees bend backward: the ankle is behind the knee.
    assert at["right_ankle"][2] < at["right_knee"][2]


def test_a_clip_moves_along_z_at_its_speed(tmp_path: Path) -> None:
    motion = smpl22_motion(read_deepmimic(written(tmp_path, clip(90, speed=1.0))), DeepMimic().bone_map)
    travelled = motion.root_position_m[-1] - motion.root_position_m[0]
    assert abs(float(travelled[0])) < 1e-3
    assert 0.7 < float(travelled[2]) / (89 / 30) < 1.05  # scaled by leg length
    assert float(motion.joint_positions_m()[..., 1].min()) == pytest.approx(0.0, abs=1e-5)


def test_uneven_durations_are_resampled_to_30_fps(tmp_path: Path) -> None:
    content = clip(31, speed=1.0, duration=0.1)
    content["Frames"][10][0] = 0.5
    motion = read_deepmimic(written(tmp_path, content))
    assert motion.num_frames == int((29 * 0.1 + 0.5) * 30 + 1e-6) + 1
    # Between frames 10 and 11 the body takes five times as long for the same way.
    steps = motion.root_position_m[:, 2].diff()
    assert float(steps[33]) == pytest.approx(0.1 / 0.5 / 30, abs=1e-4)
    assert float(steps[5]) == pytest.approx(1.0 / 30, abs=1e-4)


def test_cycles_go_on_without_a_jump(tmp_path: Path) -> None:
    content = clip(31, speed=1.0)
    content["Loop"] = "wrap"
    motion = read_deepmimic(written(tmp_path, content), until_s=3.5)
    assert 3.5 <= motion.duration_s < 4.6
    assert float(motion.root_position_m.diff(dim=0).norm(dim=-1).max()) < 0.05
    assert read_deepmimic(written(tmp_path, content)).num_frames == 31
    once = clip(31, speed=1.0)
    assert read_deepmimic(written(tmp_path, once), until_s=3.5).num_frames == 31


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.pop("Frames"),
        lambda c: c.update(Frames=[]),
        lambda c: c["Frames"].pop(),
        lambda c: c["Frames"].append([0.0] * 43),
        lambda c: c["Frames"][0].__setitem__(5, math.nan),
        lambda c: c["Frames"][0].__setitem__(5, math.inf),
        lambda c: c["Frames"][0].__setitem__(5, "x"),
        lambda c: c["Frames"][0].__setitem__(0, -1.0),
        lambda c: c["Frames"][0].__setitem__(0, 1e9),
        lambda c: c["Frames"][0].__setitem__(slice(4, 8), [0.0] * 4),
        lambda c: c["Frames"][1].__setitem__(2, 1e30),
        lambda c: c.update(Frames={"a": 1}),
        lambda c: [row.__setitem__(0, 0.0) for row in c["Frames"]],
    ],
)
def test_what_is_no_clip_is_refused(tmp_path: Path, damage: object) -> None:
    content = clip(2)
    damage(content)  # type: ignore[operator]
    with pytest.raises(BadInputError, match="humanoid3d_walk"):
        read_deepmimic(written(tmp_path, content))


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "null", '"x"', "[" * 5000, "\x00"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "humanoid3d_walk.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match="DeepMimic clip"):
        read_deepmimic(path)


def test_actions_without_captions_are_rejects_and_empty_folders_errors(tmp_path: Path) -> None:
    listing = DeepMimic().find(write_clips(tmp_path / "a", {"walk": clip(), "moonwalk": clip()}))
    assert [r.name for r in listing.recordings] == ["DM_walk"]
    assert listing.recordings[0].only_train
    assert "moonwalk" in listing.rejects[0].reason
    with pytest.raises(BadInputError, match="found no"):
        DeepMimic().find(tmp_path / "nothing")


def test_the_real_clips_stand_on_the_floor_and_the_backflip_turns_over(deepmimic_dir: Path) -> None:
    source = DeepMimic()
    listing = source.find(deepmimic_dir)
    assert len(listing.recordings) == 21
    assert not listing.rejects
    by_name = {r.name: r for r in listing.recordings}
    for name in ("DM_backflip", "DM_walk", "DM_getup_faceup"):
        motion = smpl22_motion(source.read(by_name[name]), source.bone_map)
        lowest = motion.joint_positions_m()[..., 1].amin(dim=1)
        assert float(lowest.min()) > -0.005
        assert float(lowest.median()) < 0.06
    flip = smpl22_motion(source.read(by_name["DM_backflip"]), source.bone_map).joint_positions_m()
    head_over_pelvis = flip[:, 15, 1] - flip[:, 0, 1]
    assert float(head_over_pelvis.min()) < -0.3 < 0.3 < float(head_over_pelvis[0])
    walk = smpl22_motion(source.read(by_name["DM_walk"]), source.bone_map)
    assert float(walk.root_position_m[-1, 2]) > 3.0
    assert torch.isfinite(walk.local_rotations).all()
