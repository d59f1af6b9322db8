"""`kinestream compare`: two reports side by side, and which differences are beyond noise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import aligned
from kinestream.cli.parser import add_verb

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

DESCRIPTION = """\
Set two reports of `kinestream evaluate` side by side. Both must have measured the same recordings and captions: then
every difference is taken clip by clip, and its 95 % interval (paired bootstrap) says whether it is more than noise. Of
twenty equal figures one looks different all the same.

  kinestream compare report-a/ report-b/
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `compare`."""
    parser = add_verb(
        verbs,
        "compare",
        usage="compare A B",
        summary="set two reports side by side: which differences are beyond noise",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("a", type=Path, metavar="A", help="a report's folder, or its report.json")
    parser.add_argument("b", type=Path, metavar="B", help="the other one")


def run(arguments: argparse.Namespace) -> None:
    """Print a line a figure."""
    from kinestream.evaluation import compare
    from kinestream.evaluation.page import figure_text

    rows: list[tuple[str, ...]] = [("figure", "A", "B", "real", "A - B", "verdict")]
    for one in compare(arguments.a, arguments.b):
        label = f"{one.label}{f' ({one.unit})' if one.unit else ''}"
        verdict = one.verdict.replace("a is", "A is").replace("b is", "B is")
        rows.append((label, *(figure_text(value) for value in (one.a, one.b, one.real, one.difference)), verdict))
    print("\n".join(aligned(rows)))
