"""The bench's sentences: what each one asks for, read from known.json and unknown.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from kinestream.errors import BadInputError

HERE = Path(__file__).resolve().parent
T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """A turn to the "left" or "right" or to "none"; `degrees` only where the sentence names an angle."""

    side: str
    degrees: float | None = None


@dataclass(frozen=True)
class Repeats:
    """What is counted ("jump", "bow", "raise", "punch", "kick") and how often it is asked for."""

    of: str
    times: int


@dataclass(frozen=True)
class Ask:
    """One sentence and what it asks for; None or empty for what it leaves open.

    `content`: labels that are right, `then`: those of what comes second; `hand` left, right or both; `foot` left or
    right; `travel` forward, backward, left, right or none, as the body sees it; `speed` slow or fast; `traits`: how it
    is written; `not_judged`: what it asks for that no metric here can tell, and why.
    """

    text: str
    group: str
    content: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    style: str | None = None
    hand: str | None = None
    foot: str | None = None
    travel: str | None = None
    turn: Turn | None = None
    steps: int | None = None
    repeats: Repeats | None = None
    speed: str | None = None
    seconds: float | None = None
    still: bool = False
    traits: tuple[str, ...] = ()
    not_judged: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Ask:
        """From one entry of the file; BadInputError for a field that there is not."""
        unknown = set(values) - {one.name for one in fields(cls)}
        if unknown or not values.get("text") or not values.get("group"):
            raise BadInputError(f"a sentence of the bench needs text and group, and no {sorted(unknown)}: {values}")
        plain = dict(values)
        for name in ("content", "then", "traits"):
            plain[name] = tuple(plain.get(name, ()))
        plain["turn"] = Turn(**values["turn"]) if "turn" in values else None
        plain["repeats"] = Repeats(**values["repeats"]) if "repeats" in values else None
        return cls(**plain)


def load_known_asks(path: Path = HERE / "known.json") -> list[Ask]:
    """The sentences that a model should understand."""
    return _load(path)


def load_unknown(path: Path = HERE / "unknown.json") -> list[Ask]:
    """Prompts of which the right answer is that they are not known; those without a word are refused earlier."""
    return [ask for ask in _load(path) if any(character.isalnum() for character in ask.text)]


def wordless(path: Path = HERE / "unknown.json") -> list[str]:
    """Prompts without a letter or digit, which every encoder must refuse."""
    return [ask.text for ask in _load(path) if not any(character.isalnum() for character in ask.text)]


def calibration_half(items: Sequence[T]) -> list[T]:
    """Every other item: those that a threshold may be chosen on."""
    return list(items[::2])


def report_half(items: Sequence[T]) -> list[T]:
    """The rest: those that it is reported on."""
    return list(items[1::2])


def _load(path: Path) -> list[Ask]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return [Ask.from_json(entry) for entry in document["sentences"]]
