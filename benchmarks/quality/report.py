"""Figures against their targets, as JSON rows and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One promise: `name`, what it says, where its figure stands in the results, and the bounds that it must keep."""

    name: str
    says: str
    path: tuple[str, ...]
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}{self.unit}"
        return f"at least {self.least:g}{self.unit}" if self.least is not None else f"at most {self.most:g}{self.unit}"

    def met(self, value: float | None) -> bool | None:
        """Whether a figure keeps the bounds; None for a figure that could not be measured."""
        if value is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


TARGETS = (
    Target("reconstruction", "Causal TAE, MPJPE", ("reconstruction", "mpjpe_mm", "from_positions"), " mm", most=25.0),
    Target("content", "content named, generated / real", ("recognition", "content", "ratio"), least=0.85),
    Target("style", "style named, generated / real", ("recognition", "style", "ratio"), least=0.70),
    Target("skating", "foot skating, generated / real", ("plausibility", "foot_skating_ratio", "ratio"), most=1.25),
    Target("jitter", "jitter, generated / real", ("plausibility", "jitter_mps3", "ratio"), most=1.25),
    Target("floor", "deepest joint below the floor", ("plausibility", "worst_depth_m", "generated"), " m", most=0.02),
    Target("length", "median length, generated / real", ("plausibility", "length_s", "ratio"), least=0.75, most=1.25),
    Target(
        "transition_median",
        "median peak jerk, switches / inside clips",
        ("transitions", "matched", "all", "median"),
        most=1.5,
    ),
    Target(
        "transition_mean",
        "mean peak jerk, switches / inside clips",
        ("transitions", "matched", "all", "mean"),
        most=1.5,
    ),
)


def target_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a target: its figure with interval, its bounds and whether it is met."""
    rows = []
    for target in TARGETS:
        found: Any = results
        for key in target.path:
            found = found[key]
        figure = found if isinstance(found, Mapping) else {"value": found, "low": None, "high": None}
        rows.append(
            {
                "name": target.name,
                "says": target.says,
                "value": figure["value"],
                "low": figure["low"],
                "high": figure["high"],
                "unit": target.unit.strip(),
                "target": target.bounds,
                "met": target.met(figure["value"]),
            }
        )
    return rows


def table(results: Mapping[str, Any]) -> str:
    """The targets, then the figures behind them."""
    lines = [_line("figure", "value", "95 % interval", "target", "")]
    for row in results["targets"]:
        verdict = {True: "met", False: "MISSED", None: "not measured"}[row["met"]]
        lines.append(_line(row["says"], _number(row["value"], row["unit"]), _interval(row), row["target"], verdict))
    lines += ["", _line("figure", "real", "autoencoded", "generated", "ratio")]
    for kind in ("content", "style"):
        own = results["recognition"][kind]
        decoded = results["autoencoded"]["recognition"][kind]["generated"]["value"]
        values = (own["real"]["value"], decoded, own["generated"]["value"], own["ratio"]["value"])
        lines.append(_line(f"{kind} named", *map(_number, values)))
    for name, own in results["plausibility"].items():
        decoded = results["autoencoded"]["plausibility"][name]["generated"]
        values = (_value(own["real"]), _value(decoded), _value(own["generated"]), _value(own.get("ratio")))
        lines.append(_line(name, *map(_number, values)))
    lines += _transition_lines(results["transitions"])
    few = results["few_shot"]
    if few["share_named"] is not None:
        lines.append(_line("few-shot contents named", "", "", _number(few["share_named"]["value"]), ""))
    return "\n".join(lines)


def _transition_lines(found: Mapping[str, Any]) -> list[str]:
    peaks, lines = found["peak_jerk_mps3"], []
    for name, own in peaks["generated"].items():
        for kind, figure in own.items():
            values = (
                peaks["real_matched"][kind]["value"],
                None,
                figure["value"],
                found["matched"][name][kind]["value"],
            )
            lines.append(_line(f"peak jerk, {name}, {kind}", *map(_number, values)))
    for kind, figure in found["any_window"]["all"].items():
        values = (
            peaks["real_any_window"][kind]["value"],
            None,
            peaks["generated"]["all"][kind]["value"],
            figure["value"],
        )
        perfect = _number(found["any_window_of_perfect"][kind])
        lines.append(_line(f"  of any window, {kind} (perfect: {perfect})", *map(_number, values)))
    return lines


def _line(*cells: str) -> str:
    first, *rest = cells
    return f"{first:<46}" + "".join(f"{cell:>20}" for cell in rest).rstrip()


def _value(figure: Any) -> float | None:
    value: float | None = figure["value"] if isinstance(figure, Mapping) else figure
    return value


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.4g} {unit}".strip()


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
