"""`kinestream data build`, `train` and `import`, on tiny inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.data.deepmimic_clips import clip, write_clips
from tests.training.conftest import tiny_data

__all__ = ["tiny_data"]


@pytest.fixture
def built(run: Run) -> Path:
    """A tiny data set, built by the command."""
    write_clips(Path("clips"), {"walk": clip(90, speed=1.0), "jump": clip(), "kick": clip(70, sway=0.6)})
    ended = run(
        "data", "build", "--deepmimic", "clips", "-o", "built", "--pairs", "0", "--workers", "1", "--captions", "2"
    )
    assert (ended.code, ended.out) == (0, "built\n")
    assert "3 recordings" in ended.err
    return Path("built")


def test_info_says_what_was_built(run: Run, built: Path) -> None:
    facts = json.loads(run("info", built, "--json").out)
    assert facts["recordings"] == 3
    assert "MIT" in facts["sources"]["deepmimic"]["licence"]


def test_a_configuration_is_trained_and_resumed(run: Run, tiny_data: Path) -> None:
    Path("tiny.toml").write_text(
        f'data = ["{tiny_data}"]\n'
        "[model]\nhidden_dim = 8\nlatent_dim = 4\n"
        "[task]\ncrop_frames = 16\nvalidation_clips = 1\n"
        "[loop]\nsteps = 2\nbatch_size = 2\nwarmup_steps = 1\nsave_every = 1\nvalidate_every = 100\nlog_every = 1\n"
        'precision = "fp32"\n'
    )
    ended = run("train", "causal-tae", "tiny.toml", "--set", "loop.log_every=2")
    assert (ended.code, ended.out) == (0, "runs/tiny\n"), ended.err
    assert run("train", "causal-tae", "tiny.toml", "--resume").code == 0
    assert run("info", "runs/tiny/model").code == 0


@pytest.mark.parametrize("override", ["steps", "=3", "loop.stepz=3", "loop.steps=many"])
def test_settings_that_are_none_are_refused(run: Run, override: str) -> None:
    Path("tiny.toml").write_text('data = ["built"]\n')
    ended = run("train", "causal-tae", "tiny.toml", "--set", override)
    assert ended.code == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize("content", ["", "data = 3", "[loop", "\x00"])
def test_a_configuration_that_is_none_is_refused(run: Run, content: str) -> None:
    Path("tiny.toml").write_text(content)
    ended = run("train", "ar-diffusion", "tiny.toml")
    assert ended.code == 2
    assert "tiny.toml" in ended.err


def test_released_files_become_a_model_folder(run: Run, golden_dir: Path, reference_dir: Path) -> None:
    tae, ar = golden_dir / "causal_tae_tiny.safetensors", golden_dir / "ar_diffusion_tiny.safetensors"
    stats = reference_dir / "motion272" / "humanml3d_stats.npz"
    ended = run("import", "motionstreamer", "--tae", tae, "--ar", ar, "--stats", stats, "--num-heads", "4", "-o", "out")
    assert (ended.code, ended.out) == (0, "out\n"), ended.err
    assert json.loads(run("info", "out", "--json").out)["settings"]["text_encoder"] == "sentence-t5-xxl"


def test_an_imported_model_says_what_its_prompts_need(
    run: Run, golden_dir: Path, reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINESTREAM_SENTENCE_T5", raising=False)
    test_released_files_become_a_model_folder(run, golden_dir, reference_dir)
    ended = run("generate", "walks", "-o", "a.bvh", "--model", "out")
    assert ended.code == 2
    assert "KINESTREAM_SENTENCE_T5" in ended.err


def test_files_that_are_no_checkpoints_are_refused(run: Run) -> None:
    for name in ("tae.pth", "ar.pth", "stats.npz"):
        Path(name).write_bytes(b"nothing of the kind")
    ended = run("import", "motionstreamer", "--tae", "tae.pth", "--ar", "ar.pth", "--stats", "stats.npz", "-o", "out")
    assert ended.code == 2
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "files", [["--tokenizer", "t.pth"], ["--retrieval", "r.ckpt", "--llama", "l.pt"], [], ["--tae", "a", "--ar", "b"]]
)
def test_infinitedance_files_come_in_pairs_or_alone(run: Run, files: list[str]) -> None:
    ended = run("import", "infinitedance", *files, "--stats", "stats.npz", "-o", "out")
    assert ended.code == 2
    assert "--tokenizer and --llama together" in ended.err


def test_a_tokenizer_is_trained_and_described(run: Run, tiny_data: Path) -> None:
    Path("tiny.toml").write_text(
        f'data = ["{tiny_data}"]\n[model]\nhidden_dim = 8\ncode_dim = 4\nnum_codes = 8\n'
        "[task]\ncrop_frames = 16\nvalidation_clips = 1\n"
        '[loop]\nsteps = 2\nbatch_size = 2\nsave_every = 1\nvalidate_every = 100\nprecision = "fp32"\n'
    )
    assert run("train", "rvq-vae", "tiny.toml", "--out", "rvq").code == 0
    assert run("info", "rvq/model").code == 0
    ended = run("train", "choreo-llama", "tiny.toml", "--set", "task={}", "--set", "model={}")
    assert ended.code == 2
    assert "[task] tokenizer" in ended.err
