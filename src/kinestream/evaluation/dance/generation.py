"""Dances to the data set's songs, through the session that users dance with, kept on disk dance by dance."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel, load_music_to_dance
from kinestream.checkpoints.folder import INFO_NAME
from kinestream.evaluation.dance.plan import DanceItem
from kinestream.evaluation.pool import Workers
from kinestream.evaluation.text.generation import code_digest, write_tensors
from kinestream.evaluation.text.plan import seed_of
from kinestream.features import motion272_from_motion
from kinestream.streaming.dance.generate import generate_dance
from kinestream.streaming.dance.references import LIBRARY_FILE, RETRIEVAL_FOLDER, RetrievedReferences


@dataclass(frozen=True)
class DanceWish:
    """One dance to make: to the music of `item`, asked for with its genre where the model knows it."""

    item: DanceItem
    seed: int


@dataclass(frozen=True, eq=False)
class Danced:
    """Features [T, 272] of the motion that a user sees, and how long it took to make, music analysis left out."""

    features: Tensor
    seconds: float


def dance_wishes(items: Sequence[DanceItem], seed: int, repeat: int) -> list[DanceWish]:
    """One dance for each song; every repeat has seeds of its own."""
    return [DanceWish(item, seed_of(seed, f"{item.name} {repeat}")) for item in items]


class _Dancer:
    """A model with its references, as the packaged command has them."""

    def __init__(self, folder: Path) -> None:
        self.model: MusicToDanceModel = load_music_to_dance(folder)
        self.references = RetrievedReferences.beside(folder, self.model)

    def dance(self, wish: DanceWish) -> Danced:
        known = {genre.casefold() for genre in self.model.genres}
        genre = wish.item.prompt if wish.item.prompt.casefold() in known else None
        music = wish.item.music()
        began = time.perf_counter()
        motion = generate_dance(music, self.model, genre=genre, seed=wish.seed, references=self.references)
        return Danced(motion272_from_motion(motion), time.perf_counter() - began)


class _Job(NamedTuple):
    number: int
    wish: DanceWish
    path: Path


class DanceStudio:
    """Makes dances, several side by side; finished ones are kept in `cache` and never made twice.

    A context manager: the processes start when the first dance is missing and end with the block. One process is this
    one.
    """

    def __init__(self, folder: Path, cache: Path, processes: int) -> None:
        self.folder, self.cache, self.processes = folder, cache, processes
        self._workers = Workers(processes, partial(_start_worker, folder))
        self._dancer: _Dancer | None = None
        self._digest = model_digest(folder)

    def __enter__(self) -> DanceStudio:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.__exit__()

    def dance(self, wishes: Sequence[DanceWish], on_done: Callable[[int, int], None]) -> list[Danced]:
        """What came of each wish, in their order; `on_done(wishes done, all)` after each."""
        self.cache.mkdir(parents=True, exist_ok=True)
        paths = [self.cache / f"{self._key(wish)}.safetensors" for wish in wishes]
        made = {k: _read(path) for k, path in enumerate(paths)}
        # The longest come last in the wishes' order; beginning with them leaves no process idle at the end.
        jobs = [_Job(k, wishes[k], paths[k]) for k in reversed(made) if made[k] is None]
        done = len(wishes) - len(jobs)
        on_done(done, len(wishes))
        for number in self._workers.work(_work, jobs) if self.processes > 1 else map(self._work, jobs):
            made[number] = _read(paths[number])
            done += 1
            on_done(done, len(wishes))
        found = [one for one in made.values() if one is not None]
        assert len(found) == len(wishes), "every dance was made"
        return found

    def _work(self, job: _Job) -> int:
        self._dancer = self._dancer or _Dancer(self.folder)
        _write(job.path, self._dancer.dance(job.wish))
        return job.number

    def _key(self, wish: DanceWish) -> str:
        item = wish.item
        music = hashlib.sha256(item.music_path.read_bytes()).hexdigest()
        facts = [code_digest(), self._digest, music, item.prompt, item.frames, wish.seed]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def model_digest(folder: Path) -> str:
    """A hash of everything that a dance depends on: model, retrieval network and library."""
    digest = hashlib.sha256()
    for name in (INFO_NAME, f"{RETRIEVAL_FOLDER}/{INFO_NAME}", LIBRARY_FILE):
        path = folder / name
        digest.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return digest.hexdigest()


_dancer: _Dancer | None = None


def _start_worker(folder: Path) -> None:
    global _dancer
    torch.set_num_threads(1)
    _dancer = _Dancer(folder)


def _work(job: _Job) -> int:
    assert _dancer is not None, "the pool's initializer has loaded the model"
    _write(job.path, _dancer.dance(job.wish))
    return job.number


def _write(path: Path, danced: Danced) -> None:
    seconds = torch.tensor(danced.seconds, dtype=torch.float64)
    write_tensors(path, {"features": danced.features.contiguous(), "seconds": seconds})


def _read(path: Path) -> Danced | None:
    """None where it is not there or cannot be read, so that it is made again."""
    try:
        tensors = load(path.read_bytes())
        return Danced(tensors["features"], float(tensors["seconds"]))
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
