"""What is generated, piece by piece on several processes, and kept on disk so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from kinestream.errors import KinestreamError
from kinestream.io.atomic import atomic_path

# Where the code lies that decides how motions are generated: a change there makes every piece anew.
CODE = (
    "models", "nn", "inference", "streaming", "features", "conditioning", "skeleton", "checkpoints", "motion.py",
    "rotations.py", "evaluation/text/generation.py", "evaluation/dance/generation.py",
)  # fmt: skip

Tensors = dict[str, Tensor]
Piece = TypeVar("Piece")


class Job(NamedTuple):
    """A piece to make, its number among all, and the file that it goes into."""

    number: int
    piece: Any
    path: Path


class Workshop(Generic[Piece]):
    """Makes pieces, several side by side; finished ones are kept in `cache` and never made twice.

    A context manager: the processes start when the first piece is missing and end with the block; one process is this
    one. `load`, which must be picklable, is called once in each process and gives what makes a piece's tensors.
    """

    def __init__(self, load: Callable[[], Callable[[Piece], Tensors]], cache: Path, processes: int) -> None:
        self.cache, self.processes = cache, processes
        self._load = load
        self._make: Callable[[Piece], Tensors] | None = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workshop[Piece]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def make(
        self, pieces: Sequence[Piece], key: Callable[[Piece], str], on_done: Callable[[Piece], None]
    ) -> list[Tensors]:
        """The tensors of each piece, in order, kept under its key; `on_done` is told each that is there.

        Raises KinestreamError where a process died.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        paths = [self.cache / f"{key(piece)}.safetensors" for piece in pieces]
        made = {number: found for number, path in enumerate(paths) if (found := read_tensors(path)) is not None}
        for number in made:
            on_done(pieces[number])
        # The longest pieces come last; beginning with them leaves no process idle at the end.
        missing = [number for number in reversed(range(len(pieces))) if number not in made]
        for number in self._worked([Job(number, pieces[number], paths[number]) for number in missing]):
            made[number] = load(paths[number].read_bytes())
            on_done(pieces[number])
        return [made[number] for number in range(len(pieces))]

    def _worked(self, jobs: Sequence[Job]) -> Iterator[int]:
        """Numbers of the jobs as they are done."""
        if self.processes == 1 or not jobs:
            for job in jobs:
                self._make = self._make or self._load()
                write_tensors(job.path, self._make(job.piece))
                yield job.number
            return
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.processes, context, partial(_start_worker, self._load))
        try:
            for done in as_completed([self._pool.submit(_work, job) for job in jobs]):
                yield done.result()
        except BrokenProcessPool as error:
            raise KinestreamError(f"a generating process died: {error}. Run again with fewer --processes.") from error


_make: Callable[[Any], Tensors] | None = None


def _start_worker(load: Callable[[], Callable[[Any], Tensors]]) -> None:
    global _make
    torch.set_num_threads(1)
    _make = load()


def _work(job: Job) -> int:
    assert _make is not None, "the pool's initializer has loaded the model"
    write_tensors(job.path, _make(job.piece))
    return job.number


def piece_key(*facts: Any) -> str:
    """A name for a piece that says what it depends on: these facts (JSON) and the code that generates."""
    return hashlib.sha256(json.dumps([code_digest(), *facts], sort_keys=True).encode()).hexdigest()[:24]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """A hash of the code that decides how motions are generated."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for place in (package / name for name in CODE):
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def files_digest(*paths: Path) -> str:
    """A hash of files; one that is missing counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all, that everybody may read who may read its neighbours."""
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)
        os.chmod(temporary, mode)  # safetensors writes files that only their owner can read


def read_tensors(path: Path) -> Tensors | None:
    """None where the file is not there or cannot be read, so that it is made again."""
    try:
        # Read, not mapped: what was given stays as it is whatever becomes of the file.
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError):
        return None
