"""`kinestream inspect`: what is wrong with a motion, frame by frame, in words, as JSON, or as a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import aligned
from kinestream.cli.parser import add_verb, existing_file
from kinestream.cli.reading import READING_USAGE, add_reading_options, read_as_asked
from kinestream.errors import BadInputError, KinestreamError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.io.viewer import Lane
    from kinestream.metrics.inspection import Finding, Inspection

DESCRIPTION = """\
Say what is wrong with motion files: skating feet, jitter, a body in the floor or floating above it, limbs that go
through the body, joints bent beyond their limits, frozen spans. Each with frames, seconds, severity and body part.
The penalty sums it up: 0 is clean, and `generate --samples 8 --pick best` keeps the sample with the lowest.

With -o it is drawn: a page that plays the motion with the problems under its timeline.

  kinestream inspect take.bvh
  kinestream inspect take.bvh -o card.html
  kinestream inspect *.bvh --json --fail-on skating,penetration
"""

# What was worst, in words.
_SAYINGS = {
    "skating": "slides at {value}",
    "jitter": "{detail} off its path by {value}",
    "penetration": "{detail} {value} deep",
    "floating": "hangs {value} above the floor",
    "self_collision": "{value} {detail}",
    "joint_limits": "{detail}, {value} too far",
    "frozen": "nothing moves for {value}",
}
# A unit on paper, and how many of it make one of the measured.
_SHOWN_UNITS = {"m": (100.0, "cm"), "m/s": (1.0, "m/s"), "deg": (1.0, "degrees"), "s": (1.0, "s")}
# Findings that are printed for people.
MOST_LINES = 60
_LEVELS = ("slight", "clear", "severe")


def add_parser(verbs: Subparsers) -> None:
    """Add `inspect`."""
    parser = add_verb(
        verbs,
        "inspect",
        usage="inspect FILE [FILE ...] [-o CARD.html] [--json] [--fail-on CHECK[,CHECK]]\n"
        f"                          {READING_USAGE}",
        summary="say what is wrong with a motion, and draw it",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help="motion files (.bvh, .npz, .npy)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="CARD", help=".html to draw on (numbered where there are several files)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument(
        "--fail-on",
        default="",
        metavar="CHECK[,CHECK]",
        help="exit with 1 when one of these finds something: skating, jitter, penetration, floating, self_collision, "
        "joint_limits, frozen, or any",
    )
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Inspect each file, print and draw; fail at the end where asked to."""
    sources = [existing_file(path, "a motion file") for path in arguments.inputs]
    output: Path | None = arguments.output
    if output is not None:
        _check_output(output)
    from kinestream.metrics.inspection import inspect_motion

    wanted = _checks(arguments.fail_on)
    inspections: list[Inspection] = []
    for number, source in enumerate(sources, start=1):
        motion = read_as_asked(source, arguments).motion
        inspection = inspect_motion(motion)
        inspections.append(inspection)
        if not arguments.json:
            print("\n".join(lines(inspection, source)) + ("\n" if number < len(sources) else ""))
        if output is not None:
            card = output if len(sources) == 1 else output.with_name(f"{output.stem}-{number}{output.suffix}")
            write_card(inspection, card, source.name)
            print(card, file=sys.stderr)
    if arguments.json:
        facts = [{"file": str(source), **found.to_dict()} for source, found in zip(sources, inspections, strict=True)]
        print(json.dumps(facts[0] if len(facts) == 1 else facts, indent=1))
    failed = [check for check in wanted if any(f.check == check for found in inspections for f in found.findings)]
    if failed:
        raise KinestreamError(f"found what --fail-on names: {', '.join(failed)}")


def _check_output(output: Path) -> None:
    if output.suffix.lower() != ".html":
        raise BadInputError(f"cannot draw {output}: a card is an .html file")
    if not output.parent.is_dir() or output.is_dir():
        raise BadInputError(f"cannot write {output}: expected a file name in a folder that exists")


def _checks(text: str) -> list[str]:
    from kinestream.metrics.inspection import CHECKS

    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in (*CHECKS, "any")]
    if unknown:
        raise BadInputError(f"--fail-on: expected checks out of {', '.join(CHECKS)}, or any; got {', '.join(unknown)}")
    return list(CHECKS) if "any" in names else list(dict.fromkeys(names))


def lines(inspection: Inspection, source: Path) -> list[str]:
    """The inspection for people: a summary, then a line a finding, aligned."""
    seconds = inspection.frames / inspection.fps
    rows = [
        f"{source}: {inspection.frames} frames, {seconds:.2f} s at {inspection.fps:g} fps",
        f"  penalty {inspection.penalty:.1f}",
        f"  inspected {inspection.how}",
    ]
    if inspection.skipped:
        rows.append(f"  not checked: {', '.join(map(spoken, inspection.skipped))}")
    if not inspection.findings:
        return [*rows, "  nothing found"]
    cells = [
        (
            spoken(finding.check),
            finding.part,
            f"frames {finding.first}-{finding.last}",
            f"{finding.start_s:.2f}-{finding.end_s:.2f} s",
            finding.severity,
            f"{measure(finding)} (frame {finding.worst_frame})",
        )
        for finding in inspection.findings[:MOST_LINES]
    ]
    rows += [f"  {line}" for line in aligned(cells)]
    left = len(inspection.findings) - len(cells)
    rows += [f"  and {left} more (--json shows them)"] if left else []
    shares = [f"{spoken(check)} {share:.1%}" for check, share in inspection.flagged_share.items() if share > 0.0]
    return [*rows, f"  share of frames: {', '.join(shares)}"]


def measure(finding: Finding) -> str:
    """What was worst, in words: `right knee hyperextension, 33 degrees too far`."""
    times, unit = _SHOWN_UNITS[finding.unit]
    value = finding.worst * times
    number = f"{value:.1f}" if value < 10.0 else f"{value:.0f}"
    return _SAYINGS[finding.check].format(detail=finding.detail, value=f"{number} {unit}")


def spoken(check: str) -> str:
    """A check's name as it is said."""
    return check.replace("_", " ")


def write_card(inspection: Inspection, path: Path, title: str) -> None:
    """Draw the inspected motion and its findings as one page."""
    from kinestream.io.viewer import write_html

    found = len(inspection.findings)
    many = f"{found} problem{'s' if found > 1 else ''}" if found else "nothing found"
    note = f"{many} · penalty {inspection.penalty:.1f} · inspected {inspection.how}"
    write_html(inspection.motion, path, title, lanes=lanes(inspection.findings), note=note)


def lanes(findings: Sequence[Finding]) -> list[Lane]:
    """Lanes for each check that found something: as many as keep its marks apart; only the first has a name."""
    from kinestream.io.viewer import Lane, Mark

    rows: dict[str, list[list[Mark]]] = {}
    for finding in findings:
        text = f"{spoken(finding.check)}: {finding.part}, {measure(finding)}"
        level, at = _LEVELS.index(finding.severity), finding.worst_frame * _frame_s(finding)
        mark = Mark(finding.start_s, finding.end_s, text, level, at, finding.joint)
        mine = rows.setdefault(spoken(finding.check), [])
        free = next((row for row in mine if row[-1].end_s <= mark.start_s), None)
        if free is None:
            mine.append([mark])
        else:
            free.append(mark)
    return [Lane("" if k else name, marks) for name, mine in rows.items() for k, marks in enumerate(mine)]


def _frame_s(finding: Finding) -> float:
    return (finding.end_s - finding.start_s) / (finding.last - finding.first + 1)
