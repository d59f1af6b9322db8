"""How fast a folder of BVH files becomes Motions, in files per second.

python benchmarks/bvh_import.py FOLDER [--processes 2]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from kinestream.errors import BadInputError
from kinestream.io.bvh import read_bvh


def frames_in(path: Path) -> tuple[int, float]:
    """(frames, processor seconds) of a file; -1 frames for one that was refused."""
    start = time.process_time()
    try:
        frames = read_bvh(path).num_frames
    except BadInputError as error:
        print(error, file=sys.stderr)
        frames = -1
    return frames, time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; prints JSON; 0 where every file was read."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--processes", type=int, default=2)
    given = options.parse_args(arguments)
    paths = sorted(given.folder.rglob("*.bvh"))
    if not paths:
        options.error(f"no .bvh files in {given.folder}")
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with context.Pool(given.processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = pool.map(frames_in, paths, chunksize=16)
    took = time.perf_counter() - start
    frames = [count for count, _ in results]
    refused = frames.count(-1)
    result = {
        "files": len(paths),
        "refused": refused,
        "frames": sum(frames) + refused,
        "megabytes": round(sum(path.stat().st_size for path in paths) / 1e6, 1),
        "processes": given.processes,
        "seconds": round(took, 2),
        "processor_seconds": round(sum(seconds for _, seconds in results), 2),  # what a busy machine does not change
        "files_per_second": round(len(paths) / took, 1),
    }
    print(json.dumps(result, indent=1))
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
