"""What the written pages and cards share: figures and tables as Markdown, targets with their causes, and checking."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinestream.io.atomic import atomic_path

REPOSITORY = Path(__file__).resolve().parents[1]
NO_CAUSE = "cause not known yet"
Json = Mapping[str, Any]


def load(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where the file is missing."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def number(value: float | None, unit: str = "") -> str:
    """A figure with three digits that count, "-" for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3g} {unit}".strip() if abs(value) < 1000 else f"{value:.0f} {unit}".strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def provenance_lines(provenance: Json) -> list[str]:
    """What a model folder says of where it comes from, as far as it is said in one value."""
    return [f"{key}: {value}" for key, value in sorted(provenance.items()) if isinstance(value, str | int | float)]


# Targets are rows with name, says, value, low, high (None where unknown), unit, target, met (None: not measured).


def targets_table(rows: Sequence[Json]) -> str:
    """The targets with their figures."""
    words = {True: "yes", False: "**no**", None: "not measured"}
    cells = [
        [
            row["says"],
            number(row["value"], row["unit"]),
            "" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}",
            row["target"],
            words[row["met"]],
        ]
        for row in rows
    ]
    return table(("figure", "value", "95 % interval", "target", "met"), cells)


def _cause(row: Json, notes: Json) -> str:
    cause: str = notes.get("causes", {}).get(row["name"], "").strip()
    return cause


def missing_causes(rows: Sequence[Json], notes: Json) -> list[str]:
    """Names of the targets that are not met and have no cause in the notes."""
    return [row["name"] for row in rows if row["met"] is not True and not _cause(row, notes)]


def misses(rows: Sequence[Json], notes: Json) -> str:
    """The targets that are not met, and why."""
    lines = [
        f"{row['says']} ({number(row['value'], row['unit'])}, target {row['target']}): {_cause(row, notes) or NO_CAUSE}"
        for row in rows
        if row["met"] is not True
    ]
    return f"Missed, and why:\n\n{bullets(lines)}" if lines else "All targets are met."


def explained(rows: Sequence[Json], notes: Json, place: Path) -> bool:
    """Whether every missed target has its cause; a line on stderr for each that has none."""
    names = missing_causes(rows, notes)
    for name in names:
        print(f'the target {name!r} is missed: say why in {place} under "causes"', file=sys.stderr)
    return not names


def written(text: str, paths: Sequence[Path], script: str, *, check: bool) -> bool:
    """Write the text; with `check` only say on stderr which file is not current. False where one isn't."""
    if check:
        old = [path for path in paths if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in old:
            print(f"{path} is not current: run python -m scripts.{script}", file=sys.stderr)
        return not old
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as fresh:
            fresh.write_text(text, encoding="utf-8")
    return True
