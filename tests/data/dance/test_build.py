"""A dance set: motion and music row by row, songs in one split only, and nothing done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.conditioning.music import MUSIC_WIDTH, Beats
from kinestream.data.build import BuildOptions, build
from kinestream.data.clips import MotionClips
from kinestream.data.dance.build import song_splits
from kinestream.data.dance.item import captions, sampled
from kinestream.data.dance.songs import Song, cut_music, same_songs
from kinestream.data.layout import read_features, read_split
from kinestream.data.manifest import load_manifest
from kinestream.data.sources.dance_recording import DanceRecording
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics, motion_from_motion272
from kinestream.motion import Motion, resample
from tests.data.dances import markers_on, write_dance_with_melody
from tests.io.audio_files import clicks, write_wav

QUICK = BuildOptions(workers=1)


@pytest.fixture(scope="module")
def known(reference_dir: Path) -> Motion:
    features = np.load(reference_dir / "motion272" / "sample.npz")["representation"][:300]
    return resample(motion_from_motion272(torch.from_numpy(features)), 25.0)


@pytest.fixture(scope="module")
def folder(known: Motion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four waltzes, one to the song of another, one without a song, and a broken one."""
    markers = markers_on(known)
    root = tmp_path_factory.mktemp("dances")
    write_dance_with_melody(
        root,
        [
            ("W_1", "waltz", markers, 90.0),
            ("W_2", "waltz", markers[20:], 132.0),
            ("W_3", "waltz", markers[:180], 105.0),
            ("W_4", "waltz", markers[:200], 90.0),
            ("W_5", "waltz", markers[:150], None),
            ("C_6", "cha-cha", markers[:30], 100.0),
            ("C_7", "cha-cha", markers[:200], 100.0),
        ],
    )
    sound = clicks(14.0, 8000, 90.0, 3)
    for name in ("W_1", "W_4"):
        write_wav(root / "audio" / f"{name}.ogg", sound, 8000)
    (root / "audio" / "C_7.ogg").write_bytes(b"no sound at all")
    return root


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built") / "set"
    build({"dance-with-melody": folder}, root, QUICK, progress=False)
    return root


def test_motion_and_music_lie_row_by_row(built: Path) -> None:
    manifest = load_manifest(built)
    assert {clip.recording_id for clip in manifest.clips} == {"W_1", "W_2", "W_3", "W_4", "W_5"}
    for clip in manifest.clips:
        features = read_features(built / "motion_data" / f"{clip.name}.npy")
        assert features.shape == (clip.frames, MOTION272.width)
        assert clip.music == (clip.recording_id != "W_5")
        assert (built / "music" / f"{clip.name}.npz").is_file() == clip.music
        if clip.music:
            with np.load(built / "music" / f"{clip.name}.npz", allow_pickle=False) as music:
                assert music["features"].shape == (clip.frames, MUSIC_WIDTH)
                assert (np.diff(music["beats_s"]) > 0).all()
                assert music["beats_s"].max(initial=0.0) < clip.frames / 30
                assert float(music["tempo_bpm"]) > 40
            fit = clip.details["alignment"]
            assert {"scale", "offset_s", "score", "gain", "other_songs"} <= set(fit)
            # 25 recorded frames a second on a clock that runs 1 / scale.
            assert clip.details["first_song_frame"] >= 0
        assert clip.details["residual_mm"]["mean"] < 20.0
    assert len(MotionClips.load([built], "train").parts) == len(manifest.split_clips("train"))
    assert Statistics.load(built / "mean_std").mean.shape == (MOTION272.width,)


def test_bodies_stand_on_the_floor_facing_forward(built: Path) -> None:
    for name in ("DWM_W_1", "M_DWM_W_1"):
        features = torch.from_numpy(read_features(built / "motion_data" / f"{name}.npy"))
        motion = motion_from_motion272(features)
        lowest = motion.joint_positions_m()[..., 1].amin(dim=1)
        assert lowest.min() > -0.005
        assert lowest.median() < 0.05
        assert (motion_from_motion272(features).root_position_m[0, [0, 2]]).norm() < 1e-5


def test_mirrored_copies_keep_their_music(built: Path) -> None:
    for name in ("features", "beats_s"):
        with np.load(built / "music" / "DWM_W_2.npz") as own, np.load(built / "music" / "M_DWM_W_2.npz") as mirrored:
            assert np.array_equal(own[name], mirrored[name])
    plain, other = (read_features(built / "motion_data" / f"{n}.npy") for n in ("DWM_W_2", "M_DWM_W_2"))
    heights = [clip[:, MOTION272.slices["positions"]].reshape(-1, 22, 3)[..., 1] for clip in (plain, other)]
    assert np.abs(heights[0][:, 20] - heights[1][:, 21]).max() < 0.05


def test_songs_are_in_one_split_and_what_sounds_the_same_is_one(built: Path) -> None:
    manifest = load_manifest(built)
    song_of = {clip.recording_id: clip.song for clip in manifest.clips}
    assert song_of["W_1"] == song_of["W_4"] != song_of["W_2"]
    splits: dict[str, set[str]] = {}
    for clip in manifest.clips:
        splits.setdefault(clip.song, set()).add(clip.split)
        assert clip.name in read_split(built, clip.split)
    assert all(len(found) == 1 for found in splits.values())
    assert "test" in {clip.split for clip in manifest.clips}
    assert next(clip.split for clip in manifest.clips if clip.recording_id == "W_5") == "train"


def test_the_manifest_says_what_was_measured_and_rejected(built: Path, folder: Path) -> None:
    document = json.loads((built / "manifest.json").read_text())
    entry = document["sources"]["dance-with-melody"]
    assert entry["recordings"] == 5
    assert entry["with_music"] == 4
    assert entry["songs"] == 3
    assert entry["residual_mm"]["mean"] < 20.0
    assert entry["alignment"]["dances"] == 4
    rejects = {reject["name"]: reject["reason"] for reject in document["rejects"]}
    assert "song" in rejects["DWM_C_7"]
    assert "frames" in rejects["DWM_C_6"]
    assert str(folder) not in json.dumps(document)
    assert document["summary"]["contents"] == {"waltz": 5}


def test_a_second_build_leaves_finished_dances_alone(folder: Path, built: Path) -> None:
    def written() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for part in ("motion_data", "music") for p in (built / part).iterdir()}

    before = written()
    damaged = built / "music" / "DWM_W_3.npz"
    damaged.unlink()
    build({"dance-with-melody": folder}, built, QUICK, progress=False)
    after = written()
    changed = {Path(name).stem.removeprefix("M_") for name in after if after[name] != before.get(name)}
    assert changed == {"DWM_W_3"}
    assert set(after) == set(before)


def test_songs_that_sound_like_held_out_files_are_tested(folder: Path, built: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "mine.wav", clicks(10.0, 11025, 132.0, 4, start_s=0.1), 11025)
    manifest = build({"dance-with-melody": folder}, built, QUICK, hold_out=tmp_path, progress=False)
    assert {clip.recording_id for clip in manifest.clips if clip.split == "test"} == {"W_2"}
    with pytest.raises(BadInputError, match="hold out"):
        build({"dance-with-melody": folder}, built, QUICK, hold_out=tmp_path / "none", progress=False)
    with pytest.raises(BadInputError, match="dances only"):
        build({"deepmimic": folder}, built, QUICK, hold_out=tmp_path, progress=False)


def test_dances_and_other_recordings_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="folders of their own"):
        build({"dance-with-melody": folder, "deepmimic": folder}, tmp_path / "set", QUICK, progress=False)


def a_dance(name: str, song: str, split: str = "", heard: bool = True) -> DanceRecording:
    audio = Path(f"{song}.wav") if heard else None
    return DanceRecording(name, "test", Path(name), "waltz", song, name, audio=audio, split=split)


def test_song_splits_keep_songs_together_and_test_apart() -> None:
    dances = [a_dance(f"d{k}", f"song{k % 30}") for k in range(90)]
    splits = song_splits(dances)
    for dance in dances:
        assert splits[dance.name] == splits[f"d{int(dance.name[1:]) % 30}"]
    assert {"train", "test"} <= set(splits.values())
    assert splits == song_splits([*reversed(dances)])
    # A dataset's own split holds, and a song that it tests anywhere is tested everywhere.
    own = song_splits([a_dance("a", "s", "train"), a_dance("b", "s", "test"), a_dance("c", "t", "val")])
    assert own == {"a": "test", "b": "test", "c": "val"}
    held = song_splits([a_dance(f"d{k}", f"song{k}") for k in range(7)], frozenset({"song3"}))
    assert {name for name, split in held.items() if split == "test"} == {"d3"}
    assert set(song_splits([a_dance(f"e{k}", f"quiet{k}", heard=False) for k in range(40)]).values()) == {"train"}


def a_song(seed: int, start: int = 0, frames: int = 1200) -> Song:
    values = np.random.default_rng(seed).standard_normal((2400, MUSIC_WIDTH)).astype(np.float32)
    times = np.arange(0.25, 80.0, 0.5)
    return Song(values[start : start + frames], Beats(times, times[::4], 120.0), f"{seed}")


def test_the_same_song_is_known_wherever_it_begins() -> None:
    first = same_songs(
        {"a": a_song(1), "b": a_song(1, start=300), "c": a_song(2), "d": a_song(2, start=30, frames=900)}
    )
    assert first == {"a": "a", "b": "a", "c": "c", "d": "c"}


def test_music_is_cut_at_frames_and_beats_move_along() -> None:
    song = a_song(3)
    rows, beats = cut_music(song, 90, 60)
    assert np.array_equal(rows, song.values[90:150])
    assert beats.times_s.tolist() == [0.25, 0.75, 1.25, 1.75]
    rows, beats = cut_music(song, 1190, 30)
    assert len(rows) == 30
    assert not rows[10:, :12][:, [4, 5, 6, 7]].any()


def test_sampling_at_fractional_frames_lies_between(known: Motion) -> None:
    between = sampled(known, torch.tensor([0.0, 0.5, 1.0, 500.0], dtype=torch.float64), 30.0)
    assert torch.allclose(between.root_position_m[1], known.root_position_m[:2].mean(dim=0))
    assert torch.equal(between.root_position_m[3], known.root_position_m[-1])
    assert replace(between, fps=25.0).num_frames == 4


def test_captions_name_the_genre() -> None:
    assert captions("cha-cha")[0] == "a person dances cha cha"
    assert captions("folk-mix")[1] == "a folk dance"
    assert captions("unknown")[1] == "a dance"
