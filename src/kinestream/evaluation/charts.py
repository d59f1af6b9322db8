"""Plots as inline SVG, drawn by ourselves: they follow the page's colours and need nothing from outside."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from kinestream.evaluation.result import Curve
from kinestream.metrics import Estimate

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 42
STRIP_WIDTH, STRIP_HEIGHT = 180, 26
BINS = 24
OWN, REAL = "own", "real"


def interval_strip(label: str, generated: Estimate, real: Estimate | None) -> str:
    """A dot with its interval, and the recordings' as a band and a line, on a scale of their own."""
    ends = [v for one in (generated, real) if one for v in (one.value, one.low, one.high) if math.isfinite(v)]
    low, high = _padded(min(ends), max(ends))

    def place(value: float) -> float:
        return 6 + (STRIP_WIDTH - 12) * (value - low) / (high - low)

    middle, marks = STRIP_HEIGHT / 2, [f'<line class="axis" x1="6" x2="{STRIP_WIDTH - 6}" y1="20" y2="20"/>']
    if real is not None:
        if math.isfinite(real.low):
            left, right = place(real.low), place(real.high)
            wide = max(right - left, 1.0)
            marks.append(f'<rect class="{REAL} band" x="{left:.1f}" y="4" width="{wide:.1f}" height="16"/>')
        x = place(real.value)
        marks.append(f'<line class="{REAL}" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="20"/>')
    if generated.low < generated.high:
        left, right = place(generated.low), place(generated.high)
        marks.append(f'<line class="{OWN}" x1="{left:.1f}" x2="{right:.1f}" y1="{middle}" y2="{middle}"/>')
    marks.append(f'<circle class="{OWN}" cx="{place(generated.value):.1f}" cy="{middle}" r="3.5"/>')
    return _svg(label, marks, STRIP_WIDTH, STRIP_HEIGHT, "strip")


def histogram(label: str, unit: str, generated: Sequence[float], real: Sequence[float]) -> str:
    """How the clips' own figures lie: generated as bars, recordings as an outline; shares of all clips."""
    low, high = _padded(min([*generated, *real]), max([*generated, *real]))
    low = 0.0 if min([*generated, *real]) >= 0.0 > low else low
    shares = [_shares(values, low, high) for values in (generated, real) if values]
    plot = _Plot(low, high, 0.0, max(max(own) for own in shares) * 1.08)
    step = (high - low) / BINS
    marks = plot.axes(f"{label}{f', {unit}' if unit else ''}", "share of clips")
    for number, share in enumerate(shares[0]):
        if share > 0:
            left, right = plot.x(low + number * step), plot.x(low + (number + 1) * step)
            top = plot.y(share)
            marks.append(
                f'<rect class="{OWN} bar" x="{left + 0.5:.1f}" y="{top:.1f}" width="{right - left - 1:.1f}" '
                f'height="{plot.y(0.0) - top:.1f}"/>'
            )
    if real:
        points = [(low, 0.0)]
        for number, share in enumerate(shares[1]):
            points += [(low + number * step, share), (low + (number + 1) * step, share)]
        marks.append(plot.path([*points, (high, 0.0)], REAL))
    return _svg(label, marks, WIDTH, HEIGHT, "plot")


def line_plot(label: str, x_label: str, y_label: str, curves: Sequence[Curve], level: Estimate | None = None) -> str:
    """Lines with a dot at each value where there are few; `level` draws the recordings' figure across."""
    xs = [x for curve in curves for x in curve.x]
    ys = [y for curve in curves for y in curve.y] + ([level.value] if level is not None else [])
    low, high = _padded(min(ys), max(ys))
    plot = _Plot(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1.0, low, high)
    marks = plot.axes(x_label, y_label)
    if level is not None:
        marks.append(plot.path([(plot.left, level.value), (plot.right, level.value)], f"{REAL} dashed"))
    for curve in curves:
        kind = REAL if curve.label == "real" else OWN
        points = list(zip(curve.x, curve.y, strict=True))
        marks.append(plot.path(points, kind))
        if len(points) <= 30:
            marks += [f'<circle class="{kind}" cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="2.5"/>' for x, y in points]
    return _svg(label, marks, WIDTH, HEIGHT, "plot")


class _Plot:
    """From values to places on the paper."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self.left, self.right, self.low, self.high = left, right, low, high

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> str:
        places = " ".join(f"{'M' if k == 0 else 'L'}{self.x(x):.1f} {self.y(y):.1f}" for k, (x, y) in enumerate(points))
        return f'<path class="{kind}" d="{places}"/>'

    def axes(self, x_label: str, y_label: str) -> list[str]:
        """Lines, ticks and labels."""
        floor, middle = HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2
        marks = [f'<path class="axis" d="M{LEFT} {TOP} V{floor} H{WIDTH - RIGHT}"/>']
        for value in ticks(self.left, self.right):
            x = self.x(value)
            marks.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>')
            marks.append(_text(x, floor + 16, _number(value)))
        for value in ticks(self.low, self.high):
            y = self.y(value)
            marks.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            marks.append(_text(LEFT - 6, y + 3.5, _number(value), "end"))
        marks.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label))
        marks.append(f'<g transform="rotate(-90 12 {middle})">{_text(12, middle, y_label)}</g>')
        return marks


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within the range, `about` as many."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(nice for nice in (1.0, 2.0, 5.0, 10.0) if nice * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _padded(low: float, high: float) -> tuple[float, float]:
    span = (high - low) or abs(high) or 1.0
    return low - 0.08 * span, high + 0.08 * span


def _shares(values: Sequence[float], low: float, high: float) -> list[float]:
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, max(0, int(BINS * (value - low) / (high - low))))] += 1
    return [count / len(values) for count in counts]


def _svg(label: str, marks: Sequence[str], width: int, height: int, kind: str) -> str:
    name = html.escape(label, quote=True)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{name}"><title>{name}</title>{"".join(marks)}</svg>'
    )
