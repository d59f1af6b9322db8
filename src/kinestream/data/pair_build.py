"""The build's contextual pairs, written in the BABEL-272-stream layout: which clips, where cut, which captions."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.data.contextual import FRAMES_A_LATENT, find_cut, join
from kinestream.data.layout import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    StreamLine,
    TextLine,
    read_features,
    read_text_lines,
    stream_line,
)
from kinestream.data.manifest import Clip, Pair
from kinestream.data.prepare import checked_features, on_floor
from kinestream.features import MOTION272, motion_from_motion272
from kinestream.io.atomic import atomic_path

# Text and 77 latents are the model's context: history and motion together stay below.
MAX_PAIR_FRAMES = 304
MAX_AFTER_FRAMES = 268
MIN_HISTORY_FRAMES = 32
MAX_HISTORY_FRAMES = 160
MIN_PART_FRAMES = 24
CUT_SHARE = 0.3
CAPTIONS_A_PAIR = 4
CANDIDATES = 4


@dataclass(frozen=True)
class PairPlan:
    """A pair to make: for "cut" one clip, for "joined" a first clip and candidates for the second."""

    name: str
    kind: str
    split: str
    first: str
    seconds: tuple[str, ...] = ()


def plan_pairs(clips: Sequence[Clip], split: str, count: int) -> list[PairPlan]:
    """`count` pairs of one split's clips, the same every time; rare contents come up more than their share."""
    rng = random.Random(int.from_bytes(hashlib.sha256(f"pairs {split}".encode()).digest()[:8], "big"))
    long_enough = sorted((c for c in clips if c.frames >= 2 * MIN_PART_FRAMES + FRAMES_A_LATENT), key=lambda c: c.name)
    followers = [c for c in long_enough if c.frames <= MAX_AFTER_FRAMES]
    if not followers or count == 0:
        return []
    cuts = round(count * CUT_SHARE)
    plans = []
    for number in range(count):
        name = f"pair_{split}_{number:05d}"
        first = _balanced(long_enough, rng)
        if number < cuts:
            plans.append(PairPlan(name, "cut", split, first.name))
            continue
        second = _balanced(followers, rng)
        alike = [c for c in followers if (c.content, c.style) == (second.content, second.style)]
        candidates = rng.sample(alike, min(CANDIDATES, len(alike)))
        plans.append(PairPlan(name, "joined", split, first.name, tuple(c.name for c in candidates)))
    return plans


def _balanced(clips: Sequence[Clip], rng: random.Random) -> Clip:
    """A clip whose content is drawn by the root of its count, so that rare contents are not drowned."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.content].append(clip)
    contents = sorted(groups)
    content = rng.choices(contents, [len(groups[c]) ** 0.5 for c in contents])[0]
    return rng.choice(groups[content])


def build_pairs(root: Path, plans: Sequence[PairPlan]) -> list[Pair]:
    """Write the planned pairs under ROOT/{split}_stream and ROOT/{split}_stream_text; gives their manifest entries."""
    return [_build_pair(root, plan) for plan in plans]


@dataclass(frozen=True, eq=False)
class _Part:
    """A clip's features within one caption's time range, and its captions."""

    features: Tensor
    captions: list[str]


def _part(root: Path, name: str, rng: random.Random) -> _Part:
    features = torch.from_numpy(np.array(read_features(root / MOTION_FOLDER / f"{name}.npy")))
    lines = read_text_lines(root / TEXT_FOLDER / f"{name}.txt")
    ranges = sorted({(line.start_s, line.end_s) for line in lines})
    start_s, end_s = rng.choice(ranges)
    captions = [line.caption for line in lines if (line.start_s, line.end_s) == (start_s, end_s)]
    return _Part(features[_frames(TextLine("", start_s, end_s), len(features))], captions)


def _frames(line: TextLine, count: int) -> slice:
    start = min(round(line.start_s * MOTION272.fps), count - 1)
    return slice(start, min(round(line.end_s * MOTION272.fps), count) if line.end_s > line.start_s else count)


def _build_pair(root: Path, plan: PairPlan) -> Pair:
    rng = random.Random(int.from_bytes(hashlib.sha256(plan.name.encode()).digest()[:8], "big"))
    first = _part(root, plan.first, rng)
    if plan.kind == "cut":
        features, before = _cut(first.features, rng)
        captions = rng.sample(first.captions, min(CAPTIONS_A_PAIR, len(first.captions)))
        texts = [(caption, caption) for caption in captions]
        after_name = plan.first
    else:
        features, before, after_name, second = _joined(root, plan, first, rng)
        texts = [(rng.choice(first.captions), rng.choice(second.captions)) for _ in range(CAPTIONS_A_PAIR)]
    lines = [StreamLine(a, b, before) for a, b in dict.fromkeys(texts)]
    _write(root, plan, features, lines)
    return Pair(plan.name, plan.kind, plan.split, plan.first, after_name, before, features.shape[0])


def _cut(features: Tensor, rng: random.Random) -> tuple[Tensor, int]:
    """The clip's last frames, cut at a multiple of four frames; both parts long enough."""
    start = max(0, features.shape[0] - MAX_PAIR_FRAMES)
    features = features[start:]
    highest = min(MAX_HISTORY_FRAMES, features.shape[0] - MIN_PART_FRAMES) // FRAMES_A_LATENT
    lowest = min(MIN_PART_FRAMES // FRAMES_A_LATENT, highest)
    return features, FRAMES_A_LATENT * rng.randint(max(1, lowest), max(1, highest))


def _joined(root: Path, plan: PairPlan, first: _Part, rng: random.Random) -> tuple[Tensor, int, str, _Part]:
    earliest = max(MIN_PART_FRAMES, first.features.shape[0] // 2)
    best: tuple[float, int, int, str, _Part] | None = None
    for name in plan.seconds:
        second = _part(root, name, rng)
        latest_start = min(20, second.features.shape[0] // 5)
        end, start, cost = find_cut(first.features, second.features, earliest=earliest, latest_start=latest_start)
        if best is None or cost < best[0]:
            best = (cost, end, start, name, second)
    assert best is not None, "a joined pair has at least one candidate"
    _, end, start, name, second = best
    after = min(second.features.shape[0] - start, MAX_AFTER_FRAMES)
    room = min(MAX_HISTORY_FRAMES, MAX_PAIR_FRAMES - after, end) // FRAMES_A_LATENT
    history = FRAMES_A_LATENT * rng.randint(min(room, MIN_HISTORY_FRAMES // FRAMES_A_LATENT), room)
    head = motion_from_motion272(first.features[end - history : end])
    tail = motion_from_motion272(second.features)
    return checked_features(on_floor(join(head, tail.slice(0, start + after), start))), history, name, second


def _write(root: Path, plan: PairPlan, features: Tensor, lines: Sequence[StreamLine]) -> None:
    motions, texts = root / f"{plan.split}_stream", root / f"{plan.split}_stream_text"
    for folder in (motions, texts):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(motions / f"{plan.name}.npy") as path:
        np.save(path, features.numpy())
    with atomic_path(texts / f"{plan.name}.txt") as path:
        path.write_text("".join(stream_line(line) + "\n" for line in lines), encoding="utf-8")
