"""The evaluator agrees with the published code on a small network with random weights, and its release is imported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kinestream.checkpoints import TextMotionEvaluator, import_motionstreamer_evaluator, load_evaluator
from kinestream.checkpoints.motionstreamer import load_distilbert
from kinestream.cli import main
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.models.evaluator import Evaluator, EvaluatorConfig
from kinestream.models.evaluator.layers import sinusoidal_positions
from kinestream.models.evaluator.released_keys import (
    config_from_released_shapes,
    fused_name,
    is_weight,
    released_key_map,
)

HEADS = 4


def relative_error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def statistics_file(reference_dir: Path) -> Path:
    return reference_dir / "motion272" / "humanml3d_stats.npz"


@pytest.fixture(scope="module")
def evaluator(golden_dir: Path, statistics_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TextMotionEvaluator:
    checkpoint, folder = golden_dir / "evaluator_tiny.safetensors", tmp_path_factory.mktemp("imported") / "evaluator"
    import_motionstreamer_evaluator(checkpoint, statistics_file, folder, language_heads=HEADS)
    return load_evaluator(folder)


@pytest.fixture(scope="module")
def arrays(golden_dir: Path) -> dict[str, Tensor]:
    with np.load(golden_dir / "evaluator_tiny.npz") as found:
        return {name: torch.from_numpy(array) for name, array in found.items()}


@torch.no_grad()
def test_motion_encoder_agrees_with_published_code(evaluator: TextMotionEvaluator, arrays: dict[str, Tensor]) -> None:
    posterior = evaluator.model.encode_motion(arrays["motion"], arrays["lengths"])
    assert relative_error(posterior.mean, arrays["motion_mu"]) < 1e-4
    assert relative_error((0.5 * posterior.logvar).exp(), arrays["motion_std"]) < 1e-4


def test_training_path_agrees_with_published_code(evaluator: TextMotionEvaluator, arrays: dict[str, Tensor]) -> None:
    """With gradients the attention is computed in another way."""
    posterior = evaluator.model.encode_motion(arrays["motion"], arrays["lengths"])
    assert posterior.mean.requires_grad
    assert relative_error(posterior.mean.detach(), arrays["motion_mu"]) < 1e-4


@torch.no_grad()
def test_text_encoder_agrees_with_published_code(evaluator: TextMotionEvaluator, arrays: dict[str, Tensor]) -> None:
    assert evaluator.model.language is not None
    lengths, seen = arrays["attention_mask"].sum(dim=1), arrays["attention_mask"][..., None]
    words = evaluator.model.language(arrays["input_ids"], lengths)
    assert relative_error(words * seen, arrays["distilbert_last_hidden"] * seen) < 1e-4
    posterior = evaluator.model.encode_token_ids(arrays["input_ids"], lengths)
    assert relative_error(posterior.mean, arrays["text_mu"]) < 1e-4
    assert relative_error((0.5 * posterior.logvar).exp(), arrays["text_std"]) < 1e-4


def test_embeddings_for_metrics_are_the_published_means(
    evaluator: TextMotionEvaluator, arrays: dict[str, Tensor]
) -> None:
    motions = [
        evaluator.statistics.denormalize(motion[:length])
        for motion, length in zip(arrays["motion"], arrays["lengths"].tolist(), strict=True)
    ]
    assert relative_error(evaluator.embed_motion(motions), arrays["motion_mu"]) < 1e-3


def test_positions_agree_with_published_code(arrays: dict[str, Tensor]) -> None:
    expected = arrays["pe_first64"]
    got = sinusoidal_positions(len(expected), expected.shape[1], torch.device("cpu"))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_full_size_has_the_released_names_and_shapes(golden_dir: Path) -> None:
    listing = json.loads((golden_dir / "fullsize_keys" / "evaluator_272_temos.json").read_text())
    shapes = {name: tuple(shape) for name, shape in listing["state_dict"].items()}
    config = config_from_released_shapes(shapes)
    assert config == EvaluatorConfig.paper()
    with torch.device("meta"):
        model = Evaluator(config)
    expected = {}
    for name, shape in shapes.items():
        if is_weight(name):
            fused = fused_name(name)
            expected[fused[0] if fused else name] = (3 * shape[0], *shape[1:]) if fused else shape
    names = released_key_map(config)
    assert {names[key]: tuple(value.shape) for key, value in model.state_dict().items()} == expected


def test_what_is_no_weight_of_the_release_is_left_out(
    golden_dir: Path, statistics_file: Path, evaluator: TextMotionEvaluator, tmp_path: Path
) -> None:
    """As in a file of the authors' training: position tables, the filter's sentence model, metrics."""
    released = load_file(golden_dir / "evaluator_tiny.safetensors")
    extra = {
        "textencoder.sequence_pos_encoding.pe": torch.zeros(9, 1, 32),
        "textencoder.text_model.embeddings.position_ids": torch.arange(40),
        "filter_model.0.auto_model.embeddings.LayerNorm.weight": torch.zeros(4),
        "metrics.TM2TMetrics.count": torch.tensor(3),
    }
    torch.save({"state_dict": released | extra, "epoch": 99}, tmp_path / "epoch=99.ckpt")
    code = main(
        ["import", "motionstreamer", "--evaluator", str(tmp_path / "epoch=99.ckpt"), "--stats", str(statistics_file),
         "-o", str(tmp_path / "out")]
    )  # fmt: skip
    assert code == 0
    back = load_evaluator(tmp_path / "out")
    assert torch.equal(back.model.motion_in.weight, evaluator.model.motion_in.weight)
    assert back.provenance["source"] == "MotionStreamer, released evaluator"


class Settings:
    """What a training framework saves beside the weights."""

    def __init__(self) -> None:
        self.values = {"latent_dim": 32}


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return shutil.copy, (__file__, str(self.target))


def test_settings_beside_the_weights_do_no_harm(golden_dir: Path, statistics_file: Path, tmp_path: Path) -> None:
    released = load_file(golden_dir / "evaluator_tiny.safetensors")
    target = tmp_path / "harm"
    torch.save(
        {"state_dict": released, "hyper_parameters": Settings(), "callbacks": [Harmful(target)]}, tmp_path / "a.ckpt"
    )
    back = import_motionstreamer_evaluator(tmp_path / "a.ckpt", statistics_file, tmp_path / "out")
    assert torch.equal(back.model.motion_in.bias, released["motionencoder.skel_embedding.bias"])
    assert not target.exists()
    torch.save({"state_dict": {"a": Settings()}}, tmp_path / "b.ckpt")
    with pytest.raises(BadInputError, match="expected tensors by name"):
        import_motionstreamer_evaluator(tmp_path / "b.ckpt", statistics_file, tmp_path / "other")


def test_sentences_pass_through_the_language_model_inside(
    evaluator: TextMotionEvaluator, golden_dir: Path, statistics_file: Path, tmp_path: Path
) -> None:
    """The golden vocabulary has 100 pieces; with all of them, words go in."""
    released = load_file(golden_dir / "evaluator_tiny.safetensors")
    words = "textencoder.text_model.embeddings.word_embeddings.weight"
    released[words] = torch.randn(30522, 32, generator=torch.Generator().manual_seed(0))
    save_file(released, tmp_path / "whole.safetensors")
    whole = import_motionstreamer_evaluator(
        tmp_path / "whole.safetensors", statistics_file, tmp_path / "out", language_heads=HEADS
    )
    texts = ["a person walks forward", "a person waves with the left hand, then " + "turns " * 60]
    together, alone = whole.embed_text(texts), whole.embed_text(texts[:1])
    assert together.shape == (2, 32)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_published_distilbert_fills_the_language_model(golden_dir: Path, tmp_path: Path) -> None:
    inside = "textencoder.text_model."
    released = load_file(golden_dir / "evaluator_tiny.safetensors")
    published = {
        name.replace(inside, "distilbert."): tensor for name, tensor in released.items() if name.startswith(inside)
    }
    save_file(published | {"vocab_projector.bias": torch.zeros(100)}, tmp_path / "distilbert.safetensors")
    config = config_from_released_shapes({k: tuple(v.shape) for k, v in released.items()}, language_heads=HEADS)
    model = Evaluator(config)
    load_distilbert(tmp_path / "distilbert.safetensors", model)
    assert model.language is not None
    assert torch.equal(model.language.words.weight, released[f"{inside}embeddings.word_embeddings.weight"])
    with pytest.raises(BadInputError, match="no language model inside"):
        load_distilbert(tmp_path / "distilbert.safetensors", Evaluator(EvaluatorConfig.default()))


@pytest.mark.parametrize(
    "damage", ["motionencoder.mu_token", "textencoder.text_model.transformer.layer.1.attention.k_lin.weight"]
)
def test_an_incomplete_release_is_refused(golden_dir: Path, statistics_file: Path, tmp_path: Path, damage: str) -> None:
    released = load_file(golden_dir / "evaluator_tiny.safetensors")
    del released[damage]
    save_file(released, tmp_path / "damaged.safetensors")
    with pytest.raises(BadInputError, match="damaged"):
        import_motionstreamer_evaluator(tmp_path / "damaged.safetensors", statistics_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_files_and_mixed_options_are_refused(
    golden_dir: Path, statistics_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = golden_dir / "causal_tae_tiny.safetensors"
    with pytest.raises(BadInputError, match="no released MotionStreamer evaluator"):
        import_motionstreamer_evaluator(other, statistics_file, tmp_path / "out")
    common = ["import", "motionstreamer", "--stats", str(statistics_file), "-o", str(tmp_path / "out")]
    assert main([*common, "--evaluator", str(other), "--tae", str(other)]) == 2
    assert main([*common, "--tae", str(other)]) == 2
    assert "--evaluator alone" in capsys.readouterr().err


def test_feature_width_is_motion272(evaluator: TextMotionEvaluator) -> None:
    assert evaluator.model.config.feature_dim == MOTION272.width
