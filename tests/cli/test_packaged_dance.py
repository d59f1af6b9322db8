"""The dance model in the package: a song of one's own becomes a dance that moves and stands on the floor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinestream.io import read_motion
from kinestream.metrics import jitter_mps3, still_seconds
from kinestream.motion import Motion
from tests.cli.conftest import Run
from tests.io.audio_files import clicks, write_wav

pytestmark = pytest.mark.slow


def looks_like_a_dance(motion: Motion) -> None:
    joints = motion.joint_positions_m()
    assert float(still_seconds(joints, motion.fps).float().mean()) < 0.5
    assert float(joints[..., 1].min()) > -0.02
    assert 20.0 < float(jitter_mps3(joints, motion.fps)) < 400.0
    assert float(joints.diff(dim=0).norm(dim=-1).max()) * motion.fps < 12.0  # nothing flies
    assert float(joints[:, 15, 1].mean()) > 1.2  # upright


def test_a_click_track_is_danced_to_without_naming_a_model(run: Run, tmp_path: Path) -> None:
    song = write_wav(tmp_path / "song.wav", clicks(8.0, 22_050, 90.0), 22_050)
    ended = run("dance", song, "--genre", "waltz", "-o", "a.npz")
    assert ended.code == 0, ended.err
    motion = read_motion("a.npz")
    assert motion.num_frames == 240
    looks_like_a_dance(motion)


@pytest.mark.parametrize("genre", ["waltz", "cha-cha", "rumba"])
def test_real_songs_become_dances_that_differ(run: Run, shared_dir: Path, genre: str) -> None:
    song = shared_dir / "data" / "songs" / f"{genre}.mp3"
    if not song.is_file():
        pytest.skip(f"{song} is not here")
    for seed in ("1", "2"):
        ended = run(
            "dance", song, "--genre", genre, "--start", "0:30", "--end", "0:40", "--seed", seed, "-o", f"{seed}.npz"
        )
        assert ended.code == 0, ended.err
    motions = [read_motion(f"{seed}.npz") for seed in ("1", "2")]
    assert [motion.num_frames for motion in motions] == [300, 300]
    for motion in motions:
        looks_like_a_dance(motion)
    assert not torch.equal(motions[0].root_position_m, motions[1].root_position_m)
