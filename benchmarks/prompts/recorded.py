"""The same questions put to real recordings, as far as their labels answer them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import torch

from benchmarks.prompts.seen import joined
from benchmarks.prompts.sentences import Ask, Repeats, Turn
from benchmarks.quality.takes import FPS, Take
from kinestream.evaluation.text.plan import seed_of

HANDS = {
    "wave-left-hand": "left", "raise-up-left-hand": "left", "wave-right-hand": "right", "raise-up-right-hand": "right",
    "wave-both-hands": "both", "raise-up-both-hands": "both", "byebye": "both", "bye": "right",
}  # fmt: skip
TRAVELS = {
    "walk": "forward", "run": "forward", "dash": "forward", "jog": "forward",
    "walk-back": "backward", "walk-left": "left", "walk-right": "right",
}  # fmt: skip
TURNS = {
    "walk-turn-left": Turn("left", 90.0), "walk-turn-right": Turn("right", 90.0),
    "walk-left": Turn("none"), "walk-right": Turn("none"), "walk-back": Turn("none"),
}  # fmt: skip
# What these recordings do once; two or three of them in a row do it so often.
ONCE = {"bow": "bow", "raise-up-left-hand": "raise", "raise-up-right-hand": "raise", "raise-up-both-hands": "raise"}
SPEEDS = {"old": "slow", "tired": "slow", "active": "fast", "youthful": "fast"}
STEADY = ("walk", "run", "walk-turn-left", "walk-turn-right")
# Pairs of recordings that are asked for their order; chains of one content that are asked for their number.
PAIRS, CHAINS = 60, 60
# Recordings of a content, evenly over its styles, that tell its usual speed.
TYPICAL = 20


def label_ask(take: Take) -> Ask:
    """What a recording's labels say that it does."""
    content = take.content
    return Ask(
        take.name,
        "recordings",
        content=(content,),
        style=take.style,
        hand=HANDS.get(content),
        travel=TRAVELS.get(content),
        turn=TURNS.get(content),
        repeats=Repeats(ONCE[content], 1) if content in ONCE else None,
        speed=SPEEDS.get(take.style) if content in STEADY else None,
    )


def composed(takes: Sequence[Take], seed: int) -> list[tuple[Ask, Take]]:
    """Recordings put together: two of different contents in an order, two or three that do the same thing."""
    rng = random.Random(seed_of(seed, "composed recordings"))
    by_content: dict[str, list[Take]] = defaultdict(list)
    for take in takes:
        by_content[take.content].append(take)
    found = []
    contents = sorted(by_content)
    for _ in range(PAIRS if len(contents) > 1 else 0):
        first, second = rng.sample(contents, 2)
        pair = [rng.choice(by_content[content]) for content in (first, second)]
        found.append((Ask(f"{first}, then {second}", "recordings", content=(first,), then=(second,)), joined(pair)))
    countable = [content for content in contents if content in ONCE]
    for _ in range(CHAINS if countable else 0):
        content, times = rng.choice(countable), rng.choice((2, 3))
        chain = [rng.choice(by_content[content]) for _ in range(times)]
        ask = Ask(f"{content} x {times}", "recordings", repeats=Repeats(ONCE[content], times))
        found.append((ask, joined(chain)))
    return found


def usual_speeds(takes: Sequence[Take]) -> dict[str, float]:
    """The median recording's mean speed of all joints, m/s, for each content; of `TYPICAL` recordings at most."""
    by_content: dict[str, list[Take]] = defaultdict(list)
    for take in takes:
        if take.num_frames > 1:
            by_content[take.content].append(take)
    speeds = {
        content: [
            float(take.joints_m.diff(dim=0).norm(dim=-1).mean()) * FPS for take in own[:: -(-len(own) // TYPICAL)]
        ]
        for content, own in by_content.items()
    }
    return {content: float(torch.tensor(own).median()) for content, own in sorted(speeds.items())}
