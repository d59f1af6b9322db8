"""`kinestream convert`: motion files into others, cut, joined, onto another skeleton or rate on the way."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.editing import EDITING_USAGE, add_editing_options, check_editing, edited
from kinestream.cli.outputs import SMPL_SUFFIXES, check_outputs, save
from kinestream.cli.parser import add_verb, existing_file, positive_float
from kinestream.cli.reading import READING_USAGE, add_reading_options, read_as_asked
from kinestream.cli.rig import add_rig_options
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.cli.rig import Rig
    from kinestream.io.motion_file import MotionFile
    from kinestream.motion import Motion

DESCRIPTION = """\
Convert motion files; several become one, blended into each other. The suffixes decide: reads .bvh, .amc (its .asf
beside it), .glb, .vrm, .vrma, .npz and .npy (SMPL parameters, joint positions, features); writes .glb, .fbx, .bvh,
.mp4, .png, .html, .npz and .npy. The last two hold SMPL's skeleton, so other bodies are retargeted to it. Bones are
recognised by name, tree and rest pose; for others give a map file, one JSON object {"their bone": "smpl22 joint"}. BVH
to BVH keeps unit, channels and names; Y is up.

  kinestream convert clip.bvh clip.glb
  kinestream convert clip.bvh -o clip.glb -o clip.mp4
  kinestream convert take.bvh take.npz --to smpl22 --fps 30
  kinestream convert dance.npz mine.bvh --rig my_character.bvh --report
  kinestream convert dance.bvh dancing.vrm --character me.vrm
  kinestream convert walk.bvh --loop --in-place -o cycle.glb
  kinestream convert walk.bvh sit.bvh --blend 0.5 --to smpl22 -o both.bvh
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `convert`."""
    parser = add_verb(
        verbs,
        "convert",
        usage="convert IN... (OUT | -o OUT...) [--fps N] [--to smpl22 | --rig FILE] [--map FILE] [--rig-map FILE]\n"
        f"                          [--report] {EDITING_USAGE}\n"
        f"                          {READING_USAGE}",
        summary="turn one motion file into another",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="IN", help="the files to read; without -o: IN OUT")
    parser.add_argument("-o", "--output", action="append", type=Path, metavar="OUT", help="a file to write; repeatable")
    parser.add_argument("--fps", type=positive_float, metavar="N", help="resample to N frames per second")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--to", choices=["smpl22"], metavar="SKELETON", help="retarget to this skeleton: smpl22")
    add_rig_options(target)
    parser.add_argument("--map", type=Path, metavar="FILE", help="JSON that says which of IN's bones is which joint")
    parser.add_argument("--rig-map", type=Path, metavar="FILE", help="the same for the bones of --rig")
    parser.add_argument("--report", action="store_true", help="print what was matched and the residual, as JSON")
    add_editing_options(parser)
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, retarget, join, cut, write; print the files written."""
    inputs, outputs = _inputs_outputs(arguments)
    for source in inputs:
        existing_file(source, "a motion file")
    asked = arguments.to is not None or arguments.rig is not None
    retargets = asked or len(inputs) > 1 or any(path.suffix.lower() in SMPL_SUFFIXES for path in outputs)
    if (arguments.map is not None or arguments.report) and not retargets:
        raise BadInputError("--map and --report belong to retargeting; add --to smpl22 or --rig FILE")
    if arguments.rig_map is not None and arguments.rig is None:
        raise BadInputError("--rig-map belongs to --rig FILE")
    check_editing(arguments, len(inputs))
    from kinestream.cli.rig import Rig, load_rig

    rig = load_rig(arguments.rig) if arguments.rig is not None else None
    check_outputs(outputs, rig)
    reads = [read_as_asked(source, arguments) for source in inputs]
    motions: list[Motion] = []
    for read in reads:
        motions.append(_on_target(read, arguments, rig, motions[0] if motions else None, outputs))
    motion = edited(motions, arguments)
    first = reads[0]
    keeps = rig is None and motion.skeleton.joint_names == first.motion.skeleton.joint_names
    written = Rig(motion.skeleton, first.layout) if keeps else rig
    for path in save([motion], outputs, written):
        print(path, file=sys.stderr if arguments.report else sys.stdout)


def _inputs_outputs(arguments: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """What to read and what to write: `IN OUT`, or any number of both with -o."""
    files: list[Path] = arguments.files
    if arguments.output:
        return files, arguments.output
    if len(files) == 2:
        return files[:1], files[1:]
    if len(files) == 1:
        raise BadInputError("expected a file to write: kinestream convert IN OUT, or -o OUT")
    raise BadInputError(f"{len(files)} files are named and none with -o; name the file to write with -o OUT")


def _on_target(
    read: MotionFile, arguments: argparse.Namespace, rig: Rig | None, first: Motion | None, outputs: list[Path]
) -> Motion:
    """The motion on the skeleton that is asked for; of several files, on the first one's unless another is."""
    from kinestream.cli.rig import load_joint_map, target_map
    from kinestream.motion import in_joint_order
    from kinestream.skeleton import smpl22
    from kinestream.skeleton.retarget import retarget

    asked = arguments.to is not None or rig is not None
    to_smpl = any(path.suffix.lower() in SMPL_SUFFIXES for path in outputs)
    if not asked and not to_smpl and first is None:
        return in_joint_order(read.motion, smpl22()) or read.motion
    if rig is not None:
        target, example = rig.skeleton, rig.example
    elif asked or to_smpl or first is None:
        target, example = smpl22(), None
    else:
        target, example = first.skeleton, first
    as_it_is = None if asked else in_joint_order(read.motion, target)
    if as_it_is is not None:
        return as_it_is
    motion, report = retarget(
        read.motion,
        target,
        source_map=load_joint_map(arguments.map),
        target_map=target_map(rig, load_joint_map(arguments.rig_map)),
        target_example=example,
    )
    if arguments.report:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(report, file=sys.stderr)
    return motion
