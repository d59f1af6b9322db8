"""What is measured of a data set: recordings with what is asked for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import read_features
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError


@dataclass(frozen=True)
class Item:
    """A recording (frames `start` to `stop` of a file) and a caption of it.

    With `then` the recording goes on to that second caption at `switch_frame`; `real` says whether its switch was
    recorded instead of blended.
    """

    name: str
    prompt: str
    path: Path
    start: int
    stop: int
    then: str = ""
    switch_frame: int = 0
    real: bool = True

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return self.stop - self.start

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from."""
        return (self.path,)

    def features(self) -> Float[Tensor, "t 272"]:
        """The recording's features, un-normalised."""
        return torch.from_numpy(read_features(self.path)[self.start : self.stop].copy())


AnyItem = TypeVar("AnyItem", bound=Item)


@dataclass(frozen=True)
class Plan:
    """What is measured, and what of the data could not be used."""

    items: tuple[Item, ...]
    rejects: tuple[Reject, ...]


def seed_of(seed: int, name: str) -> int:
    """A seed of its own for each stream, the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:6], "big")


def chosen_items(
    items: Sequence[AnyItem], count: int | None, root: Path, split: str, rejects: Sequence[Reject]
) -> tuple[AnyItem, ...]:
    """`count` of the items, evenly over their names; all without a count. Sorted by length, so that what is made
    together ends together."""
    if not items:
        why = f"; {rejects[0].name}: {rejects[0].reason}" if rejects else ""
        raise BadInputError(f"{root}: nothing to measure in the split {split!r}{why}")
    ordered = sorted(items, key=lambda item: item.name)
    if count is not None and count < len(ordered):
        ordered = [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]
    return tuple(sorted(ordered, key=lambda item: (item.frames, item.name)))


def require_folder(root: Path) -> None:
    """BadInputError unless it is a folder."""
    if not root.is_dir():
        raise BadInputError(f"{root}: expected a data set folder (`kinestream data build` makes one), found none")


def mirrored_names(root: Path) -> set[str]:
    """Names of the mirrored copies of recordings, as the manifest says; none without one."""
    if not (root / MANIFEST_NAME).is_file():
        return set()
    return {clip.name for clip in load_manifest(root).clips if clip.mirrored}
