"""How often each check of `kinestream inspect` speaks: on real clips (should be seldom), on the same broken on purpose.

python -m benchmarks.inspection_rates DATA [--clips 300] [--broken 60] [--json]

DATA is a folder that `kinestream data build` wrote; mirrored copies are left out. Clips are sampled by a fixed seed
from each recording source's part of the set; all of a source's where it has fewer. For every way of breaking a clip the
share of broken frames that its own check flags is printed (should be nearly all), and the share of the other frames
that the same check flags (should be as on the real clip).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.broken_motion import BREAKAGES
from benchmarks.harness import command_line, run, show
from kinestream.errors import BadInputError
from kinestream.features import motion_from_motion272
from kinestream.metrics.inspection import CHECKS, Inspection, inspect_motion
from kinestream.motion import Motion

MIRRORED = "M_"
# Frames left as they are before and after the broken part, at least; clips need twice that and a second of breaking.
BROKEN_S = 1.0
MARGIN_S = 0.5


def clips(folder: Path, count: int, seed: int = 0) -> dict[str, list[Path]]:
    """Up to `count` recordings of each source (the letters and digits before the first underscore)."""
    found: dict[str, list[Path]] = {}
    for path in sorted((folder / "motion_data").glob("*.npy")):
        if not path.name.startswith(MIRRORED):
            found.setdefault(path.name.split("_")[0], []).append(path)
    draw = random.Random(seed)
    return {source: draw.sample(paths, min(count, len(paths))) for source, paths in found.items()}


def read(path: Path) -> Motion:
    """A clip of the data set on SMPL-22."""
    return motion_from_motion272(torch.from_numpy(np.load(path, allow_pickle=False)), name=path.stem)


def flagged(inspection: Inspection, check: str) -> torch.Tensor:
    """Frames [T] in which a check found something."""
    frames = torch.zeros(inspection.frames, dtype=torch.bool)
    for finding in inspection.findings:
        if finding.check == check:
            frames[finding.first : finding.last + 1] = True
    return frames


def real_rates(paths: Iterable[Path]) -> dict[str, Any]:
    """Share of frames and of clips that each check flags, and the median penalty."""
    inspections = [inspect_motion(read(path)) for path in paths]
    frames = sum(inspection.frames for inspection in inspections)
    shares = {
        check: sum(found.flagged_share[check] * found.frames for found in inspections) / frames for check in CHECKS
    }
    hit = {check: sum(found.flagged_share[check] > 0.0 for found in inspections) / len(inspections) for check in CHECKS}
    penalties = torch.tensor([found.penalty for found in inspections])
    return {
        "clips": len(inspections),
        "frames": frames,
        "share_of_frames": {check: round(share, 5) for check, share in shares.items()},
        "share_of_clips": {check: round(share, 4) for check, share in hit.items()},
        "penalty_median": round(float(penalties.median()), 2),
        "penalty_90th_percentile": round(float(penalties.quantile(0.9)), 2),
    }


def broken_rates(paths: Iterable[Path]) -> dict[str, Any]:
    """For each breakage: share of broken frames seen by its check, and of the frames around, and the median penalty."""
    motions = [motion for motion in map(read, paths) if motion.duration_s > BROKEN_S + 2.0 * MARGIN_S]
    rates = {}
    for name, breakage in BREAKAGES.items():
        seen, outside, counts, penalties = 0, 0, [0, 0], []
        for motion in motions:
            first = round((motion.num_frames - BROKEN_S * motion.fps) / 2.0)
            last = first + round(BROKEN_S * motion.fps) - 1
            inspection = inspect_motion(breakage.make(motion, first, last))
            frames = flagged(inspection, breakage.check)
            inside = int(frames[first : last + 1].sum())
            seen, outside = seen + inside, outside + int(frames.sum()) - inside
            counts = [counts[0] + last - first + 1, counts[1] + motion.num_frames - (last - first + 1)]
            penalties.append(inspection.penalty)
        rates[name] = {
            "check": breakage.check,
            "clips": len(motions),
            "broken_frames_flagged": round(seen / max(counts[0], 1), 4),
            "other_frames_flagged": round(outside / max(counts[1], 1), 4),
            "penalty_median": round(float(torch.tensor(penalties).median()), 2) if penalties else None,
        }
    return rates


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print it."""
    options = command_line("inspection_rates", __doc__, threads=1)
    options.add_argument("data", type=Path)
    options.add_argument("--clips", type=int, default=300, help="real clips of each source, at most")
    options.add_argument("--broken", type=int, default=60, help="clips of each source to break")
    options.add_argument("--json", action="store_true")
    return run(options, _bench, arguments)


def _bench(given: argparse.Namespace) -> None:
    sampled = clips(given.data, given.clips)
    if not sampled:
        raise BadInputError(f"no recordings in {given.data}")
    real = {source: real_rates(paths) for source, paths in sampled.items()}
    broken = broken_rates(path for paths in sampled.values() for path in paths[: given.broken])
    if given.json:
        show({"real": real, "broken": broken})
    else:
        print(as_table(real, broken))


def as_table(real: dict[str, Any], broken: dict[str, Any]) -> str:
    """The rates for people."""
    width = max(len(check) for check in CHECKS)
    rows = ["real clips: share of frames flagged"]
    rows.append(f"  {'':{width}}  " + "".join(f"{source:>9}" for source in real))
    rows += [
        f"  {check:{width}}  " + "".join(f"{source['share_of_frames'][check]:>9.2%}" for source in real.values())
        for check in CHECKS
    ]
    rows += [
        f"  {name:{width}}  " + "".join(f"{source[name]:>9}" for source in real.values())
        for name in ("clips", "frames", "penalty_median", "penalty_90th_percentile")
    ]
    rows.append("broken clips: share of broken frames that the check flags, and of the others; median penalty")
    for name, rate in broken.items():
        shares = f"{rate['broken_frames_flagged']:>8.1%}{rate['other_frames_flagged']:>8.1%}"
        rows.append(f"  {name:16} {rate['check']:{width}}{shares}{rate['penalty_median'] or '-':>9}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
