"""How fast a folder of BVH files becomes Motions, in files per second.

python -m benchmarks.bvh_import FOLDER [--processes 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.harness import command_line, run, show, timed
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
    options = command_line("bvh_import", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--processes", type=int, default=2)
    return run(options, _bench, arguments)


def _bench(given: argparse.Namespace) -> int:
    paths = sorted(given.folder.rglob("*.bvh"))
    if not paths:
        raise BadInputError(f"no .bvh files in {given.folder}")
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    results: list[tuple[int, float]] = []

    def read_all() -> None:
        with context.Pool(given.processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            results.extend(pool.map(frames_in, paths, chunksize=16))

    took = timed(read_all).wall_s
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
    show(result)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
