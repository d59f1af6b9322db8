"""From a folder of BVH files with sentences to a model that generates: build, train both networks, write a motion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kinestream.io import read_motion
from tests.cli.conftest import Run
from tests.data.own_takes import write_takes

_LOOP = (
    "[loop]\nsteps = 2\nbatch_size = 2\nwarmup_steps = 1\nsave_every = 2\nvalidate_every = 2\nlog_every = 1\n"
    'precision = "fp32"\n'
)


@pytest.mark.slow
def test_own_takes_are_built_trained_on_and_generated_from(run: Run) -> None:
    takes = write_takes(Path("takes"))
    (takes / "extra.bvh").write_bytes((takes / "walks" / "take 0.bvh").read_bytes())
    ended = run("data", "build", "--motions", takes, "-o", "mine", "--workers", "1")
    assert (ended.code, ended.out) == (0, "mine\n"), ended.err
    assert "4 recordings (2 train, 1 val, 1 test)" in ended.err
    assert "rejected extra.bvh: no caption" in ended.err
    facts = json.loads(run("info", "mine", "--json").out)
    assert facts["recordings"] == 4

    Path("tae.toml").write_text(
        'data = ["mine"]\n[model]\nhidden_dim = 16\nlatent_dim = 8\n[task]\ncrop_frames = 16\nvalidation_clips = 1\n'
        + _LOOP
    )
    ended = run("train", "causal-tae", "tae.toml", "--out", "tae")
    assert ended.code == 0, ended.err
    Path("ar.toml").write_text(
        'data = ["mine"]\n[task]\ncausal_tae = "tae/model"\ntext_encoder = "all-MiniLM-L6-v2"\nmin_frames = 16\n'
        "[model]\nhidden_dim = 16\nnum_layers = 1\nnum_heads = 2\nhead_width = 16\nhead_layers = 1\n" + _LOOP
    )
    ended = run("train", "ar-diffusion", "ar.toml", "--out", "ar")
    assert ended.code == 0, ended.err

    ended = run("generate", "waves with the right hand", "--seconds", "1", "--model", "ar/model", "-o", "mine.bvh")
    assert ended.code == 0, ended.err
    assert read_motion("mine.bvh").num_frames == 30 - 30 % 4 + 4


def test_a_folder_without_captions_is_one_line_and_leaves_nothing_to_train_on(run: Run) -> None:
    takes = write_takes(Path("takes"), 2)
    for text in takes.rglob("*.txt"):
        text.unlink()
    ended = run("data", "build", "--motions", takes, "-o", "mine")
    assert ended.code == 2
    assert "none of its 2 motion files can be used" in ended.err
    assert "take 0.txt beside it" in ended.err
    assert not Path("mine/manifest.json").exists()
