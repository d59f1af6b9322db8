"""`kinestream evaluate`: measure a model on a data set and write a report."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import aligned
from kinestream.cli.parser import add_verb, positive_float, positive_int, seed_int
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

PACKAGED = "default"

DESCRIPTION = """\
Measure a model on a data set that it never saw. MODEL is a model folder, or "default" for the packaged one; DATASET is
a folder that `kinestream data build` wrote, or one in a published layout. The report's folder gets report.html, which
opens without a network, report.json for `kinestream compare`, and what was generated: a run that was stopped goes on.

  text            motions from captions: FID, R-Precision, MM-Dist, diversity, multimodality, feet, floor, jitter
  stream          from one prompt to the next: peak jerk and area under the jerk, first frame, time of a latent
  reconstruction  the autoencoder alone: MPJPE, FID, feet, jitter
  dance           dances to songs: in time with own songs and with others, FID_k, FID_g, diversity, feet, jitter, rests,
                  what tokenizer and retrieval lose, frames a second
  capture         recordings damaged on purpose (skating, jitter, floating, sinking), restored: feet, jitter, floor, and
                  how near they come to the recordings

  kinestream evaluate default data/built --protocol text --repeats 20 -o report/
  kinestream evaluate runs/ar/model data/built --protocol stream --repeats 1 --samples 50 -o report-stream/
  kinestream evaluate default data/dances --protocol dance --repeats 3 -o report-dance/
  kinestream evaluate default data/built --protocol capture --samples 24 -o report-capture/
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `evaluate`."""
    parser = add_verb(
        verbs,
        "evaluate",
        usage="evaluate MODEL DATASET --protocol {text,stream,reconstruction,dance,capture} -o DIR [options]",
        summary="measure a model on a data set and write a report",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("model", metavar="MODEL", help='a model folder, or "default" for the packaged model')
    parser.add_argument("data", type=Path, metavar="DATASET", help="folder of a data set")
    parser.add_argument(
        "--protocol",
        choices=["text", "stream", "reconstruction", "dance", "capture"],
        required=True,
        metavar="NAME",
        help="see above",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the report's folder")
    parser.add_argument(
        "--repeats", type=positive_int, default=20, metavar="N", help="generate everything N times (default: 20)"
    )
    parser.add_argument(
        "--samples", type=positive_int, metavar="N", help="measure N recordings, evenly over the split (default: all)"
    )
    parser.add_argument("--split", metavar="NAME", help="of the data set (default: test, or val for streams)")
    parser.add_argument(
        "--batch",
        type=positive_int,
        default=32,
        metavar="N",
        help="captions that R-Precision chooses among (default: 32)",
    )
    parser.add_argument("--seed", type=seed_int, default=0, metavar="N", help="same seed, same figures (default: 0)")
    parser.add_argument("--guidance", type=positive_float, metavar="G", help="in place of the model's own")
    parser.add_argument("--processes", type=positive_int, default=2, metavar="N", help="side by side (default: 2)")
    parser.add_argument(
        "--evaluator",
        type=Path,
        metavar="DIR",
        help="an evaluator's folder (default: the packaged), for dances a retrieval network's (default: the model's)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, then print the figures as a table and the report's page."""
    model = None if arguments.model == PACKAGED else Path(arguments.model)
    for path, what in ((model, "a model folder"), (arguments.data, "a data set folder")):
        if path is not None and not path.is_dir():
            raise BadInputError(f"{path} is no folder; expected {what}")
    from kinestream.cli.progress import progress_bar
    from kinestream.evaluation import EvaluationSettings, Place, evaluate
    from kinestream.evaluation.page import figure_text
    from kinestream.evaluation.result import PAGE_NAME

    settings = EvaluationSettings(
        **{field.name: getattr(arguments, field.name) for field in fields(EvaluationSettings)}
    )
    result = evaluate(Place(model, arguments.data, arguments.output, arguments.evaluator), settings, progress_bar)
    rows = [("figure", "generated", "real")]
    rows += [
        (f"{f.label}{f' ({f.unit})' if f.unit else ''}", figure_text(f.generated), figure_text(f.real))
        for f in result.figures
    ]
    print("\n".join(aligned(rows)))
    print(arguments.output / PAGE_NAME)
