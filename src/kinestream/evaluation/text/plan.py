"""What is measured: recordings with the caption that is asked for, and pairs of prompts that follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinestream.data.layout import MOTION_FOLDER, STREAM_SPLITS, read_split
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.data.sources.babel_272_stream import stream_pairs
from kinestream.data.sources.humanml3d_272 import clip_parts, feature_count
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.evaluation.items import Item, Plan, chosen_items, mirrored_names, require_folder, seed_of
from kinestream.evaluation.text.generation import Wish

# Shorter recordings show no action; the literature's own limit is 40 at 20 fps, its generated clips have more.
MIN_FRAMES = 30
FRAMES_PER_LATENT = 4


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


def _unique(name: str, names: set[str]) -> str:
    """The name, numbered from its second use on: one file may hold several captions' parts."""
    found, number = name, 2
    while found in names:
        found, number = f"{name}#{number}", number + 1
    names.add(found)
    return found


def _blended(root: Path) -> set[str]:
    if not (root / MANIFEST_NAME).is_file():
        return set()
    return {pair.name for pair in load_manifest(root).pairs if pair.synthetic}
