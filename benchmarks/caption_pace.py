"""From which pace on people would say slowly or quickly, content by content: the limits in data/text/pace.json.

python -m benchmarks.caption_pace DATA [--recordings 100]

DATA is a folder that `kinestream data build` wrote. Of its recordings that are not held out (no mirrored copies,
nothing made), 15 of 100 are slower than the first number and 15 faster than the second, metres a second of the fastest
wrist or ankle. Contents that differ only in the side share their limits.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kinestream.data.layout import MOTION_FOLDER, read_features
from kinestream.data.manifest import load_manifest
from kinestream.data.text.captions import swap_sides
from kinestream.data.text.measured import pace_mps
from kinestream.features.recovery import world_joints_from_rotations

SHARE = 0.15


def limits(root: Path, recordings: int) -> dict[str, list[float]]:
    """Content -> [slow below, fast above], for contents with at least so many recordings of each side."""
    paces: dict[str, list[float]] = defaultdict(list)
    for clip in load_manifest(root).clips:
        if clip.split != "test" and not clip.mirrored and not clip.made:
            features = torch.from_numpy(np.array(read_features(root / MOTION_FOLDER / f"{clip.name}.npy")))
            paces[clip.content].append(pace_mps(world_joints_from_rotations(features)))
    found: dict[str, list[float]] = {}
    for content in sorted(paces):
        both = paces[content] + (paces[swap_sides(content)] if swap_sides(content) != content else [])
        if min(len(paces[content]), len(paces[swap_sides(content)])) >= recordings:
            found[content] = [round(float(limit), 2) for limit in np.quantile(both, [SHARE, 1 - SHARE])]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the limits as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recordings", type=int, default=100, help="fewest recordings of a content")
    given = parser.parse_args(arguments)
    print(json.dumps(limits(given.data, given.recordings), indent=1))


if __name__ == "__main__":
    main()
