"""How fast the engine is, in one table: the plain loop, exact mode and fast mode beside what the machine allows.

    python -m benchmarks.engine                               # both sizes, prints and saves
    python -m benchmarks.engine --sizes default --streams 256
    python -m benchmarks.engine --threads 1 --latents 20
    python -m benchmarks.engine --threads 1 --clock processor # where other work shares the machine

The three take turns, each in a process of its own, so that a busy moment meets all of them and memory is each one's
own. Weights are random: speed does not depend on what they have learned. Streams that step together double until a
step takes longer than the motion that it gives; `benchmarks.engine.plot` draws that.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.machine import Machine, floor_seconds, measured_machine
from benchmarks.engine.models import Size
from benchmarks.engine.plot import OUT as PICTURE
from benchmarks.engine.plot import curves_of, most_in_time, write
from benchmarks.engine.worker import CLOCKS
from kinestream.features import MOTION272
from kinestream.inference.compiled import FAST_STEPS
from kinestream.models.ar_diffusion import ARDiffusionConfig

KINDS = ("baseline", "exact", "fast")
FRAMES = 4
LATENT_S = FRAMES / MOTION272.fps
OUT = Path("docs/results/engine.json")


class Worker:
    """A process of `benchmarks.engine.worker`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.loaded_s = float(self.read()["loaded_s"])

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for the answer."""
        self.send(**request)
        return self.read()

    def send(self, **request: Any) -> None:
        """Ask, and don't wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with exit code {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def worker(kind: str, size: Size, threads: int, clock: str) -> Iterator[Worker]:
    """A worker that is ready; it ends with the block."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.engine.worker",
        kind,
        size,
        "--threads",
        str(threads),
        "--clock",
        clock,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Worker(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all lies at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rounds_of(kind: str, size: Size, latents: int) -> int:
    """Latents a round; the plain loop at the paper's size takes seconds for one."""
    if kind == "baseline":
        return 1 if size == "paper" else 3
    return max(1, latents // (8 if kind == "fast" else 20))


def crowds_of(one: Worker, most: int) -> dict[str, list[float]]:
    """Times of a step of 1, 2, 4, ... streams, up to the first number that is not in time."""
    found: dict[str, list[float]] = {}
    streams = 1
    while streams <= most:
        found[str(streams)] = one.ask(do="streams", streams=streams)["seconds"]
        if quantile(found[str(streams)], 0.99) > LATENT_S:
            break
        streams *= 2
    return found


def measure(size: Size, threads: int, latents: int, streams: int, clock: str) -> dict[str, dict[str, Any]]:
    """All figures of one size."""
    with ExitStack() as stack:
        workers = {kind: stack.enter_context(worker(kind, size, threads, clock)) for kind in KINDS}
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        first: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(4 if size == "paper" else 8):
            for kind, one in workers.items():
                taken[kind] += one.ask(do="latents", count=rounds_of(kind, size, latents))["seconds"]
                first[kind] += one.ask(do="first", count=1 if kind == "baseline" else 3)["seconds"]
        memory = {kind: one.ask(do="memory") for kind, one in workers.items()}
        crowds = {kind: crowds_of(workers[kind], streams) for kind in ("exact", "fast")}
        loaded = {kind: one.loaded_s for kind, one in workers.items()}
    return {kind: _figures(kind, taken, first, memory, crowds, loaded) for kind in KINDS}


def _figures(
    kind: str,
    taken: dict[str, list[float]],
    first: dict[str, list[float]],
    memory: dict[str, dict[str, float]],
    crowds: dict[str, dict[str, list[float]]],
    loaded: dict[str, float],
) -> dict[str, Any]:
    median = statistics.median(taken[kind])
    return {
        "first_frame_s": statistics.median(first[kind]),
        "latent_median_s": median,
        "latent_p99_s": quantile(taken[kind], 0.99),
        "frames_per_second": FRAMES / median,
        "times_real_time": LATENT_S / median,
        "times_baseline": statistics.median(taken["baseline"]) / median,
        "resident_mb": memory[kind]["resident_mb"],
        "peak_mb": memory[kind]["peak_mb"],
        "loaded_s": loaded[kind],
        "latents_timed": len(taken[kind]),
        "streams": {
            count: {"step_median_s": statistics.median(values), "step_p99_s": quantile(values, 0.99)}
            for count, values in crowds.get(kind, {}).items()
        },
    }


def with_floor(figures: dict[str, dict[str, Any]], size: Size, machine: Machine) -> dict[str, dict[str, Any]]:
    """Put the least possible time beside what was measured."""
    whole = ARDiffusionConfig().diffusion_steps
    for kind in ("exact", "fast"):
        floor = floor_seconds(size, FAST_STEPS if kind == "fast" else whole, machine, int8=kind == "fast")
        figures[kind]["floor_s"] = floor
        figures[kind]["times_floor"] = figures[kind]["latent_median_s"] / floor["latent"]
    return figures


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| size | | first frame | a latent | p99 | frames/s | x real time | x baseline | floor | memory (peak) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size, kinds in results.items():
        for kind, row in kinds.items():
            floor = f"{1000 * row['floor_s']['latent']:.1f} ms" if "floor_s" in row else ""
            lines.append(
                f"| {size} | {kind} | {1000 * row['first_frame_s']:.0f} ms | {1000 * row['latent_median_s']:.1f} ms "
                f"| {1000 * row['latent_p99_s']:.1f} ms | {row['frames_per_second']:.1f} "
                f"| {row['times_real_time']:.2f} | {row['times_baseline']:.1f} | {floor} "
                f"| {row['resident_mb']:.0f} ({row['peak_mb']:.0f}) MB |"
            )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", default="default,paper", help="which sizes (default: default,paper)")
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--latents", type=int, default=100, help="latents of fast mode that are timed, about")
    parser.add_argument("--streams", type=int, default=1024, help="most streams that step together (default: 1024)")
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default="wall", help="processor: beside other work, with one thread"
    )
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to save (default: {OUT})")
    parser.add_argument("--picture", type=Path, default=PICTURE, help=f"where to draw streams (default: {PICTURE})")
    arguments = parser.parse_args()
    sizes: list[Size] = [size for size in ("default", "paper") if size in arguments.sizes.split(",")]  # type: ignore[misc]
    if not sizes:
        parser.error(f"--sizes {arguments.sizes}: expected default, paper or both")
    if arguments.clock == "processor" and arguments.threads != 1:
        parser.error("--clock processor counts the time of one thread; add --threads 1")
    machine = measured_machine(arguments.threads, CLOCKS[arguments.clock])
    print(
        f"{machine.threads} threads read {machine.bandwidth / 1e9:.0f} GB/s, multiply {machine.float32 / 1e9:.0f} "
        f"GFLOP/s in float32 and {machine.int8 / 1e9:.0f} GOP/s in int8",
        flush=True,
    )
    results = {}
    for size in sizes:
        figures = measure(size, arguments.threads, arguments.latents, arguments.streams, arguments.clock)
        results[size] = with_floor(figures, size, machine)
        print(table({size: results[size]}), flush=True)
    saved = {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "machine": asdict(machine),
        "clock": arguments.clock,
        "fast_steps": FAST_STEPS,
        "sizes": results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(saved, indent=1) + "\n")
    for name, points in curves_of(saved).items():
        steps = ", ".join(f"{count}: {ms:.0f} ms" for count, ms in points)
        print(f"{name}: {most_in_time(points)} streams in time; p99 of a step with {steps}")
    write(saved, arguments.picture)
    print(f"saved {arguments.output} and {arguments.picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
