"""Shares of clips that do what is asked, beside recordings and beside chance."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.prompts.judge import METRICS, Usual, as_asked, verdicts
from benchmarks.prompts.seen import Seen
from benchmarks.prompts.sentences import Ask
from kinestream.evaluation.text.plan import seed_of
from kinestream.metrics import bootstrap

# How often clips are handed out to other sentences for the level of chance.
SHUFFLES = 20
WORST = 40
# A clip as long as a prompt may last has not ended by itself; a second is too short for any of these deeds.
LIMIT_S, SHORTEST_S = 14.8, 1.0

# Why a metric has no figure of recordings.
NO_RECORDINGS = {
    "foot": "no recording's labels name a foot",
    "steps": "no recording's labels count steps",
    "steps_about": "no recording's labels count steps",
    "seconds": "recordings are as long as they are; nobody asked",
    "still": "no recording's labels say that somebody stands",
}


class Row(NamedTuple):
    """One clip of one sentence; `prompt` tells which clips are of one sentence."""

    prompt: int
    ask: Ask
    seen: Seen
    found: dict[str, bool]


def rows_of(asks: Sequence[Ask], seen: Sequence[Seen], usual: Usual) -> list[Row]:
    """The verdicts of one clip a sentence."""
    return [Row(k, ask, one, verdicts(ask, one, usual)) for k, (ask, one) in enumerate(zip(asks, seen, strict=True))]


def share(values: Sequence[float], groups: Sequence[Hashable]) -> dict[str, Any] | None:
    """Mean with its interval over whole groups; None of nothing."""
    if not values:
        return None
    found = bootstrap(torch.tensor(values, dtype=torch.float64), groups=list(groups))
    bounds = [None if math.isnan(bound) else round(bound, 4) for bound in (found.low, found.high)]
    return {"value": round(found.value, 4), "low": bounds[0], "high": bounds[1], "n": found.count}


def shuffled(rows: Sequence[Row], name: str, usual: Usual, seed: int) -> float | None:
    """How often a metric is content with the clips of other sentences that ask for it too."""
    own = [row for row in rows if name in row.found]
    if len(own) < 2:
        return None
    rng = random.Random(seed_of(seed, f"shuffled {name}"))
    hits = []
    for _ in range(SHUFFLES):
        clips = [row.seen for row in own]
        rng.shuffle(clips)
        judged = [verdicts(row.ask, clip, usual).get(name) for row, clip in zip(own, clips, strict=True)]
        hits += [float(verdict) for verdict in judged if verdict is not None]
    return round(sum(hits) / len(hits), 4)


def metric_table(generated: Sequence[Row], real: Sequence[Row], usual: Usual, seed: int) -> dict[str, Any]:
    """Every metric: generated, recorded, and what clips of other sentences get."""
    found: dict[str, Any] = {}
    for name, says in METRICS.items():
        own = [row for row in generated if name in row.found]
        recorded = [row for row in real if name in row.found]
        if name in ("content", "style"):
            figure = _named_as_asked([row.ask for row in own], real, name)
        else:
            figure = share([float(row.found[name]) for row in recorded], [row.prompt for row in recorded])
        found[name] = {
            "says": says,
            "prompts": len({row.prompt for row in own}),
            "generated": share([float(row.found[name]) for row in own], [row.prompt for row in own]),
            "shuffled": shuffled(own, name, usual, seed),
            "real": figure,
            "real_shuffled": shuffled(recorded, name, usual, seed),
        }
        if figure is None:
            found[name]["no_recordings"] = NO_RECORDINGS.get(name, "none of these recordings are labelled so")
    return found


def _named_as_asked(asks: Sequence[Ask], real: Sequence[Row], name: str) -> dict[str, Any] | None:
    """The classifier's hits on the recordings that each sentence could mean, sentences counting alike."""
    rates: list[float] = []
    recorded = [row for row in real if not row.ask.then and row.ask.content]
    for ask in asks:
        meant = [row for row in recorded if row.ask.content[0] in ask.content]
        if name == "style":
            meant = [row for row in meant if row.ask.style == ask.style]
            hits = [row.seen.style == ask.style for row in meant]
        else:
            hits = [row.seen.content in ask.content for row in meant]
        if hits:
            rates.append(sum(hits) / len(hits))
    return share(rates, list(range(len(rates))))


def grouped(rows: Sequence[Row], keys: Callable[[Ask], Iterable[str]]) -> dict[str, Any]:
    """Clips as asked, and what is done, for each group of sentences."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for key in keys(row.ask):
            groups[key].append(row)
    return {
        key: {
            "prompts": len({row.prompt for row in own}),
            "as_asked": share([float(as_asked(row.found)) for row in own], [row.prompt for row in own]),
            "content": share(
                [float(row.found["content"]) for row in own if "content" in row.found],
                [row.prompt for row in own if "content" in row.found],
            ),
        }
        for key, own in groups.items()
    }


def lengths(rows: Sequence[Row]) -> dict[str, Any]:
    """Prompts that never ended, and those that ended at once."""
    prompts = [row.prompt for row in rows]
    return {
        "at_limit": share([float(row.seen.seconds >= LIMIT_S) for row in rows], prompts),
        "under_a_second": share([float(row.seen.seconds < SHORTEST_S) for row in rows], prompts),
        "median_s": round(sorted(row.seen.seconds for row in rows)[len(rows) // 2], 2),
    }


def worst(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The sentences of which the least comes out, with what came instead."""
    by_prompt: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_prompt[row.prompt].append(row)

    def right(own: Sequence[Row]) -> float:
        shares = [sum(row.found.values()) / len(row.found) for row in own if row.found]
        return sum(shares) / len(shares) if shares else 1.0

    ordered = sorted(by_prompt.values(), key=lambda own: (right(own), own[0].prompt))[:WORST]
    return [
        {
            "text": own[0].ask.text,
            "right": round(right(own), 4),
            "failed": dict(Counter(name for row in own for name, verdict in row.found.items() if not verdict)),
            "shown": dict(Counter(f"{row.seen.content}, {row.seen.style}" for row in own).most_common(3)),
        }
        for own in ordered
    ]


def not_judged(asks: Sequence[Ask]) -> list[Mapping[str, Any]]:
    """What is asked for and can't be told."""
    return [{"text": ask.text, **ask.not_judged} for ask in asks if ask.not_judged]
