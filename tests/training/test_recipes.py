"""Both recipes learn, show what they made, and leave a model that generates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.checkpoints import load_causal_tae, load_text_to_motion
from kinestream.data.clips import MotionClips, StreamPairs
from kinestream.errors import BadInputError
from kinestream.training import train_ar_diffusion, train_causal_tae
from kinestream.training.text.latents import encode_sequences, pieces_of_clip, pieces_of_pairs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_tae(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tae")
    config = folder / "tae.toml"
    config.write_text(
        f'data = ["{tiny_data}"]\n[model]\nhidden_dim = 32\nlatent_dim = 8\n[task]\ncrop_frames = 32\n'
        "[loop]\nsteps = 150\nbatch_size = 8\nlearning_rate = 2e-3\nwarmup_steps = 10\nlog_every = 10\n"
        'validate_every = 150\nema_decay = 0.9\nprecision = "fp32"\n'
    )
    train_causal_tae(config, folder / "out")
    return folder / "out"


def totals(folder: Path, name: str) -> list[float]:
    import json

    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_autoencoder_learns_and_reports_its_error(trained_tae: Path) -> None:
    sigma = totals(trained_tae, "sigma")
    assert sigma[-1] < 0.8 * sigma[0]
    assert 0.0 < totals(trained_tae, "val/mpjpe_mm")[-1] < 200.0
    assert len(list((trained_tae / "samples").glob("*.png"))) == 2
    model, statistics = load_causal_tae(trained_tae / "model")
    assert model.config.latent_dim == 8
    assert statistics.mean.shape == (272,)


def test_autoregressive_model_learns_and_its_export_loads(tiny_data: Path, trained_tae: Path, tmp_path: Path) -> None:
    config = tmp_path / "ar.toml"
    config.write_text(
        f'data = ["{tiny_data}"]\n[task]\ncausal_tae = "{trained_tae / "model"}"\nmin_frames = 16\nmax_frames = 96\n'
        'prompts = ["sways"]\n[model]\nhidden_dim = 32\nnum_layers = 2\nnum_heads = 2\nhead_width = 48\n'
        "head_layers = 2\ncontext_latents = 24\n[loop]\nsteps = 60\nbatch_size = 8\nlearning_rate = 2e-3\n"
        'warmup_steps = 5\nlog_every = 5\nvalidate_every = 60\nema_decay = 0.9\nprecision = "fp32"\n'
    )
    train_ar_diffusion(config, tmp_path / "out")
    loss = totals(tmp_path / "out", "total")
    assert loss[-1] < 0.9 * loss[0]
    assert totals(tmp_path / "out", "replaced")[-1] > 0.9
    assert list((tmp_path / "out" / "samples").glob("*.png"))
    model = load_text_to_motion(tmp_path / "out" / "model")
    assert model.text_encoder == "all-MiniLM-L6-v2"
    assert model.stop_threshold > 0


def test_missing_autoencoder_is_named(tiny_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "ar.toml"
    config.write_text(f'data = ["{tiny_data}"]\n')
    with pytest.raises(BadInputError, match="causal_tae"):
        train_ar_diffusion(config, tmp_path / "out")


def test_long_clips_become_windows_with_and_without_history() -> None:
    pieces = pieces_of_clip(torch.randn(500, 272), ["walks"], 1.0, 40, 300, 4)
    assert {piece.history_frames for piece in pieces} == {0, 148}
    assert all(len(piece.features) <= 300 for piece in pieces)
    assert any(piece.ends for piece in pieces)
    assert not all(piece.ends for piece in pieces)


def test_pairs_keep_the_newest_history_that_fits(tmp_path: Path) -> None:
    (tmp_path / "train_stream").mkdir()
    (tmp_path / "train_stream_text").mkdir()
    frames = np.repeat(np.arange(280, dtype=np.float32)[:, None], 272, axis=1)
    np.save(tmp_path / "train_stream" / "p.npy", frames)
    (tmp_path / "train_stream_text" / "p.txt").write_text("walks*waves#102\n")
    (piece,) = pieces_of_pairs(StreamPairs.load([tmp_path], "train"), 1.0, 40, 200, 4)
    assert piece.captions == ("waves",)
    assert len(piece.features) <= 200
    assert piece.features[piece.history_frames, 0] == 102


def test_sequences_end_where_their_motion_ends(tiny_data: Path, trained_tae: Path) -> None:
    tae, statistics = load_causal_tae(trained_tae / "model")
    clips, pairs = MotionClips.load([tiny_data], "train"), StreamPairs.load([tiny_data], "train")
    sequences, captions = encode_sequences(tae, statistics, clips, pairs, min_frames=16, max_frames=96)
    assert set(captions) == {"a person sways", "sways", "stands still"}
    assert {sequence.history for sequence in sequences} >= {0, 12}
    for sequence in sequences:
        assert len(sequence.mean) <= 24
        assert sequence.history < len(sequence.mean)


def test_decoder_alone_goes_on_from_a_trained_autoencoder(tiny_data: Path, trained_tae: Path, tmp_path: Path) -> None:
    config = tmp_path / "fine.toml"
    config.write_text(
        f'data = ["{tiny_data}"]\n[model]\nhidden_dim = 32\nlatent_dim = 8\n[task]\ncrop_frames = 32\n'
        f'joint_weight = 1.0\nstart_from = "{trained_tae / "model"}"\ndecoder_only = true\n'
        "[loop]\nsteps = 3\nbatch_size = 4\nlog_every = 1\nvalidate_every = 9\n"
    )
    train_causal_tae(config, tmp_path / "out")
    (before, statistics), (after, kept) = (load_causal_tae(f / "model") for f in (trained_tae, tmp_path / "out"))
    for name, value in after.encoder.state_dict().items():
        assert torch.equal(value, before.encoder.state_dict()[name]), name
    assert not torch.equal(after.decoder.output.weight, before.decoder.output.weight)
    assert torch.equal(kept.std, statistics.std)
