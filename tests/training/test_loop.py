"""A run's steps follow from its configuration alone, whether it is killed or shared between processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinestream.errors import BadInputError
from kinestream.training import train_causal_tae
from kinestream.training.config import LoopConfig, load_train_config
from kinestream.training.loop import learning_rate_at


def logged(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "total" in line]


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = folder / "tae.toml"
    config.write_text(
        f'data = ["{tiny_data}"]\n[model]\nhidden_dim = 16\nlatent_dim = 4\n[task]\ncrop_frames = 32\n'
        "[loop]\nsteps = 6\nbatch_size = 4\nparts = 2\nwarmup_steps = 2\nsave_every = 3\nlog_every = 1\n"
        'validate_every = 100\nprecision = "fp32"\n'
    )
    train_causal_tae(config, folder / "out")
    return folder


def test_killed_run_resumes_with_the_same_next_steps(uninterrupted: Path, tmp_path: Path) -> None:
    config = uninterrupted / "tae.toml"
    train_causal_tae(config, tmp_path / "out")
    newest = tmp_path / "out" / "checkpoints" / "step-00000006"
    newest.rename(newest.with_name("step-00000006.partial"))  # as if the run had died while it wrote
    train_causal_tae(config, tmp_path / "out", resume=True)
    for name, value in weights(uninterrupted / "out", 6).items():
        assert torch.equal(value, weights(tmp_path / "out", 6)[name]), name
    assert [line["total"] for line in logged(tmp_path / "out")[-3:]] == [
        line["total"] for line in logged(uninterrupted / "out")[-3:]
    ]


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(uninterrupted: Path, tmp_path: Path) -> None:
    program = (
        "from kinestream.training import train_causal_tae; "
        f"train_causal_tae({str(uninterrupted / 'tae.toml')!r}, {str(tmp_path / 'out')!r})"
    )
    script = tmp_path / "train.py"
    script.write_text(program)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    done = subprocess.run(
        [*command, str(script)], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = ([line["total"] for line in logged(folder)] for folder in (uninterrupted / "out", tmp_path / "out"))
    assert two == pytest.approx(one, rel=1e-4, abs=1e-5)


def test_resuming_with_another_model_is_refused(uninterrupted: Path) -> None:
    with pytest.raises(BadInputError, match="other settings of model"):
        train_causal_tae(
            uninterrupted / "tae.toml", uninterrupted / "out", resume=True, overrides=["model.hidden_dim=8"]
        )


def test_learning_rate_warms_up_and_decays() -> None:
    cosine = LoopConfig(steps=100, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1)
    assert learning_rate_at(cosine, 0) == pytest.approx(0.1)
    assert learning_rate_at(cosine, 9) == pytest.approx(1.0)
    assert learning_rate_at(cosine, 100) == pytest.approx(0.1)
    drop = LoopConfig(steps=100, warmup_steps=0, learning_rate=1.0, final_learning_rate=0.05, decay="drop")
    assert [learning_rate_at(drop, step) for step in (0, 94, 95)] == [1.0, 1.0, 0.05]


@pytest.mark.parametrize(
    "text",
    ["", "data = 3", "data = []", 'data = ["x"]\n[loop]\nstps = 1', 'data = ["x"]\n[loop]\nsteps = "many"',
     'data = ["x"]\n[loop]\nsteps = 0', 'data = ["x"]\n[loop]\nbatch_size = 4\nparts = 3', "data = [",
     'data=["x"]\n[lop]'],
)  # fmt: skip
def test_bad_configurations_are_refused_with_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(BadInputError):
        load_train_config(path)


def test_overrides_replace_settings(tae_config: Path) -> None:
    config = load_train_config(tae_config, ["loop.steps=11", "loop.precision=bf16"])
    assert (config.loop.steps, config.loop.precision) == (11, "bf16")
    with pytest.raises(BadInputError):
        load_train_config(tae_config, ["loop.steps"])
