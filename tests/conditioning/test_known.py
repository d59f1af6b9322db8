"""What a model has learnt and what not, from the sentence alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinestream.conditioning.known import DEFAULT_INDEX, KnownSentences, Sentence, assess, calibrated, load_known
from kinestream.errors import BadInputError


def test_the_packaged_index_tells_learnt_deeds_from_others() -> None:
    for prompt in ("somebody walks ahead", "waves the left hand cheerfully", "does a backflip", "crawls along"):
        assert assess(prompt).known, prompt
    for prompt in ("bakes a cake", "repairs the engine of a lorry", "quarterly revenue grew by nine percent"):
        assert not assess(prompt).known, prompt


def test_nearest_and_recordings_speak_of_labels() -> None:
    found = assess("turns a cartwheel on the lawn")
    assert "cartwheel" in found.nearest[0]
    assert found.recordings == 1
    assert assess("walks forward").recordings > 100
    assert len(set(found.nearest)) == len(found.nearest) == 3
    assert 0.5 < found.score <= 1.0


def test_the_index_is_small_enough_to_package() -> None:
    assert DEFAULT_INDEX.stat().st_size < 1_000_000


def test_differences_and_scores_of_a_made_up_index() -> None:
    axes = torch.eye(4)
    sentences = (Sentence("walks", "walk", "", 7), Sentence("runs", "run", "", 2))
    index = KnownSentences("none", sentences, axes[:2], axes[2:], slope=10.0, middle=0.0, threshold=0.1)
    familiar, foreign = index.assess(axes[0]), index.assess(axes[3])
    assert familiar.known
    assert familiar.nearest == ("walks", "runs")
    assert familiar.recordings == 7
    assert not foreign.known
    assert foreign.score < 0.5 < familiar.score
    assert index.differences(torch.eye(4)).tolist() == pytest.approx([0.5, 0.5, -0.5, -0.5])


def test_calibration_puts_the_middle_between_and_the_threshold_at_the_rate() -> None:
    known, unknown = torch.linspace(0.2, 0.4, 101).tolist(), torch.linspace(-0.4, -0.2, 101).tolist()
    slope, middle, threshold = calibrated(known, unknown, 0.05)
    assert slope > 0
    assert middle == pytest.approx(0.0, abs=1e-6)
    assert threshold == pytest.approx(0.21, abs=1e-6)
    with pytest.raises(BadInputError, match="at least 2"):
        calibrated([0.1], unknown, 0.05)


def test_a_file_that_is_no_index_is_one_clear_error(tmp_path: Path) -> None:
    broken = tmp_path / "known.safetensors"
    with pytest.raises(BadInputError, match="index of known sentences"):
        load_known(broken)
    broken.write_bytes(b"no tensors")
    with pytest.raises(BadInputError, match="build_known_sentences"):
        load_known(broken)


def test_a_prompt_without_words_is_refused() -> None:
    with pytest.raises(BadInputError, match="no words"):
        assess("!!!")
