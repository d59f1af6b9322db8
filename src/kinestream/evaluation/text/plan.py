"""What is measured: recordings with the caption that is asked for, and pairs of prompts that follow one another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import MOTION_FOLDER, STREAM_SPLITS, read_features, read_split
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.data.sources.babel_272_stream import stream_pairs
from kinestream.data.sources.humanml3d_272 import clip_parts, feature_count
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.evaluation.text.generation import Wish

# Shorter recordings show no action; the literature's own limit is 40 at 20 fps, its generated clips have more.
MIN_FRAMES = 30
FRAMES_PER_LATENT = 4


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


def text_plan(root: Path, split: str, seed: int, count: int | None) -> Plan:
    """Each recording of a split, mirrored copies left out, with one of its captions, which the seed draws.

    BadInputError where the split, its motions or its captions are missing.
    """
    require_folder(root)
    parts, rejects = clip_parts(root, split)
    mirrored = mirrored_names(root)
    items: list[Item] = []
    names: set[str] = set()
    for part in parts:
        if part.name in mirrored:
            continue
        name = _unique(part.name, names)
        if part.frames < MIN_FRAMES:
            rejects.append(Reject(name, root.name, f"{part.frames} frames are fewer than {MIN_FRAMES}"))
            continue
        caption = part.captions[seed_of(seed, f"caption {name}") % len(part.captions)]
        items.append(Item(name, caption, part.path, part.start, part.stop))
    return Plan(chosen_items(items, count, root, split, rejects), tuple(rejects))


def reconstruction_plan(root: Path, split: str, count: int | None) -> Plan:
    """Each recording of a split, mirrored copies left out; captions are not needed."""
    require_folder(root)
    mirrored = mirrored_names(root)
    items, rejects = [], []
    for name in dict.fromkeys(read_split(root, split)):
        if name in mirrored:
            continue
        path = root / MOTION_FOLDER / f"{name}.npy"
        try:
            frames = feature_count(path)
            if frames < MIN_FRAMES:
                raise BadInputError(f"{frames} frames are fewer than {MIN_FRAMES}")
        except BadInputError as error:
            rejects.append(Reject(name, root.name, str(error)))
            continue
        items.append(Item(name, "", path, 0, frames))
    return Plan(chosen_items(items, count, root, split, rejects), tuple(rejects))


def stream_plan(root: Path, split: str, count: int | None, half_window: int) -> Plan:
    """Pairs of different prompts of a split, and the recorded switches that they are compared with.

    Items whose texts differ are generated; items with `real` set have a recorded (not blended) switch. BadInputError
    where there is no such split or nothing in it is usable.
    """
    require_folder(root)
    if split not in STREAM_SPLITS:
        raise BadInputError(f"switches come in the splits {', '.join(STREAM_SPLITS)}; got --split {split}")
    pairs, rejects = stream_pairs(root, split)
    blended = _blended(root)
    items: list[Item] = []
    names: set[str] = set()
    for pair in pairs:
        name = _unique(pair.name, names)
        if pair.frames_before < half_window or pair.frames - pair.frames_before < half_window:
            rejects.append(Reject(name, root.name, f"fewer than {half_window} frames on a side of its switch"))
            continue
        real = pair.name not in blended
        items.append(Item(name, pair.before, pair.path, 0, pair.frames, pair.after, pair.frames_before, real))
    switching = chosen_items([i for i in items if i.prompt != i.then], count, root, f"{split}_stream", rejects)
    chosen = {item.name for item in switching}
    return Plan((*switching, *(i for i in items if i.real and i.name not in chosen)), tuple(rejects))


def clip_wishes(items: Sequence[Item], seed: int, repeat: int) -> list[Wish]:
    """One stream for each recording, asked for with its caption; every repeat has seeds of its own."""
    return [
        Wish(f"{item.name} {repeat}", "", "", item.prompt, seed_of(seed, f"{item.name} {repeat}")) for item in items
    ]


def switch_wishes(items: Sequence[Item], seed: int, repeat: int) -> list[Wish]:
    """One stream for each pair; the second prompt comes at the latent in which the recording changes."""
    return [
        Wish(
            f"{item.name} {repeat}", "", "", item.prompt, seed_of(seed, f"{item.name} {repeat}"), item.then,
            switch_at=round(item.switch_frame / FRAMES_PER_LATENT),
        )
        for item in items
    ]  # fmt: skip


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


def _unique(name: str, names: set[str]) -> str:
    """The name, numbered from its second use on: one file may hold several captions' parts."""
    found, number = name, 2
    while found in names:
        found, number = f"{name}#{number}", number + 1
    names.add(found)
    return found


def require_folder(root: Path) -> None:
    """BadInputError unless it is a folder."""
    if not root.is_dir():
        raise BadInputError(f"{root}: expected a data set folder (`kinestream data build` makes one), found none")


def mirrored_names(root: Path) -> set[str]:
    """Names of the mirrored copies of recordings, as the manifest says; none without one."""
    if not (root / MANIFEST_NAME).is_file():
        return set()
    return {clip.name for clip in load_manifest(root).clips if clip.mirrored}


def _blended(root: Path) -> set[str]:
    if not (root / MANIFEST_NAME).is_file():
        return set()
    return {pair.name for pair in load_manifest(root).pairs if pair.synthetic}
