"""Streams that step together against the time of a step: a picture of what `python -m benchmarks.engine` has saved.

python -m benchmarks.engine.plot                          # docs/results/engine.json -> docs/images/streams.svg
"""

from __future__ import annotations

import argparse
import html
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinestream.io.atomic import atomic_path

SOURCE, OUT = Path("docs/results/engine.json"), Path("docs/images/streams.svg")
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 130, 40, 52
COLOURS = ("#3366cc", "#dc3912", "#109618", "#990099")
LATENT_MS = 4000 / 30
# Labels of lines are at least so far apart.
LABEL_GAP = 14.0

Points = Sequence[tuple[int, float]]


def curves_of(saved: Mapping[str, Any]) -> dict[str, Points]:
    """For each size and mode: streams, and the p99 of a step in ms."""
    found = {}
    for size, kinds in saved["sizes"].items():
        for kind, row in kinds.items():
            points = [(int(n), 1000 * step["step_p99_s"]) for n, step in row.get("streams", {}).items()]
            if points:
                found[f"{size}, {kind}"] = sorted(points)
    return found


def picture(curves: Mapping[str, Points], title: str) -> str:
    """An SVG of its own, both axes logarithmic; what lies under the dashed line is in time."""
    counts = sorted({n for points in curves.values() for n, _ in points})
    times = [ms for points in curves.values() for _, ms in points] + [LATENT_MS]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x(streams: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(streams / counts[0]) / max(
            math.log2(counts[-1] / counts[0]), 1
        )

    def y(ms: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(ms) - low) / (high - low)

    floor = HEIGHT - BOTTOM
    marks = [f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#666"/>']
    marks += [_text(x(streams), floor + 18, str(streams)) for streams in counts]
    for power in range(low, high + 1):
        height = y(10.0**power)
        marks.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        marks.append(_text(LEFT - 8, height + 4, f"{10.0**power:g} ms", "end"))
    marks.append(f'<path d="M{LEFT} {y(LATENT_MS):.1f}H{WIDTH - RIGHT}" stroke="#666" stroke-dasharray="5 4"/>')
    marks.append(_text(LEFT + 6, y(LATENT_MS) - 5, f"real time: {LATENT_MS:.0f} ms a latent", "start"))
    labelled = TOP - LABEL_GAP
    ordered = sorted(curves.items(), key=lambda item: -item[1][-1][1])
    for number, (name, points) in enumerate(ordered):
        colour = COLOURS[number % len(COLOURS)]
        places = [(x(streams), y(ms)) for streams, ms in points]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        marks.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in places]
        labelled = max(places[-1][1] + 4, labelled + LABEL_GAP)
        marks.append(_text(places[-1][0] + 9, labelled, name, "start", colour))
    marks.append(_text(WIDTH / 2, 20, title))
    marks.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "streams that step together"))
    marks.append(f'<g transform="rotate(-90 14 {HEIGHT / 2})">{_text(14, HEIGHT / 2, "a step, p99")}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(marks)}</svg>\n"
    )


def most_in_time(points: Points) -> int:
    """The largest number of streams whose steps are all shorter than the motion that they give; 0 for none."""
    fitting = 0
    for streams, ms in points:
        if ms >= LATENT_MS:
            break
        fitting = streams
    return fitting


def write(saved: Mapping[str, Any], path: Path) -> None:
    """The picture of a benchmark's results; nothing where streams were not timed."""
    curves = curves_of(saved)
    if not curves:
        return
    machine = saved["machine"]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    clock = "" if saved["clock"] == "wall" else f", {saved['clock']} time"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(
            picture(curves, f"{threads}, {machine['bandwidth'] / 1e9:.0f} GB/s{clock}, {saved['date']}")
        )


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{html.escape(text)}</text>'


def main() -> int:
    """Draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=SOURCE, help=f"what was saved (default: {SOURCE})")
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to draw (default: {OUT})")
    arguments = parser.parse_args()
    write(json.loads(arguments.results.read_text()), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
