"""A tiny built data set: three clips of a swaying body, in the published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.motion import face_forward, ground
from tests.test_motion import swaying


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny_data")
    for folder in ("motion_data", "texts", "split", "mean_std", "train_stream", "train_stream_text"):
        (root / folder).mkdir()
    names = {"train": ["a", "b", "c"], "val": ["d"]}
    clips = []
    for split, members in names.items():
        (root / "split" / f"{split}.txt").write_text("\n".join(members))
        for index, name in enumerate(members):
            clip = motion272_from_motion(face_forward(ground(swaying(frames=48 + 40 * index))))
            np.save(root / "motion_data" / f"{name}.npy", clip.numpy())
            (root / "texts" / f"{name}.txt").write_text("a person sways#a/DET#0.0#0.0\nsways#sways/VERB#0.0#0.0\n")
            clips.append(clip)
    np.save(root / "train_stream" / "p.npy", clips[2].numpy())
    (root / "train_stream_text" / "p.txt").write_text("sways*stands still#64\n")
    statistics = Statistics.of(clips, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    return root


@pytest.fixture
def tae_config(tiny_data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tae.toml"
    path.write_text(
        f"""data = ["{tiny_data}"]
[model]
hidden_dim = 16
latent_dim = 4
[task]
crop_frames = 32
[loop]
steps = 6
batch_size = 4
parts = 2
warmup_steps = 2
save_every = 3
log_every = 1
validate_every = 100
precision = "fp32"
"""
    )
    return path
