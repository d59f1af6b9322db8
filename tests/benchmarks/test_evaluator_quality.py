"""The evaluator's own report: perfect matches score 1, exchanged ones chance, and the card says what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.evaluator import main, matching
from kinestream.checkpoints import DEFAULT_EVALUATOR_DIR
from scripts.package_evaluator import BEGIN, CARD, END, RESULTS, figures

COUNT = 128


@pytest.fixture
def motion() -> Tensor:
    return functional.normalize(torch.randn(COUNT, 16, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_perfect_pairs_score_one_and_exchanged_ones_chance(motion: Tensor) -> None:
    texts = [(f"{row} a", f"{row} b") for row in range(COUNT)]

    def embed(wanted: Sequence[str]) -> Tensor:
        return motion[[int(text.split()[0]) for text in wanted]]

    perfect = matching(motion, texts, embed, (4, 0))
    assert [one["value"] for one in perfect["r_precision"]] == [1.0, 1.0, 1.0]
    assert perfect["multimodal_distance"]["value"] == 0.0
    exchanged = matching(motion.roll(COUNT // 2, 0), texts, embed, (4, 0))
    assert exchanged["r_precision"][2]["value"] < 0.25
    assert exchanged["multimodal_distance"]["value"] > 1.0


def test_few_sentences_never_meet_within_a_batch(motion: Tensor) -> None:
    """Forty sentences for all recordings: a right answer to a repeated one would count as wrong."""
    texts = [(f"{row % 40} x",) for row in range(COUNT)]
    found = matching(motion[:40].repeat(4, 1)[:COUNT], texts, lambda w: motion[[int(t.split()[0]) for t in w]], (4, 0))
    assert found["r_precision"][0]["value"] == 1.0


def test_same_seed_same_figures(motion: Tensor) -> None:
    texts = [(f"{row} a", f"{row} b") for row in range(COUNT)]

    def embed(wanted: Sequence[str]) -> Tensor:
        return functional.normalize(motion[[int(text.split()[0]) for text in wanted]] + 0.3, dim=-1)

    assert matching(motion, texts, embed, (3, 1)) == matching(motion, texts, embed, (3, 1))


def test_the_card_says_what_was_measured() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    card = CARD.read_text(encoding="utf-8")
    assert card.partition(BEGIN)[2].partition(END)[0].strip() == figures(results)
    assert (DEFAULT_EVALUATOR_DIR / "MODEL_CARD.md").read_text(encoding="utf-8") == card
    packaged = json.loads((DEFAULT_EVALUATOR_DIR / "model.json").read_text(encoding="utf-8"))
    assert results["evaluator"]["sha256"] == packaged["sha256"]["evaluator.safetensors"]


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "none"), "-o", str(tmp_path / "out.json")]) == 2
    assert main(["--data", str(tmp_path), "-o", str(tmp_path / "out.json"), "--repeats", "1"]) == 2
    assert "--repeats" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
