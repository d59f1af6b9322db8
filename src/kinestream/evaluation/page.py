"""A report as one HTML file: tables beside the recordings' row, plots, samples that play, and what was run."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from kinestream.evaluation.charts import histogram, interval_strip, line_plot
from kinestream.evaluation.findings import CLIP_FIGURES
from kinestream.evaluation.result import Figure, Result
from kinestream.evaluation.shown import RANKED_BY, Shown
from kinestream.metrics import Estimate

TITLES = {
    "text": "Text to motion",
    "stream": "Streams: from one prompt to the next",
    "reconstruction": "Reconstruction by the autoencoder",
    "dance": "Music to dance",
    "capture": "Damaged takes, restored",
}
CURVES = {
    "beat_shift": ("Step alignment when songs are shifted", "shift of the song, s", "step alignment"),
    "transition": ("Jerk around a switch", "frames from the switch", "largest jerk of the joints, m/s³"),
}


def report_page(result: Result, shown: Sequence[Shown]) -> str:
    """The whole page; it fetches nothing and needs no network."""
    data, model = result.data, result.model
    parts = {
        "title": html.escape(f"{TITLES[result.protocol]}: {model['name']} on {data['name']}"),
        "summary": html.escape(
            f"{data['measured']} of the split {data['split']!r}, {_times(result.settings['repeats'])}, "
            f"seed {result.settings['seed']}."
        ),
        "notes": "".join(f'<p class="note">{html.escape(note)}</p>' for note in result.notes),
        "figures": _table(result.figures),
        "plots": "".join(_plots(result)),
        "ranked": html.escape(_ranked(result)),
        "samples": "".join(_sample(number, one, result) for number, one in enumerate(shown)),
        "run": _run(result),
        "pages": _json_in_html([one.page for one in shown]),
        "style": _asset("report.css"),
        "script": _asset("report.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], _asset("report.html"))


def figure_text(estimate: Estimate | None) -> str:
    """A figure with its interval, in four digits."""
    if estimate is None:
        return "–"
    interval = f" [{_digits(estimate.low)}, {_digits(estimate.high)}]" if math.isfinite(estimate.low) else ""
    return f"{_digits(estimate.value)}{interval}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _times(repeats: int) -> str:
    return "measured once" if repeats == 1 else f"generated {repeats} times"


def _table(figures: Sequence[Figure]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("Figure", "Generated", "Real", "", "Better", "Interval"))
    rows = "".join(
        f"<tr><td>{html.escape(f.label)}{f' ({f.unit})' if f.unit else ''}<small>{html.escape(f.says)}</small></td>"
        f'<td class="value">{figure_text(f.generated)}</td><td class="value">{figure_text(f.real)}</td>'
        f"<td>{interval_strip(f.label, f.generated, f.real)}</td><td>{f.better}</td>"
        f"<td><small>{html.escape(f.interval)}</small></td></tr>"
        for f in figures
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _plots(result: Result) -> list[str]:
    plots = []
    for name, (title, x_label, y_label) in CURVES.items():
        if name in result.curves:
            plots.append(_figure(title, line_plot(title, x_label, y_label, result.curves[name])))
    for figure in result.figures:
        curves = result.curves.get(figure.name)
        if curves is not None:
            title = f"{figure.label} by repeat"
            plots.append(_figure(title, line_plot(title, "repeat", figure.label, curves, figure.real)))
    for name in dict.fromkeys(name for sample in result.samples for name in sample.generated):
        if name.startswith("r_precision"):
            continue  # zeros and ones of a few repeats have no shape to show
        label, unit, _, _ = CLIP_FIGURES[name]
        own = [sample.generated[name] for sample in result.samples if name in sample.generated]
        real = [sample.real[name] for sample in result.samples if name in sample.real]
        recorded = result.curves.get(f"real_{name}", ())
        real += [value for curve in recorded for value in curve.y]
        plots.append(_figure(f"{label} of each sample", histogram(label, unit, own, real)))
    return plots


def _figure(title: str, plot: str) -> str:
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{plot}</figure>"


def _ranked(result: Result) -> str:
    label, _, _, _ = CLIP_FIGURES[RANKED_BY[result.protocol]]
    return f"By {label}. A click opens a player with what was generated, and the recording where it shows the same."


def _sample(number: int, shown: Shown, result: Result) -> str:
    name = RANKED_BY[result.protocol]
    label, unit, _, _ = CLIP_FIGURES[name]
    value = _digits(shown.sample.generated[name])
    what = f"{shown.sample.prompt} ({shown.sample.name})" if shown.sample.group else shown.sample.prompt
    return (
        f'<div class="sample" data-page="{number}"><button type="button" aria-expanded="false">'
        f"<b>{shown.rank}</b>{html.escape(what)} "
        f'<span class="soft">{label} {value}{f" {unit}" if unit else ""}</span></button></div>'
    )


def _run(result: Result) -> str:
    facts: list[tuple[str, object]] = [
        ("kinestream", result.run["kinestream"]),
        ("commit", result.run["commit"] or "not known"),
        ("began", result.run["began"]),
        ("took", f"{result.run['seconds']} s"),
        *((name, "the default" if value is None else value) for name, value in result.settings.items()),
        *((f"model, {name}", result.model[name]) for name in ("name", "kind", "sha256")),
        *((f"model, {name}", value) for name, value in _flat(result.model["settings"])),
        *((f"data, {name}", result.data[name]) for name in ("name", "measured", "left_out", "sha256")),
        *((f"data, {name}", value) for name, value in _flat(result.data.get("sources", {}))),
        *((f"evaluator, {name}", value) for name, value in result.evaluator.items()),
    ]
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts) + "</dl>"


def _flat(values: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        (name, ", ".join(str(part) for part in value.values()) if isinstance(value, Mapping) else value)
        for name, value in values.items()
    ]


def _json_in_html(value: Any) -> str:
    """JSON that no text in it can end."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files("kinestream.evaluation").joinpath(f"page_assets/{name}").read_text(encoding="utf-8")
