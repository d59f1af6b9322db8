"""`generate --pick best`: the sample with the fewest problems that fits its text is the one that is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from benchmarks.broken_motion import BREAKAGES
from kinestream.cli import pick
from kinestream.cli.pick import Score, score_samples
from kinestream.io import read_motion
from kinestream.metrics.inspection import body_motion, inspect_motion
from kinestream.motion import Motion
from tests.cli.conftest import Run


class HeightEvaluator:
    """Thinks that motions whose root is above 0.9 m are `high`, others `low`."""

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0] if "high" in text else [0.0, 1.0] for text in texts])

    def embed_motion(self, motions: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0] if float(features[:, 9].mean()) > 0.9 else [0.0, 1.0] for features in motions])


@pytest.fixture(scope="module")
def recording(bandai_namco_dir: Path) -> Motion:
    (path,) = bandai_namco_dir.rglob("dataset-2_wave-right-hand_normal_001.bvh")
    return body_motion(read_motion(path))[0]


def test_a_clean_sample_is_better_than_any_broken_one(recording: Motion) -> None:
    samples = [breakage.make(recording, 20, 49) for breakage in BREAKAGES.values()]
    clean, *broken = score_samples([recording, *samples], ["waves"], [], None)
    assert clean.total == 0.0
    for name, score in zip(BREAKAGES, broken, strict=True):
        assert score.total > 1.0, name
        assert BREAKAGES[name].check in score.parts
        assert score.total == pytest.approx(inspect_motion(BREAKAGES[name].make(recording, 20, 49)).penalty)


def test_of_clean_samples_the_one_that_fits_the_text_is_better(recording: Motion) -> None:
    evaluator = HeightEvaluator()
    (high,) = score_samples([recording], ["stands high"], [], evaluator)
    (low,) = score_samples([recording], ["stands low"], [], evaluator)
    (both,) = score_samples([recording], ["high", "low"], [], evaluator)
    assert high.total < both.total < low.total
    assert high.fit == pytest.approx(1.0)
    assert both.fit == pytest.approx(0.5)


def test_each_prompt_is_compared_with_its_own_stretch(recording: Motion) -> None:
    seen: list[int] = []

    class Lengths(HeightEvaluator):
        def embed_motion(self, motions: Sequence[torch.Tensor]) -> torch.Tensor:
            seen.extend(len(features) for features in motions)
            return super().embed_motion(motions)

    score_samples([recording], ["a", "b"], [(0.0, 1.0, "a"), (1.0, recording.duration_s, "b")], Lengths())
    assert seen == [30, recording.num_frames - 30]


def test_pick_best_writes_the_one_sample_whose_score_is_lowest(
    run: Run, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pick, "packaged_evaluator", lambda: None)
    options = ["--seconds", "0.8", "--model", str(tiny_model_dir)]
    assert run("generate", "walks", "-o", "all.bvh", "--samples", "4", *options).code == 0
    ended = run("generate", "walks", "-o", "best.bvh", "--samples", "4", "--pick", "best", *options)
    assert (ended.code, ended.out) == (0, "best.bvh\n")
    totals = [float(found) for found in re.findall(r"^sample \d: ([\d.]+) \(", ended.err, re.MULTILINE)]
    assert len(totals) == 4
    (best,) = re.findall(r"^sample (\d): .* <- best$", ended.err, re.MULTILINE)
    assert totals[int(best) - 1] == min(totals)
    assert Path("best.bvh").read_bytes() == Path(f"all-{best}.bvh").read_bytes()
    assert "text was not looked at" in ended.err


def test_scores_say_what_they_are_made_of() -> None:
    score = Score(12.0, {"self_collision": 9.0, "jitter": 3.0}, 0.5, 30.0)
    assert str(score) == "27.0 (self collision 9.0, jitter 3.0, text fits 0.50)"
    assert str(Score(0.0, {}, None, 30.0)) == "0.0 (no problems)"
