"""`kinestream convert`: one motion file into another, onto another skeleton or rate on the way."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import SMPL_SUFFIXES, check_outputs, save
from kinestream.cli.parser import add_verb, existing_file, positive_float
from kinestream.cli.reading import READING_USAGE, add_reading_options, read_as_asked
from kinestream.cli.rig import add_rig_options
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

DESCRIPTION = """\
Convert a motion file. The suffixes decide: reads .bvh, .amc (its .asf beside it), .glb, .vrm, .vrma, .npz and .npy
(SMPL parameters, joint positions, features); writes .glb, .fbx, .bvh, .mp4, .png, .html, .npz and .npy. The last two
hold SMPL's skeleton, so other bodies are retargeted to it. Bones are recognised by name, tree and rest pose; for
others give a map file, one JSON object {"their bone": "smpl22 joint"}. BVH to BVH keeps unit, channels and names; Y is
up.

  kinestream convert clip.bvh clip.glb
  kinestream convert take.bvh take.npz --to smpl22 --fps 30
  kinestream convert dance.npz mine.bvh --rig my_character.bvh --report
  kinestream convert dance.bvh dancing.vrm --character me.vrm
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `convert`."""
    parser = add_verb(
        verbs,
        "convert",
        usage="convert IN OUT [--fps N] [--to smpl22 | --rig FILE] [--map FILE] [--rig-map FILE] [--report]\n"
        f"                          {READING_USAGE}",
        summary="turn one motion file into another",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("input", type=Path, metavar="IN", help="the file to read")
    parser.add_argument("output", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument("--fps", type=positive_float, metavar="N", help="resample to N frames per second")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--to", choices=["smpl22"], metavar="SKELETON", help="retarget to this skeleton: smpl22")
    add_rig_options(target)
    parser.add_argument("--map", type=Path, metavar="FILE", help="JSON that says which of IN's bones is which joint")
    parser.add_argument("--rig-map", type=Path, metavar="FILE", help="the same for the bones of --rig")
    parser.add_argument("--report", action="store_true", help="print what was matched and the residual, as JSON")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, retarget, resample, write; print the file written."""
    source = existing_file(arguments.input, "a motion file")
    asked = arguments.to is not None or arguments.rig is not None
    retargets = asked or arguments.output.suffix.lower() in SMPL_SUFFIXES
    if (arguments.map is not None or arguments.report) and not retargets:
        raise BadInputError("--map and --report belong to retargeting; add --to smpl22 or --rig FILE")
    if arguments.rig_map is not None and arguments.rig is None:
        raise BadInputError("--rig-map belongs to --rig FILE")
    from kinestream.cli.rig import Rig, load_joint_map, load_rig, target_map
    from kinestream.motion import in_joint_order, resample
    from kinestream.skeleton import smpl22
    from kinestream.skeleton.retarget import retarget

    rig = load_rig(arguments.rig) if arguments.rig is not None else None
    check_outputs([arguments.output], rig)
    read = read_as_asked(source, arguments)
    motion = read.motion
    target = rig.skeleton if rig is not None else smpl22()
    as_it_is = None if asked else in_joint_order(motion, target)
    if as_it_is is not None:
        motion = as_it_is
    elif asked or retargets:
        source_map, rig_map = load_joint_map(arguments.map), load_joint_map(arguments.rig_map)
        motion, report = retarget(
            motion,
            target,
            source_map=source_map,
            target_map=target_map(rig, rig_map),
            target_example=None if rig is None else rig.example,
        )
        if arguments.report:
            print(json.dumps(report.to_dict(), indent=2))
        else:
            print(report, file=sys.stderr)
    if arguments.fps is not None:
        motion = resample(motion, arguments.fps)
    keeps = rig is None and motion.skeleton.joint_names == read.motion.skeleton.joint_names
    written = Rig(motion.skeleton, read.layout) if keeps else rig
    for path in save([motion], [arguments.output], written):
        print(path, file=sys.stderr if arguments.report else sys.stdout)
