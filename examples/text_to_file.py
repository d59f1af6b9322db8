"""Two sentences become one motion, written for a viewer (GLB), an animation program (BVH) and a browser (HTML)."""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
from kinestream import Motion


def main(folder: Path) -> list[Motion]:
    """Write walk.glb, walk.bvh and walk.html; gives what the picture shows."""
    folder.mkdir(parents=True, exist_ok=True)
    motion = kinestream.generate(["walks forward", "waves with both hands, happy"], seconds=[2, 2], seed=7)
    for suffix in (".glb", ".bvh", ".html"):
        kinestream.write_motion(motion, folder / f"walk{suffix}")
    print(f"{motion.num_frames} frames, {motion.duration_s:.1f} s, joints {tuple(motion.joint_positions_m().shape)}")
    return [motion]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
