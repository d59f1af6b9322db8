"""A folder of somebody's takes: BVH files of a foreign rig with captions beside them."""

from __future__ import annotations

from pathlib import Path

from kinestream.io.bvh import write_bvh
from kinestream.motion import resample
from tests.io.walking import walking
from tests.skeleton.retarget_rigs import build_rig


def write_takes(folder: Path, count: int = 4) -> Path:
    """`count` walks at 60 fps in inches, in a sub-folder, each with a .txt beside it; the last one waves."""
    (folder / "walks").mkdir(parents=True)
    rig = build_rig(scale=0.9)
    for number in range(count):
        waves = number == count - 1
        motion = walking(frames=70 + 10 * number, turn_radps=0.3 * number, wave=waves)
        path = folder / "walks" / f"take {number}.bvh"
        write_bvh(rig.motion(resample(motion, 60.0)), path, units_per_metre=39.37)
        sentence = "waves with the right hand while walking" if waves else "walks in a curve to the left"
        path.with_suffix(".txt").write_text(f"{sentence}\n\nA person moves, take #{number}!\n", encoding="utf-8")
    return folder
