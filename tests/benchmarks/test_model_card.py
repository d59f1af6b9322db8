"""The packaged model's card and the measured figures agree, and every missed target says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.report import TARGETS
from kinestream.checkpoints import DEFAULT_MODEL_DIR
from kinestream.checkpoints.folder import read_model_info
from kinestream.evaluation.provenance import model_facts
from scripts.pages import NO_CAUSE, load, missing_causes, number, table
from scripts.write_model_card import CARD, FIGURES, NOTES, PLACES, TEMPLATE, card, figures, main


def rows(met: bool) -> dict[str, Any]:
    row = {"name": "content", "says": "content named", "value": 0.8, "low": 0.7, "high": 0.9, "unit": "", "target": "x"}
    return {"targets": [{**row, "met": met}]}


def test_every_place_of_the_template_can_be_filled_and_none_is_idle() -> None:
    places = re.findall(r"\{\{(\w+)\}\}", TEMPLATE.read_text(encoding="utf-8"))
    assert sorted(places) == sorted(set(places))
    assert set(places) == set(PLACES)


def test_a_missed_target_stands_there_with_its_cause() -> None:
    told = {"causes": {"content": "too few recordings"}}
    assert "too few recordings" in card("{{misses}}", rows(False), told)
    assert NO_CAUSE in card("{{misses}}", rows(False), {})
    assert missing_causes(rows(False)["targets"], {}) == ["content"]
    assert missing_causes(rows(False)["targets"], told) == missing_causes(rows(True)["targets"], {}) == []
    assert card("{{misses}}", rows(True), {}) == "All targets are met.\n"


def test_check_fails_where_the_card_was_changed_by_hand_or_the_figures_are_missing(tmp_path: Path) -> None:
    assert main(["--check", "--figures", str(tmp_path / "none.json"), "-o", str(tmp_path / "card.md")]) == 2


def test_tables_and_numbers_read_as_markdown() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert number(None) == "-"
    assert number(22.894, "mm") == "22.9 mm"


def test_the_packaged_card_and_the_figures_agree() -> None:
    if not FIGURES.is_file():
        pytest.skip("no figures are recorded yet (python -m benchmarks.quality)")
    results, notes = figures(FIGURES), load(NOTES)
    assert [row["name"] for row in results["targets"]] == [target.name for target in TARGETS]
    assert missing_causes(results["targets"], notes) == [], "every missed target says why in model_card_notes.json"
    assert CARD.read_text(encoding="utf-8") == card(TEMPLATE.read_text(encoding="utf-8"), results, notes)
    text = CARD.read_text(encoding="utf-8")
    for row in results["targets"]:
        assert number(row["value"], row["unit"]) in text


def test_the_evaluations_are_of_the_packaged_model() -> None:
    packaged = model_facts(None, read_model_info(DEFAULT_MODEL_DIR))["sha256"]
    told = figures(FIGURES)["evaluations"]
    assert {report["settings"]["protocol"] for report in told} >= {"text", "reconstruction"}
    assert {report["model"]["sha256"] for report in told} == {packaged}, "run kinestream evaluate again"
