"""The evaluator's recipe learns which sentence belongs to which motion, and a killed run takes the same next steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kinestream.checkpoints import load_evaluator
from kinestream.cli import main
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.models.evaluator import EvaluatorConfig
from kinestream.motion import Motion, face_forward, ground, resample
from kinestream.training import train_evaluator
from kinestream.training.config import load_train_config
from kinestream.training.text.evaluator import EvaluatorTask, EvaluatorTaskConfig, distinct_captions
from tests.test_motion import swaying

PACES = {"slowly": 0.5, "": 1.0, "fast": 2.0, "very fast": 4.0}
SETTINGS = """
[model]
latent_dim = 32
feedforward_dim = 64
motion_layers = 2
text_layers = 1
decoder_layers = 1
num_heads = 4
frames_per_token = 4
max_frames = 60
text_dim = 384
text_scale = 19.6
language_layers = 0
unit_embeddings = true
dropout = 0.05
[task]
compare = "clips"
similarity = 0.95
contrastive_weight = 1.0
temperature = 0.1
contrast_means = true
noise = 0.02
smallest_crop = 0.8
length_groups = 2
[loop]
batch_size = 4
learning_rate = 3e-3
warmup_steps = 5
save_every = 5
validate_every = 1000
log_every = 1
precision = "fp32"
"""


def at_pace(pace: float, variant: int) -> Motion:
    """Swaying at another pace: resampled, then played at the old rate."""
    slow = resample(swaying(frames=50 + 6 * variant), MOTION272.fps / pace)
    return face_forward(ground(Motion(slow.skeleton, slow.local_rotations, slow.root_position_m, MOTION272.fps)))


@pytest.fixture(scope="module")
def swaying_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sways at four paces, two clips each for training and one for validation."""
    root = tmp_path_factory.mktemp("paces")
    for folder in ("motion_data", "texts", "split", "mean_std"):
        (root / folder).mkdir()
    clips, names = [], {"train": [], "val": []}  # type: ignore[var-annotated]
    for manner, pace in PACES.items():
        for variant in range(3):
            name = f"{manner.replace(' ', '_') or 'plain'}_{variant}"
            clips.append(motion272_from_motion(at_pace(pace, variant)))
            np.save(root / "motion_data" / f"{name}.npy", clips[-1].numpy())
            lines = [f"a person sways {manner}".strip(), f"sways {manner}".strip(), f"swaying {manner}".strip()]
            (root / "texts" / f"{name}.txt").write_text("".join(f"{line}#a/X#0.0#0.0\n" for line in lines))
            names["val" if variant == 2 else "train"].append(name)
    for split, members in names.items():
        (root / "split" / f"{split}.txt").write_text("\n".join(members))
    statistics = Statistics.of(clips, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    return root


@pytest.fixture(scope="module")
def config_path(swaying_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "evaluator.toml"
    path.write_text(f'data = ["{swaying_data}"]\n{SETTINGS}')
    return path


@pytest.fixture(scope="module")
def trained(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    train_evaluator(config_path, out, overrides=["loop.steps=60"])
    return out


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_sentences_find_their_motions_after_training(trained: Path, swaying_data: Path) -> None:
    evaluator = load_evaluator(trained / "model")
    paces = [name.replace(" ", "_") or "plain" for name in PACES]
    clips = [torch.from_numpy(np.load(swaying_data / "motion_data" / f"{pace}_2.npy")) for pace in paces]
    distances = torch.cdist(
        evaluator.embed_text([f"a person sways {manner}".strip() for manner in PACES]), evaluator.embed_motion(clips)
    )
    assert (distances.argmin(dim=1) == torch.arange(len(PACES))).float().mean() >= 0.75


def test_training_lowers_its_losses_and_reports_r_precision(trained: Path) -> None:
    lines = logged(trained)
    steps = [line for line in lines if "contrastive" in line]
    assert np.mean([line["contrastive"] for line in steps[-5:]]) < 0.8 * np.mean(
        [line["contrastive"] for line in steps[:5]]
    )
    assert steps[-1]["reconstruction"] < steps[0]["reconstruction"]
    last = lines[-1]
    assert 0.0 <= last["val/r_precision_1"] <= last["val/r_precision_3"] <= 1.0


def test_a_killed_run_resumes_with_the_same_next_steps(config_path: Path, tmp_path: Path) -> None:
    """Dropout, noise, crops, captions and latents follow from seed and step alone."""
    short = ["--set", "loop.steps=10"]
    assert main(["train", "evaluator", str(config_path), "--out", str(tmp_path / "out"), *short]) == 0
    checkpoints = tmp_path / "out" / "checkpoints"
    newest = checkpoints / "step-00000010"
    whole = load_file(newest / "model.safetensors")
    newest.rename(tmp_path / "gone")
    torch.manual_seed(123)
    assert main(["train", "evaluator", str(config_path), "--out", str(tmp_path / "out"), "--resume", *short]) == 0
    for name, value in load_file(newest / "model.safetensors").items():
        assert torch.equal(value, whole[name]), name


def test_a_batch_has_different_clips_in_the_order_of_their_lengths(config_path: Path, tmp_path: Path) -> None:
    task = task_of(config_path, tmp_path)
    batch = task.batch(8, np.random.default_rng(0))
    assert batch["lengths"].tolist() == sorted(batch["lengths"].tolist())
    assert batch["features"].shape == (8, int(batch["lengths"].max()), MOTION272.width)
    assert int(batch["lengths"].max()) <= 60
    assert torch.equal(batch["text"], task.batch(8, np.random.default_rng(0))["text"])
    with pytest.raises(BadInputError, match="must be different"):
        task.batch(9, np.random.default_rng(0))


def task_of(config_path: Path, cache: Path, **task: object) -> EvaluatorTask:
    config = load_train_config(config_path)
    settings = EvaluatorTaskConfig(**(config.task | task))
    return EvaluatorTask(EvaluatorConfig.from_json(config.model), settings, config.data, 0, cache)


def test_clips_are_compared_by_all_their_captions(config_path: Path, tmp_path: Path) -> None:
    task = task_of(config_path, tmp_path)
    means = task.captions.clip_embeddings
    torch.testing.assert_close(means.norm(dim=-1), torch.ones(8))
    torch.testing.assert_close(means[0], means[1])  # two clips with the same three captions
    assert float(means[0] @ means[2]) < 0.95


@pytest.mark.parametrize(
    "wrong",
    [{"compare": "labels"}, {"smallest_crop": 0.0}, {"noise": -1.0}, {"length_groups": 0}, {"temperature": 0.0},
     {"distilbert": "model.safetensors"}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(config_path: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        task_of(config_path, tmp_path, **wrong)


def test_a_text_width_that_is_not_the_encoders_is_refused(config_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="text_dim must be 384"):
        train_evaluator(config_path, tmp_path / "out", overrides=["model.text_dim=768"])


def test_distinct_captions_never_repeat() -> None:
    captions = [("a", "b"), ("a",), ("b", "a"), ("c", "a")]
    chosen = distinct_captions(captions, seed=0)
    texts = [text for _, text in chosen]
    assert len(set(texts)) == len(texts)
    assert all(text in captions[index] for index, text in chosen)
    assert chosen == distinct_captions(captions, seed=0)


@pytest.mark.parametrize("name", ["evaluator_default", "evaluator_paper"])
def test_packaged_configurations_are_the_named_sizes(repository: Path, name: str) -> None:
    config = load_train_config(repository / "configs" / f"{name}.toml")
    EvaluatorTaskConfig(**config.task)
    named = {"evaluator_default": EvaluatorConfig.default(), "evaluator_paper": EvaluatorConfig.paper()}[name]
    assert EvaluatorConfig.from_json(config.model) == named


def test_a_language_model_inside_stays_as_it_was_published(swaying_data: Path, tmp_path: Path) -> None:
    """The paper's way: word features of DistilBERT, the two captions compared, samples in InfoNCE."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"embeddings.word_embeddings": (30522, 16), "embeddings.position_embeddings": (64, 16)}
    layer = "transformer.layer.0"
    linear = {f"{layer}.attention.{name}_lin": (16, 16) for name in ("q", "k", "v", "out")}
    linear |= {f"{layer}.ffn.lin1": (32, 16), f"{layer}.ffn.lin2": (16, 32)}
    norms = ("embeddings.LayerNorm", f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm")
    weights = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in (shapes | linear).items()}
    weights |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in linear.items()}
    weights |= {f"{name}.weight": torch.ones(16) for name in norms} | {
        f"{name}.bias": torch.zeros(16) for name in norms
    }
    save_file({f"distilbert.{name}": value for name, value in weights.items()}, tmp_path / "model.safetensors")
    config = tmp_path / "paper.toml"
    config.write_text(
        f'data = ["{swaying_data}"]\n[model]\nlatent_dim = 16\nfeedforward_dim = 32\nmotion_layers = 1\n'
        "text_layers = 1\ndecoder_layers = 1\nnum_heads = 2\nmax_frames = 40\ntext_dim = 16\nmax_tokens = 64\n"
        "language_layers = 1\nlanguage_heads = 2\nlanguage_feedforward_dim = 32\n"
        f'[task]\ndistilbert = "{tmp_path / "model.safetensors"}"\n'
        '[loop]\nsteps = 2\nbatch_size = 4\nwarmup_steps = 1\nprecision = "fp32"\n'
    )
    train_evaluator(config, tmp_path / "out")
    trained = load_evaluator(tmp_path / "out" / "model")
    assert trained.text_encoder == "distilbert"
    assert trained.model.language is not None
    assert torch.equal(trained.model.language.words.weight, weights["embeddings.word_embeddings.weight"])
    assert trained.embed_text(["a person sways fast"]).shape == (1, 16)
