"""`kinestream data`: build data sets for training."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import HelpFormatter, add_verb, positive_int, whole_number
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.motion import Motion

DESCRIPTION = """\
Turn recordings into the folder layout that training reads (HumanML3D-272's: motion_data, texts, split, mean_std, and a
manifest.json with counts, hours, licences and rejects). The build uses all cores and goes on where it was stopped.

  kinestream data build --motions FOLDER -o data/mine
  kinestream data build --bandai-namco PATH --deepmimic PATH -o data/built
  kinestream data build --dance-with-melody PATH -o data/dances
"""

BUILD_DESCRIPTION = """\
Build one data set from the recordings that you have; at least one source is needed. The Bandai-Namco set is given as
its archive or as the folder that holds Bandai-Namco-Research-Motiondataset-1 and -2, DeepMimic's clips as their
folder, CMU's recordings as an archive or a folder with their index.csv. Dances are built into a folder of their own,
with features of their songs and splits by song.

--motions is for your own motion files, any that `kinestream convert` reads, in sub-folders too. Their captions stand in
NAME.txt beside NAME.bvh, one sentence a line, or in one table FOLDER/ANY.csv with the columns file, caption and, if you
like, start and end (seconds).

  kinestream data build --motions my_takes -o data/mine
  kinestream data build --bandai-namco bandai-namco-motion.tar.xz --deepmimic deepmimic-clips -o data/built
  kinestream data build --dance-with-melody dance-with-melody -o data/dances
"""
_SOURCES = ("motions", "bandai-namco", "deepmimic", "cmu", "dance-with-melody", "aistpp", "finedance", "infinitedance")
_SHOWN_REJECTS = 5


def add_parser(verbs: Subparsers) -> None:
    """Add `data` with its sub-command `build`."""
    parser = add_verb(
        verbs, "data", usage="data build ... -o DIR", summary="build data sets for training", description=DESCRIPTION
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        prog="kinestream data build",
        usage="kinestream data build --SOURCE PATH [--SOURCE PATH ...] [options] -o DIR",
        help="build a data set from recordings",
        description=BUILD_DESCRIPTION,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    build.add_argument("--motions", type=Path, metavar="FOLDER", help="your own motion files with their captions")
    build.add_argument("--bandai-namco", type=Path, metavar="PATH", help="Bandai-Namco Research Motion Dataset 1 and 2")
    build.add_argument("--deepmimic", type=Path, metavar="PATH", help="DeepMimic's reference clips (a folder)")
    build.add_argument("--cmu", type=Path, metavar="PATH", help="CMU's motion capture library (amc, asf, index.csv)")
    build.add_argument(
        "--kit-ml", type=Path, metavar="FILE", help="KIT-ML's captions as JSON, for the recordings of --cmu"
    )
    build.add_argument("--dance-with-melody", type=Path, metavar="PATH", help="Dance with Melody (with its audio)")
    build.add_argument("--aistpp", type=Path, metavar="PATH", help="AIST++, motions converted to npz, and its wavs")
    build.add_argument("--finedance", type=Path, metavar="PATH", help="FineDance (motion, music_wav, label_json)")
    build.add_argument("--infinitedance", type=Path, metavar="PATH", help="InfiniteDance's released folder of data")
    build.add_argument(
        "--captions",
        type=positive_int,
        default=12,
        metavar="N",
        help="captions a labelled recording, at most (default: 12)",
    )
    build.add_argument(
        "--pairs",
        type=whole_number,
        metavar="N",
        help="contextual pairs (default: 3000, at most ten a training clip)",
    )
    build.add_argument("--no-mirror", action="store_true", help="leave out the copies with left and right exchanged")
    build.add_argument(
        "--tempo", type=whole_number, default=0, metavar="PERCENT",
        help="so many of a hundred train recordings also get a faster or slower copy (default: 0)",
    )  # fmt: skip
    build.add_argument(
        "--mixes", type=whole_number, default=0, metavar="N",
        help="clips to try with one recording's legs and another's arms; unsound ones are left out (default: 0)",
    )  # fmt: skip
    build.add_argument(
        "--hold-out-songs", type=Path, metavar="DIR", help="dances to the songs in this folder are for testing only"
    )
    build.add_argument("--workers", type=positive_int, metavar="N", help="processes (default: one per core)")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the data set's folder")
    build.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Build, say on stderr what came out, print the folder."""
    paths = {name: getattr(arguments, name.replace("-", "_")) for name in _SOURCES}
    given = {name: path for name, path in paths.items() if path is not None}
    if not given:
        raise BadInputError(f"name at least one source: {', '.join(f'--{name} PATH' for name in _SOURCES)}")
    for name, path in given.items():
        if not path.exists():
            raise BadInputError(f"--{name}: {path} does not exist")
    if arguments.kit_ml is not None and not arguments.kit_ml.is_file():
        raise BadInputError(f"--kit-ml: {arguments.kit_ml} is not a file")
    from kinestream.data.build import BuildOptions, build

    options = BuildOptions(
        captions_per_recording=arguments.captions,
        mirror=not arguments.no_mirror,
        pairs=arguments.pairs,
        workers=arguments.workers or min(os.cpu_count() or 1, 64),
        tempo_percent=arguments.tempo,
        mixes=arguments.mixes,
    )
    manifest = build(
        given,
        arguments.output,
        options,
        hold_out=arguments.hold_out_songs,
        kit_ml=arguments.kit_ml,
        judge=penalties,
    )
    summary = manifest.summary()
    splits = ", ".join(f"{split['recordings']} {name}" for name, split in summary["splits"].items())
    print(
        f"{summary['recordings']} recordings ({splits}), {summary['hours']} h, {summary['rejects']} rejected "
        f"(`kinestream info {arguments.output}` says more)",
        file=sys.stderr,
    )
    for reject in manifest.rejects[:_SHOWN_REJECTS]:
        print(f"rejected {reject['name']}: {reject['reason']}", file=sys.stderr)
    if len(manifest.rejects) > _SHOWN_REJECTS:
        print(f"and {len(manifest.rejects) - _SHOWN_REJECTS} more, in manifest.json", file=sys.stderr)
    print(arguments.output)


def penalties(motion: Motion) -> dict[str, float]:
    """What `kinestream inspect` holds against a motion, by check."""
    from kinestream.metrics.inspection import inspect_motion

    return inspect_motion(motion).penalties
