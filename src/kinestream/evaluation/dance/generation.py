"""Dances to the data set's songs, through the session that users dance with, kept on disk dance by dance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from kinestream.checkpoints.dance import load_music_to_dance
from kinestream.checkpoints.folder import INFO_NAME
from kinestream.evaluation.dance.plan import DanceItem
from kinestream.evaluation.items import seed_of
from kinestream.evaluation.pieces import Tensors, Workshop, files_digest, piece_key
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


class DanceStudio:
    """Makes dances, several side by side; finished ones are kept in `cache` and never made twice.

    A context manager, see `Workshop`.
    """

    def __init__(self, folder: Path, cache: Path, processes: int) -> None:
        self.folder, self.cache = folder, cache
        self._workshop = Workshop[DanceWish](partial(_load, folder), cache, processes)
        self._digest = model_digest(folder)

    def __enter__(self) -> DanceStudio:
        return self

    def __exit__(self, *_: object) -> None:
        self._workshop.__exit__()

    def dance(self, wishes: Sequence[DanceWish], on_done: Callable[[int, int], None]) -> list[Danced]:
        """What came of each wish, in their order; `on_done(wishes done, all)` after each."""
        done = itertools.count(1)
        on_done(0, len(wishes))
        made = self._workshop.make(wishes, self._key, lambda _: on_done(next(done), len(wishes)))
        return [Danced(tensors["features"], float(tensors["seconds"])) for tensors in made]

    def _key(self, wish: DanceWish) -> str:
        item = wish.item
        return piece_key(self._digest, files_digest(item.music_path), item.prompt, item.frames, wish.seed)


def model_digest(folder: Path) -> str:
    """A hash of everything that a dance depends on: model, retrieval network and library."""
    return files_digest(folder / INFO_NAME, folder / RETRIEVAL_FOLDER / INFO_NAME, folder / LIBRARY_FILE)


def _load(folder: Path) -> Callable[[DanceWish], Tensors]:
    """A model with its references, as the packaged command has them."""
    model = load_music_to_dance(folder)
    references = RetrievedReferences.beside(folder, model)
    known = {genre.casefold() for genre in model.genres}

    def dance(wish: DanceWish) -> Tensors:
        genre = wish.item.prompt if wish.item.prompt.casefold() in known else None
        music = wish.item.music()
        began = time.perf_counter()
        motion = generate_dance(music, model, genre=genre, seed=wish.seed, references=references)
        seconds = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
        return {"features": motion272_from_motion(motion), "seconds": seconds}

    return dance
