"""The packaged evaluator is small, and on real recordings it tells right from wrong sentences, and motion from none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints import DEFAULT_EVALUATOR_DIR, TextMotionEvaluator, load_evaluator
from kinestream.data.prepare import checked_features, smpl22_motion
from kinestream.features import held
from kinestream.io.bvh import read_bvh
from kinestream.metrics import frechet_distance, multimodal_distance, r_precision
from kinestream.models.evaluator import EvaluatorConfig

SENTENCES = {
    "dataset-1_bow_normal_001": "a person bows",
    "dataset-1_dash_normal_001": "a person sprints forward",
    "dataset-1_walk_normal_001": "a person walks forward",
    "dataset-1_walk_old_001": "a person walks like an old man",
    "dataset-2_raise-up-both-hands_normal_001": "a person raises both arms",
    "dataset-2_walk_exhausted_001": "a person walks forward exhausted",
    "dataset-2_wave-right-hand_normal_001": "a person waves with the right hand",
}


@pytest.fixture(scope="module")
def evaluator() -> TextMotionEvaluator:
    return load_evaluator()


@pytest.fixture(scope="module")
def recordings(bandai_namco_dir: Path) -> list[Tensor]:
    paths = {path.stem: path for path in bandai_namco_dir.rglob("*.bvh")}
    return [checked_features(smpl22_motion(read_bvh(paths[name]))) for name in SENTENCES]


@pytest.fixture(scope="module")
def text(evaluator: TextMotionEvaluator) -> Tensor:
    return evaluator.embed_text(list(SENTENCES.values()))


def test_packaged_evaluator_is_at_most_twenty_megabytes(evaluator: TextMotionEvaluator) -> None:
    assert sum(path.stat().st_size for path in DEFAULT_EVALUATOR_DIR.iterdir()) <= 20e6
    assert evaluator.model.config == EvaluatorConfig.default()
    assert "CC BY-NC" in evaluator.provenance["licence"]


def test_right_sentences_are_nearest_to_their_recordings(
    evaluator: TextMotionEvaluator, recordings: list[Tensor], text: Tensor
) -> None:
    ranks = r_precision(text, evaluator.embed_motion(recordings), batch=len(recordings), top=3)
    assert float(ranks[0]) >= 5 / 7
    assert float(ranks[2]) == 1.0


def test_exchanged_sentences_are_farther(
    evaluator: TextMotionEvaluator, recordings: list[Tensor], text: Tensor
) -> None:
    motion = evaluator.embed_motion(recordings)
    assert float(multimodal_distance(text.roll(3, 0), motion)) > 1.5 * float(multimodal_distance(text, motion))


@pytest.mark.parametrize("broken", ["still", "noisy", "backwards"])
def test_broken_motion_is_farther_from_its_sentence_and_from_the_real_set(
    evaluator: TextMotionEvaluator, recordings: list[Tensor], text: Tensor, broken: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    std = evaluator.statistics.std
    changed = {
        "still": lambda clip: held(clip[:1], len(clip)),
        "noisy": lambda clip: clip + 2.0 * std * torch.randn(clip.shape, generator=generator),
        "backwards": lambda clip: clip.flip(0),
    }[broken]
    real, wrong = evaluator.embed_motion(recordings), evaluator.embed_motion([changed(clip) for clip in recordings])
    assert float(multimodal_distance(text, wrong)) > float(multimodal_distance(text, real))
    shorter = evaluator.embed_motion([clip[:-4] for clip in recordings])
    assert float(frechet_distance(wrong, real)) > float(frechet_distance(shorter, real))
