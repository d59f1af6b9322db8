"""The papers' ablations on the real recordings, at a small equal budget.

python -m benchmarks.ablations --list
python -m benchmarks.ablations compressors root-loss ar-design guidance latency --data data/built -o runs/ablations
python -m benchmarks.ablations dance-components bands ranks copying long-dances --dance-data data/dances \\
    --tokenizer runs/rvq_vae/model --retrieval runs/retrieval/model -o runs/ablations

Without names all tables whose data is given are run. What is finished is not run again: a run that is stopped goes on
where it was, and a variant that two tables share is trained once. A star marks a difference to the table's base row
that is beyond noise over the same test clips (of training, there is one run a row: "another seed" says how much that
moves). The same options give the same figures on the same machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.ablations.bench import Bench, Options
from benchmarks.ablations.document import table_json, text_table, update
from benchmarks.ablations.studies import STUDIES, Study
from benchmarks.harness import command_line, run
from kinestream.errors import BadInputError

JSON = Path("docs/results/ablations.json")
OF_DANCES = ("dance-components", "bands", "ranks", "copying", "long-dances")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tables; 0 where they were measured, whichever way they came out."""
    return run(_options(), _bench, arguments)


def _bench(given: argparse.Namespace) -> None:
    if given.list:
        for study in STUDIES:
            print(f"{study.name:18} {study.source}: {study.question}")
        return
    own = {field.name: getattr(given, field.name) for field in fields(Options) if hasattr(given, field.name)}
    bench = Bench(Options(given.output, **own))
    for study in _chosen(given):
        print(f"{study.name} ...", file=sys.stderr)
        table = table_json(study, study.measure(bench))
        update(given.json, [table], [one.name for one in STUDIES])
        print(text_table(table) + "\n", flush=True)


def _options() -> argparse.ArgumentParser:
    options = command_line("ablations", __doc__, threads=1)
    options.add_argument("names", nargs="*", metavar="NAME", help="tables to run; see --list")
    options.add_argument("--list", action="store_true", help="say what there is")
    options.add_argument("-o", "--output", type=Path, default=Path("runs/ablations"), help="folder of the runs")
    options.add_argument("--json", type=Path, default=JSON, help=f"file that gets the tables (default {JSON})")
    options.add_argument("--data", type=Path, help="text data set that `kinestream data build` wrote")
    options.add_argument("--dance-data", type=Path, help="dance data set that `kinestream data build` wrote")
    options.add_argument("--tokenizer", type=Path, help="folder of a trained rvq-vae")
    options.add_argument("--retrieval", type=Path, help="folder of a trained retrieval network")
    options.add_argument(
        "--dance-model", type=Path, help="dance model of ranks, copying and long-dances; default: the trained variant"
    )
    options.add_argument("--steps", type=int, help="optimiser steps of every variant; default: each recipe's own")
    options.add_argument("--recordings", type=int, default=400, help="training recordings of text tables (default 400)")
    options.add_argument("--samples", type=int, default=96, help="test recordings of text tables (default 96)")
    options.add_argument("--repeats", type=int, default=2, help="times that everything is generated (default 2)")
    options.add_argument("--seed", type=int, default=0)
    return options


def _chosen(given: argparse.Namespace) -> list[Study]:
    known = {study.name: study for study in STUDIES}
    if unknown := sorted(set(given.names) - set(known)):
        raise BadInputError(f"no table {', '.join(unknown)}; there are {', '.join(known)}")
    if given.steps is not None and given.steps < 1:
        raise BadInputError(f"--steps must be at least 1, got {given.steps}")
    if min(given.samples, given.recordings) < 4 or given.repeats < 1 or given.seed < 0:
        raise BadInputError(
            "expected --samples and --recordings of at least 4, --repeats of at least 1, --seed from 0 up"
        )
    if given.json.is_file():
        try:
            json.loads(given.json.read_text(encoding="utf-8"))["tables"]
        except (OSError, ValueError, KeyError, TypeError):
            raise BadInputError(f"{given.json} is no file of ablations; name another one with --json") from None
    if given.names:
        return [known[name] for name in dict.fromkeys(given.names)]
    there = [study for study in STUDIES if (given.dance_data if study.name in OF_DANCES else given.data) is not None]
    if not there:
        raise BadInputError("nothing to run: give --data, --dance-data or both")
    return there


if __name__ == "__main__":
    sys.exit(main())
