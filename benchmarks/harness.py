"""What the benches share: their command lines, clocks, checks against limits, and how results are printed and saved."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kinestream.errors import KinestreamError
from kinestream.io.atomic import atomic_path

Arguments = Sequence[str] | None
Limits = Mapping[str, tuple[str, float]]

# What names a place or only says how much of the machine is used: no figure depends on it.
NO_FIGURES = ("help", "data", "out", "cache", "threads", "processes", "check", "json")


class Taken(NamedTuple):
    """What a piece of work took; processor seconds hold on a busy machine, too."""

    wall_s: float
    processor_s: float


def command_line(module: str, doc: str | None, *, threads: int | None = None) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.MODULE`, whose help is the module's docstring; `threads`: their default."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads, help=f"threads (default {threads})")
    return parser


def run(
    parser: argparse.ArgumentParser, bench: Callable[[argparse.Namespace], int | None], arguments: Arguments
) -> int:
    """Parse and run; the bench's own exit code (None is 0), or one line and the error's code where it can't run."""
    given = parser.parse_args(arguments)
    if (threads := getattr(given, "threads", None)) is not None:
        if threads < 1:
            parser.error(f"--threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    try:
        return bench(given) or 0
    except KinestreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def command_of(parser: argparse.ArgumentParser, given: argparse.Namespace, base: str) -> str:
    """`base` and the options that change figures and aren't their defaults, without this machine's folders."""
    parts = [base]
    for action in parser._actions:
        value = getattr(given, action.dest, action.default)
        if action.dest in NO_FIGURES or value == action.default:
            continue
        said = action.dest.upper() if isinstance(value, Path) else value
        parts.append(action.option_strings[0] + ("" if value is True else f" {said}"))
    return " ".join(parts)


def timed(work: Callable[[], object]) -> Taken:
    """What `work` takes."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - wall, time.process_time() - processor)


def machine_facts() -> dict[str, Any]:
    """When and on what it was measured."""
    return {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }


def missed(figures: Mapping[str, float], limits: Limits) -> list[str]:
    """A line on stderr for each figure beyond its limit ("at most" or "at least"), and these lines."""
    lines = [
        f"{name} is {figures[name]:.3f}, should be {how} {limit:g}"
        for name, (how, limit) in limits.items()
        if (figures[name] > limit if how == "at most" else figures[name] < limit)
    ]
    for line in lines:
        print(line, file=sys.stderr)
    return lines


def save(results: Any, path: Path) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def show(results: Any) -> None:
    """Print JSON."""
    print(json.dumps(results, indent=1, ensure_ascii=False))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
