"""Tables as JSON, and as text that a terminal shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ablations.store import Measured
from benchmarks.ablations.studies import Study, Table
from benchmarks.harness import save
from kinestream.cli.outputs import aligned
from kinestream.evaluation.provenance import run_facts
from kinestream.metrics import Estimate

FORMAT = "kinestream-ablations"
VERSION = 1
DIGITS = 5

# Label, unit, and which way is better.
COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "mpjpe_mm": ("MPJPE", "mm", "lower"),
    "reconstruction_jitter_mps3": ("jitter, reconstructed", "m/s³", "near real"),
    "reconstruction_fid": ("FID, reconstructed", "", "lower"),
    "noise_error": ("noise error", "", "lower"),
    "fid": ("FID", "", "lower"),
    "r_precision_3": ("R@3", "", "higher"),
    "mm_distance": ("MM-Dist", "", "lower"),
    "diversity": ("diversity", "", "near real"),
    "jitter_mps3": ("jitter", "m/s³", "near real"),
    "causal_s": ("causal", "s", "lower"),
    "whole_s": ("not causal", "s", "lower"),
    "code_loss": ("code loss", "nats", "lower"),
    "fid_k": ("FID_k", "", "lower"),
    "fid_g": ("FID_g", "", "lower"),
    "div_k": ("Div_k", "", "near real"),
    "div_g": ("Div_g", "", "near real"),
    "bas": ("BAS", "", "near real"),
    "bas_gain": ("BAS over other songs", "", "higher"),
    "foot_skating_ratio": ("foot skating", "", "near real"),
    "kinetic": ("kinetic", "σ", ""),
    "geometric": ("geometric", "σ", ""),
    "joints_mm": ("joints", "mm", ""),
}


def table_json(study: Study, table: Table) -> dict[str, Any]:
    """One table with its question, reading, budget and provenance."""
    base = next((own for name, own in table.rows if name == table.base), None)
    return {
        "name": study.name,
        "source": study.source,
        "question": study.question,
        "reading": study.reading,
        "budget": dict(table.budget),
        "data": dict(table.data),
        "run": {**run_facts(), "when": datetime.now(UTC).isoformat(timespec="seconds")},
        "base": table.base,
        "columns": [
            dict(zip(("name", "label", "unit", "better"), (name, *COLUMNS[name]), strict=True))
            for name in table.columns
        ],
        "rows": [
            {
                "name": name,
                "processor_seconds": round(own.seconds, 1),
                **_figures(own, base, table.columns, compared=not name.startswith("Real")),
            }
            for name, own in table.rows
        ],
    }


def _figures(own: Measured, base: Measured | None, columns: Sequence[str], compared: bool) -> dict[str, Any]:
    figures, differences = {}, {}
    for name in columns:
        if (found := own.estimate(name)) is not None:
            figures[name] = _plain(found) | {"count": found.count}
        if compared and base is not None and own is not base and (apart := own.difference(base, name)) is not None:
            differences[name] = _plain(apart) | {"beyond_noise": apart.excludes(0.0)}
    return {"figures": figures, "difference_to_base": differences}


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {
        name: float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        for name, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high))
    }


def update(path: Path, tables: Sequence[Mapping[str, Any]], order: Sequence[str]) -> None:
    """Put tables into the file, in place of their namesakes, whole or not at all."""
    known: dict[str, Any] = {}
    if path.is_file():
        document = json.loads(path.read_text(encoding="utf-8"))
        known = {table["name"]: table for table in document["tables"]}
    known |= {table["name"]: dict(table) for table in tables}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "command": "python -m benchmarks.ablations",
        "tables": [known[name] for name in order if name in known],
    }
    save(document, path)


def shown(figure: Mapping[str, Any] | None, difference: Mapping[str, Any] | None = None) -> str:
    """ "value ± half its interval", with a star where the difference to the base is beyond noise; "-" for none."""
    if figure is None or figure["value"] is None:
        return "-"
    text = f"{figure['value']:.3g}"
    if figure["low"] is not None:
        half = float(f"{(figure['high'] - figure['low']) / 2:.1g}")
        text += f" ± {half:g}"
    return text + ("*" if difference is not None and difference["beyond_noise"] else "")


def text_table(table: Mapping[str, Any]) -> str:
    """Columns as wide as what stands in them."""
    head = ["", *(f"{c['label']} ({c['unit']})" if c["unit"] else c["label"] for c in table["columns"])]
    rows = [head]
    for row in table["rows"]:
        cells = [
            shown(row["figures"].get(c["name"]), row["difference_to_base"].get(c["name"])) for c in table["columns"]
        ]
        rows.append([row["name"], *cells])
    return f"{table['name']}: {table['question']} ({table['source']})\n" + "\n".join(aligned(rows))
