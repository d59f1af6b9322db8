"""The dance model's card, its report and the packaged model agree, and targets are met or missed as the numbers say."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kinestream.checkpoints.dance import DEFAULT_DANCE_DIR
from kinestream.errors import KinestreamError
from kinestream.evaluation import Estimate, Figure, Result, Sample, load_result
from scripts.pages import NO_CAUSE, missing_causes
from scripts.write_dance_card import (
    CARD,
    FIGURES,
    NOTES,
    blocks,
    disagreements,
    filled,
    main,
    targets,
    weights,
)
from tests.evaluation.dances import write_dance_model

NAN = float("nan")
# Name: generated, real. All of these meet their targets, some just so.
GOOD: dict[str, tuple[float, float | None]] = {
    "beat_alignment_gain": (0.02, 0.0),
    "beat_alignment_p": (0.05, None),
    "beat_alignment_ratio": (0.95, None),
    "step_alignment_gain": (0.02, 0.05),
    "step_alignment_p": (0.001, 0.001),
    "step_alignment_ratio": (1.1, None),
    "mpjpe_mm": (45.0, None),
    "dead_codes": (0.1, None),
    "music_to_dance_recall_10": (0.1, 0.31),
    "dance_to_music_recall_10": (0.1, 0.4),
    "chance_recall_10": (0.1, 0.1),
    "foot_skating_ratio": (0.25, 0.2),
    "jitter_mps3": (10.0, 30.0),
    "div_k_ratio": (0.8, None),
    "div_g_ratio": (1.4, None),
    "still_share": (0.02, 0.02),
}


def a_result(samples: int = 40, sha256: str = "a" * 64, **changed: tuple[float, float | None]) -> Result:
    def around(value: float | None) -> Estimate | None:
        return None if value is None else Estimate(value, value - 0.01, value + 0.01, 40)

    figures = []
    for name, (own, real) in (GOOD | changed).items():
        generated = around(own)
        assert generated is not None
        figures.append(Figure(name, name, "", "higher", "a figure", "songs", generated, around(real)))
    return Result(
        "dance",
        {"repeats": 3, "seed": 0, "split": "test"},
        {"commit": "c" * 40},
        {"sha256": sha256, "references": False},
        {"measured": 8, "split": "test", "sha256": "d" * 64},
        {"name": "model", "sha256": "e" * 64},
        tuple(figures),
        tuple(Sample(f"s{k}", "waltz", {"step_alignment": 0.5}, {}, f"song {k % 8}") for k in range(samples)),
        notes=("Something to know.",),
    )


def met(result: Result, size_bytes: int = 50_000_000) -> dict[str, bool | None]:
    return {row["name"]: row["met"] for row in targets(result, size_bytes)}


def test_targets_just_reached_are_met() -> None:
    found = met(a_result())
    assert set(found.values()) == {True}
    assert len(found) == 17


@pytest.mark.parametrize(
    ("name", "own", "real"),
    [
        ("beat_alignment_gain", 0.009, 0.1),  # its interval holds 0
        ("step_alignment_gain", -0.02, 0.1),
        ("step_alignment_p", 0.06, None),
        ("step_alignment_ratio", 0.94, None),
        ("mpjpe_mm", 45.1, None),
        ("dead_codes", 0.11, None),
        ("music_to_dance_recall_10", 0.9, 0.29),  # the network's quality is that on recorded dances
        ("foot_skating_ratio", 0.26, 0.2),
        ("jitter_mps3", 38.0, 30.0),
        ("div_g_ratio", 0.79, None),
        ("still_share", 0.021, 0.02),
    ],
)
def test_a_target_that_is_not_reached_is_missed_and_no_other(name: str, own: float, real: float | None) -> None:
    found = met(a_result(**{name: (own, real)}))
    assert [row for row, reached in found.items() if reached is not True] == [name]
    assert found[name] is False


def test_size_and_number_of_windows_are_targets_and_what_was_not_measured_is_not_met() -> None:
    assert met(a_result(), 50_000_001)["size"] is False
    assert met(a_result(samples=39))["windows"] is False
    result = a_result()
    without = replace(result, figures=tuple(f for f in result.figures if "recall" not in f.name))
    rows = targets(without, 1)
    unknown = [row["name"] for row in rows if row["met"] is None]
    assert unknown == ["music_to_dance_recall_10", "dance_to_music_recall_10"]
    assert missing_causes(rows, {"causes": {"music_to_dance_recall_10": "no network"}}) == ["dance_to_music_recall_10"]


def test_the_card_has_a_mark_for_every_block_and_keeps_what_stands_around_them() -> None:
    card = CARD.read_text(encoding="utf-8")
    marks = re.findall(r"<!-- begin (\w+) -->", card)
    info = {"configs": {"rvq_vae": {"num_codes": 512}}, "settings": {"genres": ["waltz"], "music_features": "x",
                                                                     "sampling": {"top_k": 30}}}  # fmt: skip
    contents = blocks(a_result(mpjpe_mm=(50.0, None)), info, {"rvq_vae.safetensors": (2_000_000, 4_000_000)}, {})
    assert sorted(marks) == sorted(contents)
    text = filled(card, contents)
    assert filled(text, contents) == text
    assert "| rvq_vae | 2.00 million | 4.0 MB | num_codes 512 |" in text
    assert "| tokenizer MPJPE on test dances | 50 | 50 to 50 | at most 45 mm | **no** |" in text
    assert NO_CAUSE in text
    assert "Something to know." in text
    assert text.startswith(card[: card.index("<!-- begin")])
    assert "Not measured yet" not in text
    with pytest.raises(KinestreamError, match="marks"):
        filled(card.replace("<!-- begin limits -->", ""), contents)


def test_the_script_writes_card_and_copy_and_checks_them(
    tmp_path: Path, shared_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_dance_model(tmp_path / "model", tmp_path, library=False)
    card, figures, notes = tmp_path / "card.md", tmp_path / "dance.json", tmp_path / "notes.json"
    card.write_text(CARD.read_text(encoding="utf-8"), encoding="utf-8")
    given = ["--model", str(model), "--card", str(card), "--notes", str(notes), "--figures", str(figures)]
    assert main(given) == 2
    a_result().save(tmp_path).rename(figures)
    assert main(given) == 2
    assert "the report measured model.json aaaaaaaaaaaa" in capsys.readouterr().err
    digest = hashlib.sha256((model / "model.json").read_bytes()).hexdigest()
    a_result(sha256=digest).save(tmp_path).rename(figures)
    assert main([*given, "--check"]) == 1
    assert main(given) == 0
    assert main([*given, "--check"]) == 0
    assert (model / "MODEL_CARD.md").read_bytes() == card.read_bytes()
    assert set(weights(model)) == {"model.json", "rvq-vae.safetensors", "choreo-llama.safetensors",
                                   "statistics.safetensors"}  # fmt: skip
    a_result(sha256=digest, mpjpe_mm=(60.0, None)).save(tmp_path).rename(figures)
    assert main([*given, "--check"]) == 1
    assert main(given) == 1
    assert "the target 'mpjpe_mm' is missed" in capsys.readouterr().err
    notes.write_text(json.dumps({"causes": {"mpjpe_mm": "too short a training"}}), encoding="utf-8")
    assert main(given) == 0
    assert "too short a training" in card.read_text(encoding="utf-8")


def test_card_report_and_packaged_model_agree() -> None:
    result = load_result(FIGURES)
    assert disagreements(result, DEFAULT_DANCE_DIR) == []
    assert main(["--check"]) == 0
    assert NOTES.is_file()
    assert (DEFAULT_DANCE_DIR / "MODEL_CARD.md").read_text(encoding="utf-8") == CARD.read_text(encoding="utf-8")
    assert sum(size for _, size in weights(DEFAULT_DANCE_DIR).values()) <= 50_000_000
