"""The figures as a table to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(results: Mapping[str, Any]) -> str:
    """Metrics, groups of sentences, what is noticed of unknown prompts, and the worst sentences."""
    lines = [_line("what is asked", "prompts", "generated", "shuffled", "recorded", "shuffled")]
    for own in results["metrics"].values():
        if own["generated"] is not None:
            cells = (str(own["prompts"]), _share(own["generated"]), _number(own["shuffled"]))
            lines.append(_line(own["says"], *cells, _share(own["real"]), _number(own["real_shuffled"])))
    lines.append(_line("everything that could be judged", "", _share(results["as_asked"])))
    long = results["lengths"]
    lines.append(
        _line("lasts to the limit / under a second", "", _share(long["at_limit"]), _share(long["under_a_second"]))
    )
    for title in ("groups", "traits"):
        lines += ["", _line(title, "prompts", "as asked", "content")]
        for name, own in results[title].items():
            lines.append(_line(name, str(own["prompts"]), _share(own["as_asked"]), _share(own["content"])))
    knows = results["knows"]
    lines += ["", _line("says that it doesn't know", "", "unknown", "known", "AUC")]
    for name in ("text", "motion", "both"):
        own = knows[name]
        cells = (_share(own["unknown_said"]), _share(own["known_said"]), _number(own["auc"]))
        lines.append(_line(f"  from {name}", "", *cells))
    lines += ["", "worst sentences:"]
    for own in results["worst"]:
        shown = "; ".join(f"{what} ({count})" for what, count in own["shown"].items())
        lines.append(f"  {own['right']:.2f}  {own['text']}  ->  {shown}")
    return "\n".join(lines)


def _line(first: str, *cells: str) -> str:
    return f"{first:<38}" + "".join(f"{cell:>20}" for cell in cells).rstrip()


def _share(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.2f}-{figure['high']:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
