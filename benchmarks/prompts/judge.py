"""Whether a clip does what a sentence asks, one verdict for each thing asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from benchmarks.prompts.seen import Seen
from benchmarks.prompts.sentences import Ask
from kinestream.metrics.counting import Repeated

# A hand or foot acts alone beyond this lean; below it both do.
ALONE = 0.33
# Directions of travel in degrees to the left, lowest and highest. Recorded walks stray from ahead by up to 6, those
# to the side go at 17 to 40 (they are walked at a slant), those backward at 174 and more.
TRAVEL = {"forward": (-25.0, 25.0), "left": (15.0, 135.0), "right": (-135.0, -15.0), "backward": (155.0, 205.0)}
# Less than this is no travel, in metres.
LEAST_TRAVEL_M = 0.5
# Recordings that don't turn stray by up to 21 degrees; those that do turn by 77 and more.
LEAST_TURN_DEG, TURN_TOLERANCE_DEG = 25.0, 30.0
SECONDS_TOLERANCE = 0.25
STILL_SHARE, STILL_TRAVEL_M = 0.8, 0.3

# Every metric, in the order of the table: what it says.
METRICS: dict[str, str] = {
    "content": "what is done (classifier)",
    "order": "first this, then that (classifier)",
    "style": "how it is done (classifier)",
    "hand": "which hand",
    "foot": "which foot",
    "travel": "which way it goes",
    "turn": "which way it turns",
    "turn_angle": "how far it turns, within 30°",
    "steps": "steps counted, exactly",
    "steps_about": "steps counted, within one",
    "repeats": "repetitions counted",
    "speed": "slower or faster than usual",
    "seconds": "how long, within a quarter",
    "still": "stands still",
}
# The usual speed of contents, m/s over all joints.
Usual = Mapping[str, float]


def verdicts(ask: Ask, seen: Seen, usual: Usual) -> dict[str, bool]:
    """One verdict for each metric that has something to judge in this sentence."""
    found: dict[str, bool] = {}
    if ask.then:
        found["order"] = any(before in ask.content and after in ask.then for before, after in seen.parts)
    elif ask.content and "content" not in ask.not_judged:
        found["content"] = seen.content in ask.content
    if ask.style is not None:
        found["style"] = seen.style == ask.style
    if ask.hand is not None:
        leaning = seen.striking_hand if "punch" in ask.content else seen.hand
        found["hand"] = _side(leaning) == ask.hand
    if ask.foot is not None:
        found["foot"] = _side(seen.foot) == ask.foot
    if ask.travel is not None:
        found["travel"] = _travels(seen, ask.travel)
    found |= _turning(ask, seen)
    if ask.steps is not None:
        found["steps"] = seen.steps == ask.steps
        found["steps_about"] = abs(seen.steps - ask.steps) <= 1
    if ask.repeats is not None:
        found["repeats"] = seen.repeats(cast(Repeated, ask.repeats.of)) == ask.repeats.times
    known = [usual[content] for content in ask.content if content in usual]
    if ask.speed is not None and known:
        fair = sum(known) / len(known)
        found["speed"] = seen.speed_mps < fair if ask.speed == "slow" else seen.speed_mps > fair
    if ask.seconds is not None:
        found["seconds"] = abs(seen.seconds - ask.seconds) <= SECONDS_TOLERANCE * ask.seconds
    if ask.still:
        share = seen.still_share
        found["still"] = share is not None and share >= STILL_SHARE and float(seen.travel.norm()) < STILL_TRAVEL_M
    return found


def as_asked(found: Mapping[str, bool]) -> bool:
    """Whether everything that could be judged is right; steps need only be right within one."""
    return all(value for name, value in found.items() if name != "steps")


def _side(leaning: float) -> str:
    return "left" if leaning > ALONE else "right" if leaning < -ALONE else "both"


def _travels(seen: Seen, wanted: str) -> bool:
    far = float(seen.travel.norm()) >= LEAST_TRAVEL_M
    if wanted == "none":
        return not far
    low, high = TRAVEL[wanted]
    return far and any(low <= seen.travel_deg + whole <= high for whole in (0.0, 360.0))


def _turning(ask: Ask, seen: Seen) -> dict[str, bool]:
    if ask.turn is None:
        return {}
    turned = seen.turned_deg
    side = "left" if turned >= LEAST_TURN_DEG else "right" if turned <= -LEAST_TURN_DEG else "none"
    found = {"turn": side == ask.turn.side}
    if ask.turn.degrees is not None:
        signed = ask.turn.degrees if ask.turn.side == "left" else -ask.turn.degrees
        found["turn_angle"] = abs(turned - signed) <= TURN_TOLERANCE_DEG
    return found
