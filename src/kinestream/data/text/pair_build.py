"""The build's contextual pairs, written in the BABEL-272-stream layout: which clips, where cut, which captions."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.data.layout import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    StreamLine,
    has_features,
    read_features,
    read_text_lines,
    stream_line,
    write_features,
)
from kinestream.data.manifest import Clip, Pair
from kinestream.data.prepare import checked_features, on_floor
from kinestream.data.text.contextual import FRAMES_A_LATENT, find_cut, join
from kinestream.features import MOTION272, motion_from_motion272
from kinestream.io.atomic import atomic_path

# Raised whenever the same clips would be joined or cut differently.
PAIR_FORMAT = 1
# Text and 77 latents are the model's context: history and motion together stay below.
MAX_PAIR_FRAMES = 304
MAX_AFTER_FRAMES = 268
MIN_HISTORY_FRAMES = 32
MAX_HISTORY_FRAMES = 160
MIN_PART_FRAMES = 24
CUT_SHARE = 0.3
CAPTIONS_A_PAIR = 4
CANDIDATES = 4
_LEAST_FRAMES = 2 * MIN_PART_FRAMES + FRAMES_A_LATENT


@dataclass(frozen=True)
class PairPlan:
    """A pair to make: for "cut" one clip, for "joined" a first clip and candidates for the second.

    `inputs` is a digest of the clips' recordings and of how pairs are made.
    """

    name: str
    kind: str
    split: str
    first: str
    seconds: tuple[str, ...] = ()
    inputs: str = ""


def plan_pairs(clips: Sequence[Clip], split: str, count: int) -> list[PairPlan]:
    """`count` pairs of one split's clips, the same every time; rare contents come up more than their share."""
    rng = _rng("pairs", split)
    usable = (c for c in clips if not c.made and _longest_part(c) >= _LEAST_FRAMES)
    long_enough = sorted(usable, key=lambda c: c.name)
    followers = [c for c in long_enough if c.frames <= MAX_AFTER_FRAMES]
    if not followers or count == 0:
        return []
    cuts = round(count * CUT_SHARE)
    plans = []
    for number in range(count):
        name = f"pair_{split}_{number:05d}"
        first = _balanced(long_enough, rng)
        if number < cuts:
            plans.append(PairPlan(name, "cut", split, first.name, inputs=_inputs("cut", [first])))
            continue
        second = _balanced(followers, rng)
        alike = [c for c in followers if (c.content, c.style) == (second.content, second.style)]
        candidates = rng.sample(alike, min(CANDIDATES, len(alike)))
        seconds = tuple(candidate.name for candidate in candidates)
        plans.append(PairPlan(name, "joined", split, first.name, seconds, _inputs("joined", [first, *candidates])))
    return plans


def _longest_part(clip: Clip) -> float:
    """Frames under one caption: of clips with captions by time less than all."""
    longest_s = clip.details.get("longest_caption_s")
    return clip.frames if longest_s is None else longest_s * MOTION272.fps


def _inputs(kind: str, clips: Sequence[Clip]) -> str:
    made_of = [PAIR_FORMAT, kind, *((clip.name, clip.sha256, clip.frames) for clip in clips)]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def _balanced(clips: Sequence[Clip], rng: random.Random) -> Clip:
    """A clip whose content is drawn by the root of its count, so that rare contents are not drowned."""
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.content].append(clip)
    contents = sorted(groups)
    content = rng.choices(contents, [len(groups[c]) ** 0.5 for c in contents])[0]
    return rng.choice(groups[content])


def build_pairs(root: Path, plans: Sequence[PairPlan], known: Mapping[str, Pair]) -> list[Pair]:
    """Write the planned pairs under ROOT/{split}_stream and ROOT/{split}_stream_text; gives their manifest entries.

    A pair that `known` has, made from the same clips in the same way, keeps its motion; its texts are drawn anew.
    """
    return [_build_pair(root, plan, known.get(plan.name)) for plan in plans]


@dataclass(frozen=True, eq=False)
class _Part:
    """The frames of a clip that one caption's time range covers, and its captions."""

    name: str
    frames: slice
    captions: list[str]

    def features(self, root: Path) -> Tensor:
        """The features of these frames."""
        return torch.from_numpy(np.array(read_features(root / MOTION_FOLDER / f"{self.name}.npy")[self.frames]))


def _part(root: Path, name: str, plan: PairPlan) -> _Part:
    lines = read_text_lines(root / TEXT_FOLDER / f"{name}.txt")
    whole_s = len(read_features(root / MOTION_FOLDER / f"{name}.npy", mmap=True)) / MOTION272.fps
    ranges = sorted({(line.start_s, line.end_s) for line in lines})
    least_s = (_LEAST_FRAMES - 1) / MOTION272.fps
    long_enough = [(start, end) for start, end in ranges if (end or whole_s) - start >= least_s]
    start_s, end_s = _rng(plan.name, name).choice(long_enough or ranges)
    captions = [line.caption for line in lines if (line.start_s, line.end_s) == (start_s, end_s)]
    start = round(start_s * MOTION272.fps)
    return _Part(name, slice(start, round(end_s * MOTION272.fps) if end_s > start_s else None), captions)


def _rng(*words: str) -> random.Random:
    return random.Random(int.from_bytes(hashlib.sha256(" ".join(words).encode()).digest()[:8], "big"))


def _build_pair(root: Path, plan: PairPlan, known: Pair | None) -> Pair:
    pair = known if known is not None and _is_complete(root, plan, known) else None
    if pair is None:
        features, before, after_name = _cut(root, plan) if plan.kind == "cut" else _joined(root, plan)
        pair = Pair(plan.name, plan.kind, plan.split, plan.first, after_name, before, features.shape[0], plan.inputs)
        motions = root / f"{plan.split}_stream"
        motions.mkdir(parents=True, exist_ok=True)
        write_features(motions / f"{plan.name}.npy", features)
    _write_texts(root, plan, pair)
    return pair


def _is_complete(root: Path, plan: PairPlan, known: Pair) -> bool:
    path = root / f"{plan.split}_stream" / f"{plan.name}.npy"
    return known.inputs == plan.inputs and has_features(path, known.frames)


def _write_texts(root: Path, plan: PairPlan, pair: Pair) -> None:
    rng = _rng(plan.name, "texts")
    first, second = _part(root, pair.before, plan).captions, _part(root, pair.after, plan).captions
    if plan.kind == "cut":
        texts = [(caption, caption) for caption in rng.sample(first, min(CAPTIONS_A_PAIR, len(first)))]
    else:
        texts = [(rng.choice(first), rng.choice(second)) for _ in range(CAPTIONS_A_PAIR)]
    lines = [stream_line(StreamLine(a, b, pair.frames_before)) + "\n" for a, b in dict.fromkeys(texts)]
    folder = root / f"{plan.split}_stream_text"
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / f"{plan.name}.txt", "".join(lines)
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _cut(root: Path, plan: PairPlan) -> tuple[Tensor, int, str]:
    """The clip's last frames, cut at a multiple of four frames; both parts long enough."""
    features = _part(root, plan.first, plan).features(root)[-MAX_PAIR_FRAMES:]
    highest = min(MAX_HISTORY_FRAMES, features.shape[0] - MIN_PART_FRAMES) // FRAMES_A_LATENT
    lowest = min(MIN_PART_FRAMES // FRAMES_A_LATENT, highest)
    before = FRAMES_A_LATENT * _rng(plan.name).randint(max(1, lowest), max(1, highest))
    return features, before, plan.first


def _joined(root: Path, plan: PairPlan) -> tuple[Tensor, int, str]:
    """The candidate that fits the first clip best, after as much of it as there is room for."""
    first = _part(root, plan.first, plan).features(root)
    earliest = max(MIN_PART_FRAMES, first.shape[0] // 2)
    best: tuple[float, int, int, str, Tensor] | None = None
    for name in plan.seconds:
        second = _part(root, name, plan).features(root)
        latest_start = min(20, second.shape[0] // 5)
        end, start, cost = find_cut(first, second, earliest=earliest, latest_start=latest_start)
        if best is None or cost < best[0]:
            best = (cost, end, start, name, second)
    assert best is not None, "a joined pair has at least one candidate"
    _, end, start, name, second = best
    after = min(second.shape[0] - start, MAX_AFTER_FRAMES)
    room = min(MAX_HISTORY_FRAMES, MAX_PAIR_FRAMES - after, end) // FRAMES_A_LATENT
    history = FRAMES_A_LATENT * _rng(plan.name).randint(min(room, MIN_HISTORY_FRAMES // FRAMES_A_LATENT), room)
    head = motion_from_motion272(first[end - history : end])
    tail = motion_from_motion272(second)
    return checked_features(on_floor(join(head, tail.slice(0, start + after), start))), history, name
