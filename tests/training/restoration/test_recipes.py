"""The foot denoiser's recipe learns from recordings alone, resumes, and leaves a model that restores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.checkpoints.restoration import load_foot_restoration
from kinestream.features import humanml259_from_motion
from kinestream.features.humanml_legs import leg_columns
from kinestream.training import train_foot_restoration
from kinestream.training.restoration.faults import FaultSizes, with_faults
from tests.io.walking import walking


@pytest.mark.slow
def test_it_learns_and_a_killed_run_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "feet.toml"
    config.write_text(
        f'data = ["{tiny_data}"]\n[model]\nhidden_dim = 32\nnum_layers = 1\nnum_heads = 2\nmlp_dim = 32\n'
        "dropout = 0.0\nwindow_frames = 24\n[task]\nfault_share = 0.5\n[loop]\nsteps = 80\nbatch_size = 8\n"
        "learning_rate = 3e-3\nwarmup_steps = 5\nlog_every = 5\nsave_every = 40\nvalidate_every = 80\n"
        'ema_decay = 0.9\nprecision = "fp32"\n'
    )
    train_foot_restoration(config, tmp_path / "out", overrides=["loop.steps=40"])
    train_foot_restoration(config, tmp_path / "out", resume=True)
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    errors = [line["reconstruction"] for line in log if "reconstruction" in line]
    assert errors[-1] < 0.7 * errors[0]
    assert any("val/legs_mm_at_0.1" in line for line in log)
    model, statistics = load_foot_restoration(tmp_path / "out" / "model")
    assert model.config.window_frames == 24
    assert statistics.mean.shape == (259,)


def test_faults_touch_their_share_of_the_rows_and_keep_relative_poses() -> None:
    walk = humanml259_from_motion(walking(41))[None].repeat(40, 1, 1)
    faulty = with_faults(walk, 0.5, FaultSizes(joints_m=0.0), np.random.default_rng(0))
    changed = (faulty != walk).flatten(1).any(dim=1)
    assert 10 <= int(changed.sum()) <= 30
    assert torch.equal(faulty[~changed], walk[~changed])
    given = ~leg_columns()
    assert not torch.equal(faulty[changed][..., given], walk[changed][..., given])
    assert torch.equal(faulty[..., -126:], walk[..., -126:])
