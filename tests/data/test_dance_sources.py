"""The published layouts of AIST++, FineDance and InfiniteDance, and the taxonomy of genres."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.data.sources.aistpp import Aistpp
from kinestream.data.sources.dance_recording import genre_named, genres
from kinestream.data.sources.finedance import FineDance
from kinestream.data.sources.infinitedance import InfiniteDance
from kinestream.errors import BadInputError
from kinestream.features import humanml264_from_motion, motion_from_motion272
from kinestream.io.smpl_parameters import smpl_from_motion
from kinestream.motion import Motion
from kinestream.rotations import matrix_from_quat, quat_angle_rad, rot6d_from_matrix_rows
from tests.io.audio_files import clicks, write_wav


@pytest.fixture(scope="module")
def motion(reference_dir: Path) -> Motion:
    features = np.load(reference_dir / "motion272" / "sample.npz")["representation"][:90]
    return motion_from_motion272(torch.from_numpy(features))


def write_song(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, clicks(1.0, 8000, 120.0), 8000)


def test_aistpp_is_read_in_metres_with_its_splits(motion: Motion, tmp_path: Path) -> None:
    poses, trans = smpl_from_motion(motion, "y")
    full = torch.cat((poses.flatten(1), torch.zeros(len(poses), 6)), dim=1)
    names = ("gBR_sBM_cAll_d04_mBR0_ch01", "gWA_sFM_cAll_d26_mWA2_ch11", "gWA_sFM_cAll_d26_mWA3_ch11")
    (tmp_path / "motions").mkdir()
    for name in names:
        arrays = {"smpl_poses": full.numpy(), "smpl_trans": 93.8 * trans.numpy(), "smpl_scaling": np.array([93.8])}
        np.savez(tmp_path / "motions" / f"{name}.npz", **arrays)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "crossmodal_test.txt").write_text(f"{names[0]}\n")
    (tmp_path / "ignore_list.txt").write_text(f"{names[2]}\n")
    write_song(tmp_path / "wavs" / "mBR0.wav")
    source = Aistpp()
    listing = source.find(tmp_path)
    first, second = listing.recordings
    assert (first.genre, first.song, first.split) == ("breaking", "aist-mBR0", "test")
    assert first.audio == tmp_path / "wavs" / "mBR0.wav"
    assert (second.genre, second.audio, second.split) == ("waacking", None, "")
    assert len(listing.rejects) == 1
    read = source.read(first).motion
    assert read.fps == 60.0
    assert (read.joint_positions_m() - motion.joint_positions_m()).norm(dim=-1).max() < 1e-3


def test_aistpp_pickles_are_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "gBR_sBM_cAll_d04_mBR0_ch01.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(BadInputError, match="npz"):
        Aistpp().find(tmp_path)


def test_finedance_is_read_with_its_labels(motion: Motion, tmp_path: Path) -> None:
    rows = torch.zeros(motion.num_frames, 52, 6)
    rows[..., 0] = rows[..., 4] = 1.0
    rows[:, :22] = rot6d_from_matrix_rows(matrix_from_quat(motion.local_rotations))
    trans = motion.root_position_m - motion.skeleton.offsets_m[0]
    (tmp_path / "motion").mkdir()
    (tmp_path / "label_json").mkdir()
    np.save(tmp_path / "motion" / "007.npy", torch.cat((trans, rows.flatten(1)), dim=1).numpy())
    np.save(tmp_path / "motion" / "008.npy", np.zeros((10, 319), np.float32))
    (tmp_path / "label_json" / "007.json").write_text(json.dumps({"style1": "Modern", "style2": "Hiphop", "name": "x"}))
    write_song(tmp_path / "music_wav" / "007.wav")
    source = FineDance()
    first, second = source.find(tmp_path).recordings
    assert (first.genre, second.genre) == ("hiphop", "unknown")
    assert first.audio is not None
    read = source.read(first).motion
    assert quat_angle_rad(read.local_rotations, motion.local_rotations).max() < 1e-3
    assert (read.root_position_m - motion.root_position_m).norm(dim=-1).max() < 1e-5
    with pytest.raises(BadInputError, match="315"):
        source.read(second)


def test_infinitedance_is_read_without_sound(motion: Motion, tmp_path: Path) -> None:
    features = humanml264_from_motion(motion)
    folder = tmp_path / "dance" / "alldata_new_joint_vecs264_ft_balanced"
    folder.mkdir(parents=True)
    for name in ("a_001", "b_002"):
        np.save(folder / f"{name}.npy", features.numpy())
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "all_style_map.json").write_text(json.dumps({"a_001": "Kpop", "b_002": {"no": "name"}}))
    (tmp_path / "partition").mkdir()
    (tmp_path / "partition" / "All_cleandata_test.txt").write_text("a_001\n")
    write_song(tmp_path / "music" / "b_002.wav")
    source = InfiniteDance()
    first, second = source.find(tmp_path).recordings
    assert (first.genre, first.split, first.audio) == ("kpop", "test", None)
    assert (second.genre, second.audio is None) == ("unknown", False)
    read = source.read(first).motion
    assert (humanml264_from_motion(read)[:, :68] - features[:-1, :68]).abs().max() < 2e-3


@pytest.mark.parametrize("source", [Aistpp(), FineDance(), InfiniteDance()], ids=lambda source: source.name)
def test_empty_folders_are_refused(source: Aistpp | FineDance | InfiniteDance, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="found no"):
        source.find(tmp_path)


def test_the_taxonomy_is_the_papers_table() -> None:
    paper = [genre for genre in genres() if genre.in_paper]
    assert {genre.group for genre in paper} == {"ballet", "modern", "folk", "popular", "classic", "latin"}
    # The table's rows: 29 genres and the unsegmented rest of four classes, 33 in all.
    assert len(paper) == 33
    assert sum(not genre.name.endswith("-mix") for genre in paper) == 29
    assert len({genre.name for genre in genres()}) == len(genres())


@pytest.mark.parametrize(
    ("label", "name", "group"),
    [
        ("Chacha", "cha-cha", "latin"),
        ("HipHop", "hiphop", "popular"),
        ("Waltz", "waltz", "ballroom"),
        ("Han_Tang", "han-tang", "classic"),
    ],
)
def test_genres_are_found_however_they_are_written(label: str, name: str, group: str) -> None:
    assert (genre_named(label).name, genre_named(label).group) == (name, group)


def test_unknown_genres_are_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInputError, match="waltz"):
        genre_named("polka of mars")
