"""A build: the published layout, a manifest that tells all, resuming, rejects, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kinestream.data.build import BuildOptions, build
from kinestream.data.build_steps import grouped_statistics
from kinestream.data.clips import MotionClips, StreamPairs
from kinestream.data.layout import read_features, read_split, read_text_lines
from kinestream.data.manifest import load_manifest
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from tests.data.deepmimic_clips import clip, write_clips

QUICK = BuildOptions(captions_per_recording=6, pairs=6, workers=1)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    actions = {"walk": clip(120, speed=1.0), "jump": clip(90), "kick": clip(100, sway=1.0)}
    return write_clips(tmp_path / "clips", actions)


def built_files(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*") if p.is_file()}


def test_a_build_has_the_published_layout_and_a_manifest(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    manifest = build({"deepmimic": clips}, root, QUICK, progress=False)
    names = read_split(root, "train")
    assert sorted(names) == sorted(
        f"{prefix}DM_{action}" for prefix in ("", "M_") for action in ("walk", "jump", "kick")
    )
    for name in names:
        features = read_features(root / "motion_data" / f"{name}.npy")
        assert features.shape == (manifest.clip(name).frames, 272)
        assert len(read_text_lines(root / "texts" / f"{name}.txt")) == 6
    statistics = Statistics.load(root / "mean_std")
    assert statistics.mean.shape == (272,)
    loaded = load_manifest(root)
    assert loaded.summary() == manifest.summary()
    document = json.loads((root / "manifest.json").read_text())
    assert document["summary"]["splits"]["train"]["recordings"] == 3
    assert document["sources"]["deepmimic"]["licence"] == "MIT"
    assert document["summary"]["contents"] == {"jump": 1, "kick": 1, "walk": 1}
    assert "kick (1)" in " ".join(document["notes"])
    assert str(tmp_path) not in json.dumps(document)


def test_mirrored_copies_are_flagged_and_swap_sides(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    manifest = build({"deepmimic": clips}, root, QUICK, progress=False)
    mirrored = manifest.clip("M_DM_kick")
    assert mirrored.mirrored
    assert mirrored.recording == "DM_kick"
    assert mirrored.split == manifest.clip("DM_kick").split
    plain, other = (read_features(root / "motion_data" / f"{name}.npy") for name in ("DM_kick", "M_DM_kick"))
    positions = plain[:, MOTION272.slices["positions"]].reshape(-1, 22, 3)
    swapped = other[:, MOTION272.slices["positions"]].reshape(-1, 22, 3)
    np.testing.assert_allclose(positions[:, 21, 1], swapped[:, 20, 1], atol=0.03)
    without = build(
        {"deepmimic": clips}, tmp_path / "plain", BuildOptions(mirror=False, pairs=0, workers=1), progress=False
    )
    assert not any(clip.mirrored for clip in without.clips)


def test_a_second_build_leaves_finished_clips_alone(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    build({"deepmimic": clips}, root, QUICK, progress=False)
    before = built_files(root / "motion_data") | built_files(root / "texts")
    # One source changes, one result is damaged: only these are built again.
    write_clips(clips, {"jump": clip(95)})
    damaged = root / "motion_data" / "DM_kick.npy"
    damaged.write_bytes(damaged.read_bytes()[:500])
    build({"deepmimic": clips}, root, QUICK, progress=False)
    after = built_files(root / "motion_data") | built_files(root / "texts")
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        f"{prefix}DM_{action}{end}" for prefix in ("", "M_") for action in ("jump", "kick") for end in (".npy", ".txt")
    }


def test_new_captions_leave_the_motions_alone(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kinestream.data.text.build_item as module

    root = tmp_path / "set"
    build({"deepmimic": clips}, root, QUICK, progress=False)
    folders = ("motion_data", "texts", "train_stream", "train_stream_text")
    before = {name: built_files(root / name) for name in folders}
    monkeypatch.setattr(module, "_grammar_digest", lambda: "another grammar")
    build({"deepmimic": clips}, root, QUICK, progress=False)
    after = {name: built_files(root / name) for name in folders}
    assert [name for name in folders if after[name] != before[name]] == ["texts"]


def test_an_interrupted_build_goes_on_and_ends_the_same(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build({"deepmimic": clips}, tmp_path / "whole", QUICK, progress=False)
    root = tmp_path / "set"
    import kinestream.data.build as module

    original = module._build_task
    monkeypatch.setattr(module, "_RECORDINGS_A_TASK", 1)
    calls = []

    def stop_at_second(task: tuple[object, ...]) -> object:
        calls.append(task)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(task)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_build_task", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        build({"deepmimic": clips}, root, QUICK, progress=False)
    assert not (root / "manifest.json").exists()
    assert not [path for path in root.rglob("*") if ".part" in path.name]
    monkeypatch.setattr(module, "_build_task", original)
    done = built_files(root / "motion_data")
    assert len(done) == 2
    resumed = build({"deepmimic": clips}, root, QUICK, progress=False)
    assert resumed == whole
    assert {name: state for name, state in built_files(root / "motion_data").items() if name in done} == done
    for path in (tmp_path / "whole").rglob("*.npy"):
        assert path.read_bytes() == (root / path.relative_to(tmp_path / "whole")).read_bytes()


def test_two_processes_build_what_one_builds(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kinestream.data.build as module

    monkeypatch.setattr(module, "_RECORDINGS_A_TASK", 2)
    monkeypatch.setattr(module, "_PAIRS_A_TASK", 3)
    one = build({"deepmimic": clips}, tmp_path / "one", QUICK, progress=False)
    two = build({"deepmimic": clips}, tmp_path / "two", BuildOptions(6, True, 6, workers=2), progress=False)
    assert one == two
    for path in (tmp_path / "one").rglob("*.npy"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_what_cannot_be_used_is_a_reject_with_its_reason(clips: Path, tmp_path: Path) -> None:
    write_clips(clips, {"run": clip(8), "moonwalk": clip(), "roll": {"Frames": []}})
    jump = clip(60)
    jump["Frames"][30][1] = 40.0
    write_clips(clips, {"jump": jump})
    manifest = build({"deepmimic": clips}, tmp_path / "set", QUICK, progress=False)
    reasons = {reject["name"]: reject["reason"] for reject in manifest.rejects}
    assert "too short: 8 frames" in reasons["DM_run"]
    assert "no captions" in reasons["humanoid3d_moonwalk"]
    assert "frames" in reasons["DM_roll"]
    assert str(tmp_path) not in reasons["DM_roll"]
    assert "jumps" in reasons["DM_jump"]
    assert {clip.recording for clip in manifest.clips} == {"DM_walk", "DM_kick"}


def test_clips_of_an_earlier_build_do_not_stay(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    build({"deepmimic": clips}, root, QUICK, progress=False)
    (root / "motion_data" / "mine.npy").write_bytes(b"not ours")
    (clips / "humanoid3d_kick.txt").unlink()
    build({"deepmimic": clips}, root, BuildOptions(6, True, 0, workers=1), progress=False)
    assert not (root / "motion_data" / "DM_kick.npy").exists()
    assert not list((root / "train_stream").glob("*.npy"))
    assert (root / "motion_data" / "mine.npy").exists()


def test_pairs_are_marked_and_readable_by_the_training(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    manifest = build({"deepmimic": clips}, root, BuildOptions(6, True, 12, workers=1), progress=False)
    kinds = {pair.kind for pair in manifest.pairs}
    assert kinds == {"cut", "joined"}
    assert all(pair.synthetic == (pair.kind == "joined") for pair in manifest.pairs)
    assert all(pair.frames_before % 4 == 0 and 0 < pair.frames_before < pair.frames <= 304 for pair in manifest.pairs)
    pairs = StreamPairs.load([root], "train")
    assert {pair.frames_before for pair in pairs.pairs} == {pair.frames_before for pair in manifest.pairs}
    for index in range(len(pairs.pairs)):
        assert float(pairs.features(index)[:, MOTION272.slices["positions"]][:, 1::3].min()) > -0.01
    assert len(MotionClips.load([root], "train").parts) == 6


def test_bad_requests_are_refused_before_anything_is_written(clips: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    with pytest.raises(BadInputError, match="bandai-namco, deepmimic"):
        build({"kit": clips}, root, QUICK)
    with pytest.raises(BadInputError, match="got none"):
        build({}, root, QUICK)
    assert not root.exists()
    with pytest.raises(BadInputError, match="found no"):
        build({"bandai-namco": clips}, root, QUICK, progress=False)
    with pytest.raises(BadInputError, match="workers"):
        BuildOptions(workers=0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInputError, match="output folder"):
        build({"deepmimic": clips}, tmp_path / "file", QUICK, progress=False)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", {"walk": clip(8)})
    with pytest.raises(BadInputError, match="nothing to train on"):
        build({"deepmimic": folder}, tmp_path / "set", QUICK, progress=False)


def test_statistics_share_one_deviation_in_each_part_of_the_layout() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(2.0, 3.0, (500, 272)).astype(np.float32)
    data[:, 8] = 0.0
    mean, std = grouped_statistics([data[:200], data[200:]])
    np.testing.assert_allclose(mean, data.mean(axis=0), atol=1e-5)
    for part in MOTION272.slices.values():
        assert len(set(std[part])) == 1
        assert std[part][0] == pytest.approx(data[:, part].std(axis=0).mean(), rel=1e-4)


def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"format": "kinestream-data", "version": 1}', '{"format": "other", "version": 1}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(BadInputError, match=r"manifest\.json"):
            load_manifest(tmp_path)
    with pytest.raises(BadInputError, match=r"manifest\.json"):
        load_manifest(tmp_path / "none")
