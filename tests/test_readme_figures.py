"""README's figures are those of docs/results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# How README's rows begin, and the target of `benchmarks.quality` that they show.
ROWS = {
    "content recognised, prompts": "content",
    "style recognised": "style",
    "foot skating": "skating",
    "jitter": "jitter",
    "peak jerk where the prompt changes": "transition_median",
}


def result(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((REPOSITORY / "docs" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def cells(beginning: str) -> list[str]:
    """The cells of the row of README's table that begins so."""
    (row,) = re.findall(rf"^\| ({re.escape(beginning)}.*)\|$", README, flags=re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


@pytest.mark.parametrize(("row", "target"), ROWS.items())
def test_quality_is_what_the_benchmark_measured(row: str, target: str) -> None:
    measured = {entry["name"]: entry for entry in result("quality")["targets"]}[target]
    _, value, wanted, *_ = cells(row)
    assert value == f"{measured['value']:.2f} [{measured['low']:.2f}, {measured['high']:.2f}]"
    assert wanted == measured["target"] + ("" if measured["met"] else ": missed")


def test_the_first_frame_is_what_the_benchmark_measured() -> None:
    first_s = f"{result('latency')['first_frame_s']:.2f} s"
    assert cells("first frame after a prompt")[1] == first_s
    assert f"{first_s} after a prompt</a>" in README, "the table of peers says the same"
