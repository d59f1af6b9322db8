"""What is wrong with a motion, frame by frame, and what foot locking mends: a walk that slides and sinks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

import kinestream
from kinestream import Motion
from kinestream.features import motion272_from_motion
from kinestream.metrics.inspection import inspect_motion
from kinestream.streaming.frames import initial_feet, initial_root, locked_chunk


def report(name: str, motion: Motion) -> None:
    """Say the penalty and the first findings; `kinestream inspect FILE -o card.html` draws them all."""
    found = inspect_motion(motion)
    print(f"{name}: penalty {found.penalty:.1f}")
    for finding in found.findings[:4]:
        print(f"  {finding.severity} {finding.check}, {finding.part}, frames {finding.first} to {finding.last}")


def main(folder: Path) -> list[Motion]:
    """Break a walk, inspect it, lock its feet, inspect it again; writes mended.bvh."""
    folder.mkdir(parents=True, exist_ok=True)
    walk = kinestream.generate("walks forward", seconds=3, seed=7)
    faster, sunk = torch.tensor([1.0, 1.0, 1.2]), torch.tensor([0.0, -0.05, 0.0])
    broken = replace(walk, root_position_m=walk.root_position_m * faster + sunk)
    report("broken", broken)

    # The lock is a stream's: it looks at no frame that is still to come, and carries its state from chunk to chunk.
    mended, _, _ = locked_chunk(motion272_from_motion(broken), initial_root(), initial_feet())
    report("mended", mended)
    kinestream.write_motion(mended, folder / "mended.bvh")
    return [broken, mended]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
