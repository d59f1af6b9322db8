"""`kinestream restore`: mend a take where it is wrong, and leave the rest as it is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import aligned, check_outputs, save
from kinestream.cli.parser import add_verb, existing_file, seed_int
from kinestream.cli.reading import READING_USAGE, add_reading_options, read_as_asked
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.io.motion_file import MotionFile
    from kinestream.restoration import Restoration

DESCRIPTION = """\
Find where a take is wrong (skating feet, jitter, a body in the floor or floating above it) and mend it there. All other
frames stay as they are: from .bvh to .bvh, byte for byte. Skeletons of any human body; changes come back onto its own
bones. Stages run in this order:

  physics   the take followed by a simulated body, pushed by contacts only (needs the extra `physics`)
  feet      root, knees and feet made anew by the Foot Restoration Diffusion Model; trunk, arms and head keep theirs
  smooth    what trembles, smoothed

  kinestream restore take.bvh -o clean.bvh
  kinestream restore take.bvh -o clean.glb --stages feet --page before-after.html
  kinestream restore take.npz -o clean.npz --all --json
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `restore`."""
    parser = add_verb(
        verbs,
        "restore",
        usage="restore FILE -o OUT [--stages NAME[,NAME]] [--all] [--page PAGE.html] [--json]\n"
        "                          [--model DIR] [--seed N]\n"
        f"                          {READING_USAGE}",
        summary="mend a take where it is wrong: feet, floor, jitter",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("input", type=Path, metavar="FILE", help="a motion file (.bvh, .npz, .npy)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the file to write")
    parser.add_argument(
        "--stages", default="", metavar="NAME[,NAME]", help="of physics, feet and smooth (default: feet,smooth)"
    )
    parser.add_argument("--all", action="store_true", help="put every frame through the stages, not only what is wrong")
    parser.add_argument(
        "--page", type=Path, metavar="PAGE", help="an .html page that plays before and after side by side"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a foot-restoration model's folder in place of ours")
    parser.add_argument("--seed", type=seed_int, default=0, metavar="N", help="same seed, same motion (default: 0)")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, restore, write, and say what was found and changed."""
    source = existing_file(arguments.input, "a motion file")
    page: Path | None = arguments.page
    check_outputs([arguments.output, *([page] if page is not None else [])])
    if page is not None and page.suffix.lower() != ".html":
        raise BadInputError(f"cannot draw {page}: --page takes an .html file")
    from kinestream.restoration import DEFAULT_STAGES, restore_motion

    names = [name.strip() for name in arguments.stages.split(",") if name.strip()]
    read = read_as_asked(source, arguments)
    options = {"feet": {"seed": arguments.seed, "model": arguments.model}}
    done = restore_motion(read.motion, names or DEFAULT_STAGES, everything=arguments.all, options=options)
    written = _write(source, read, done, arguments.output)
    if page is not None:
        _write_page(done, page, source.name)
        print(page, file=sys.stderr)
    if arguments.json:
        print(json.dumps({"file": str(source), "written": str(written), **done.to_dict()}, indent=1))
    else:
        print("\n".join(lines(done, source)))
        print(written)


def lines(done: Restoration, source: Path) -> list[str]:
    """For people: what was found, what each stage did, and what is left."""
    fps, frames = done.motion.fps, done.motion.num_frames
    changed = sum(stop - start for start, stop in done.spans)
    rows = [
        f"{source}: {frames} frames, {frames / fps:.2f} s at {fps:g} fps",
        f"  inspected {done.before.how}",
    ]
    for one in done.stages:
        many = sum(stop - start for start, stop in one.spans)
        where = ", ".join(f"{start}-{stop - 1}" for start, stop in one.spans[:8])
        more = f" and {len(one.spans) - 8} more" if len(one.spans) > 8 else ""
        said = f"frames {where}{more} ({many / frames:.0%})" if one.spans else "nothing to do"
        rows.append(f"  {one.stage}: {said}")
    cells = [("", "before", "after")]
    cells += [
        (check.replace("_", " "), f"{share:.1%}", f"{done.after.flagged_share.get(check, 0.0):.1%}")
        for check, share in done.before.flagged_share.items()
        if share > 0.0 or done.after.flagged_share.get(check, 0.0) > 0.0
    ]
    cells.append(("penalty", f"{done.before.penalty:.1f}", f"{done.after.penalty:.1f}"))
    rows += [f"  {line}" for line in aligned(cells)]
    rows.append(f"  {changed} of {frames} frames changed; the others are as they were")
    return rows


def _write(source: Path, read: MotionFile, done: Restoration, output: Path) -> Path:
    if read.layout is not None and output.suffix.lower() == ".bvh":
        from kinestream.io.bvh_frames import write_bvh_changes

        if write_bvh_changes(source, output, read.motion, done.motion, read.layout, done.spans):
            return output
    from kinestream.cli.rig import Rig

    rig = None if read.layout is None else Rig(done.motion.skeleton, read.layout)
    return save([done.motion], [output], rig)[0]


def _write_page(done: Restoration, page: Path, title: str) -> None:
    """Before and after side by side, with what was found before under the timeline; feet that stand are drawn."""
    from dataclasses import replace

    from kinestream.cli.inspect_ import lanes
    from kinestream.io.viewer import write_html

    before, after = done.body
    many = f"{sum(stop - start for start, stop in done.spans)} of {done.motion.num_frames} frames changed"
    note = f"{many} · penalty {done.before.penalty:.1f} before, {done.after.penalty:.1f} after"
    motions = [replace(before, name="before"), replace(after, name="after")]
    write_html(motions, page, title, lanes=lanes(done.before.findings), note=note)
