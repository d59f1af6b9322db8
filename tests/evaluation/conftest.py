"""A small data set of real recordings, an untrained evaluator and an untrained model, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.checkpoints import TextToMotionModel, save_text_to_motion
from kinestream.checkpoints.evaluator import TextMotionEvaluator, save_evaluator
from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.io import read_motion
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.model import Evaluator
from kinestream.motion import face_forward, ground, resample
from kinestream.skeleton import smpl22
from kinestream.skeleton.retarget import retarget
from tests.streaming.conftest import tiny_model

CAPTIONS = {
    "dataset-1_bow_active_001": "a person bows",
    "dataset-1_bye_happy_001": "somebody waves good-bye, happy",
    "dataset-1_bye_normal_001": "a person waves good-bye",
    "dataset-1_walk_normal_001": "somebody walks",
    "dataset-1_walk_old_001": "an old person walks",
    "dataset-2_raise-up-both-hands_normal_001": "a person raises both hands",
    "dataset-2_walk_exhausted_001": "a tired person walks",
    "dataset-2_wave-right-hand_normal_001": "a person waves with the right hand",
}


@pytest.fixture(scope="session")
def real_data(bandai_namco_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight real recordings of up to two seconds with their captions, and switches cut out of them."""
    root = tmp_path_factory.mktemp("real_data")
    for folder in ("motion_data", "texts", "split", "mean_std", "val_stream", "val_stream_text"):
        (root / folder).mkdir()
    clips = []
    names = sorted(CAPTIONS)
    for number, name in enumerate(names):
        (path,) = bandai_namco_dir.rglob(f"{name}.bvh")
        motion, _ = retarget(resample(read_motion(path).slice(0, 80), MOTION272.fps), smpl22())
        clips.append(motion272_from_motion(face_forward(ground(motion))))
        np.save(root / "motion_data" / f"{name}.npy", clips[-1][:60].numpy())
        (root / "texts" / f"{name}.txt").write_text(f"{CAPTIONS[name]}#a/DET#0.0#0.0\n")
        np.save(root / "val_stream" / f"{name}.npy", clips[-1].numpy())
        then = CAPTIONS[names[(number + 1) % len(names)]]
        (root / "val_stream_text" / f"{name}.txt").write_text(f"{CAPTIONS[name]}*{then}#{24 + 4 * (number % 3)}\n")
    (root / "split" / "test.txt").write_text("\n".join(names))
    statistics = Statistics.of(clips, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    return root


@pytest.fixture(scope="session")
def tiny_evaluator(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluator that was never trained: its space is as good as any to test in."""
    torch.manual_seed(3)
    config = EvaluatorConfig(
        latent_dim=8, feedforward_dim=16, motion_layers=1, text_layers=1, decoder_layers=0, num_heads=2, text_dim=384,
        max_frames=80, language_layers=0,
    )  # fmt: skip
    evaluator = TextMotionEvaluator(
        Evaluator(config).eval(), Statistics.load(real_data / "mean_std"), "all-MiniLM-L6-v2"
    )
    folder = tmp_path_factory.mktemp("evaluator") / "model"
    save_evaluator(folder, evaluator)
    return folder


def write_tiny_model(folder: Path, seed: int = 5) -> Path:
    """An untrained text-to-motion model that ends a prompt by chance after one to three seconds."""
    tiny = tiny_model()
    torch.manual_seed(seed)
    config = ARDiffusionConfig(
        latent_dim=4, text_dim=384, hidden_dim=16, num_layers=1, num_heads=2, context_latents=12, head_width=16,
        head_layers=1, diffusion_steps=2,
    )  # fmt: skip
    ar = ARDiffusion(config)
    ar.latent_std.fill_(0.01)
    model = TextToMotionModel(tiny.tae, ar, tiny.statistics, torch.zeros(4), 0.5, "all-MiniLM-L6-v2")
    save_text_to_motion(folder, model)
    return folder
