"""What a prompt asks for, read by rules: actions, style, side, direction, turn, speed, count, stillness.

A sentence embedding puts "raises the left arm" and "raises the right arm" at a cosine of 0.94. These slots stand beside
it, so that a model hears the difference. Words that the rules don't know leave their slots empty, and a word that is
spelt wrong counts as the known one it is nearest to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

SIDES = ("left", "right", "both")
DIRECTIONS = ("forward", "backward", "left", "right")
TURNS = ("left", "right", "around")

_WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*|\d+|[,;.:]")
# A negation reaches so many words of its clause.
_REACH = 3
_SUFFIXES = ("ing", "es", "ed", "s", "d", "er", "ers")


class Slots(NamedTuple):
    """What was read. Sets hold names of `slots.json`; an empty one says that nothing was.

    negated: actions that the sentence rules out.
    """

    actions: frozenset[str]
    negated: frozenset[str]
    styles: frozenset[str]
    side: str | None
    limbs: frozenset[str]
    direction: str | None
    turn: str | None
    speed: str | None
    repetitions: int | None


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = files("kinestream.conditioning").joinpath("slots.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@cache
def _words(kind: str) -> frozenset[str]:
    return frozenset(_table()["words"][kind])


class _Lexicon(NamedTuple):
    kinds: dict[str, dict[tuple[str, ...], str]]
    counts: dict[tuple[str, ...], int]
    words: frozenset[str]


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    table = _table()
    kinds = {
        kind: {tuple(phrase.split()): name for name, phrases in table[kind].items() for phrase in phrases}
        for kind in ("actions", "styles", "speeds", "limbs")
    }
    counts = {tuple(phrase.split()): int(value) for phrase, value in table["counts"].items()}
    spelt = {word for phrases in kinds.values() for phrase in phrases for word in phrase}
    spelt |= {word for phrase in counts for word in phrase}
    spelt |= {word for words in table["words"].values() for word in words}
    return _Lexicon(kinds, counts, frozenset(spelt))


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """What each of a vector's values stands for."""
    kinds = _lexicon().kinds
    actions, styles, limbs = (tuple(dict.fromkeys(kinds[kind].values())) for kind in ("actions", "styles", "limbs"))
    return (
        *(f"action {name}" for name in actions),
        *(f"not {name}" for name in actions),
        *(f"style {name}" for name in styles),
        *(f"limb {name}" for name in limbs),
        *(f"side {name}" for name in SIDES),
        *(f"direction {name}" for name in DIRECTIONS),
        *(f"turn {name}" for name in TURNS),
        "speed slow",
        "speed fast",
        "count given",
        "count",
    )


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters, and the marks between clauses."""
    return _WORD.findall(text.lower().replace("’", "'"))


def read_slots(text: str, is_word: Callable[[str], bool] = lambda word: False) -> Slots:
    """The slots of a sentence. is_word: whether a word is a right one though the rules don't know it."""
    lexicon = _lexicon()
    words = [_spelt(word, lexicon.words, is_word) for word in words_of(text)]
    found: dict[str, set[str]] = {"actions": set(), "negated": set(), "styles": set(), "speeds": set(), "limbs": set()}
    for kind, table in lexicon.kinds.items():
        for place, name in _matches(words, table):
            ruled_out = kind == "actions" and _negated(words, place)
            found["negated" if ruled_out else kind].add(name)
    if found["actions"] & {"dash"}:
        found["actions"].add("run")
    count = next((lexicon.counts[phrase] for phrase in _phrases(words) if phrase in lexicon.counts), None)
    if count is None:
        count = next((int(word) for word in words if word.isdigit() and 0 < int(word) < 20), None)
    turn = _turn(words)
    return Slots(
        frozenset(found["actions"]),
        frozenset(found["negated"] - found["actions"]),
        frozenset(found["styles"]),
        _side(words, bool(found["limbs"] & {"hand", "leg"})),
        frozenset(found["limbs"]),
        _direction(words, turn),
        turn,
        next(iter(sorted(found["speeds"])), None) if len(found["speeds"]) == 1 else None,
        count,
    )


def is_action(word: str) -> bool:
    """Whether a word, in any of its forms, names an action."""
    table = _lexicon().kinds["actions"]
    return any((stem,) in table for stem in _stems(word.lower()))


def slot_values(slots: Slots) -> list[float]:
    """The slots as numbers in the order of `names`: 1 for what was read, 0 else; counts as their share of four."""
    read = {f"action {name}" for name in slots.actions} | {f"not {name}" for name in slots.negated}
    read |= {f"style {name}" for name in slots.styles} | {f"limb {name}" for name in slots.limbs}
    read |= {f"side {slots.side}", f"direction {slots.direction}", f"turn {slots.turn}", f"speed {slots.speed}"}
    values = [1.0 if name in read else 0.0 for name in names()]
    if slots.repetitions is not None:
        values[-2:] = 1.0, min(slots.repetitions, 8) / 4.0
    return values


def _phrases(words: list[str]) -> Iterator[tuple[str, ...]]:
    for length in (3, 2, 1):
        for place in range(len(words) - length + 1):
            yield tuple(words[place : place + length])


def _matches(words: list[str], table: dict[tuple[str, ...], str]) -> Iterator[tuple[int, str]]:
    """Where phrases of a table stand; longer ones first, and no word counts twice."""
    taken: set[int] = set()
    for length in (4, 3, 2, 1):
        for place in range(len(words) - length + 1):
            span = set(range(place, place + length))
            if span & taken:
                continue
            forms = [tuple(words[place : place + length])]
            if length == 1:
                forms = [(form,) for form in _stems(words[place])]
            name = next((table[form] for form in forms if form in table), None)
            if name is not None:
                taken |= span
                yield place, name


def _stems(word: str) -> Iterator[str]:
    """The word and what it may be a form of."""
    yield word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            stem = word[: -len(suffix)]
            yield stem
            yield stem + "e"
            if stem[-1] == stem[-2]:
                yield stem[:-1]
            if stem[-1] == "i":
                yield stem[:-1] + "y"


def _negated(words: list[str], place: int) -> bool:
    """Whether a negation stands shortly before, in the same clause."""
    for word in reversed(words[max(0, place - _REACH) : place]):
        if word in _words("clause_marks"):
            return False
        if word in _words("negations"):
            return True
    return False


def _side(words: list[str], limbs: bool) -> str | None:
    """The side of a limb: "the left hand", "hand ... left" and "with both arms"."""
    if not limbs:
        return None
    bodily = {
        "hand",
        "hands",
        "arm",
        "arms",
        "leg",
        "legs",
        "foot",
        "feet",
        "knee",
        "fist",
        "elbow",
        "palm",
        "shoulder",
    }
    for place, word in enumerate(words):
        if word in ("left", "right") and any(near in bodily for near in words[place + 1 : place + 3]):
            return word
        if word in ("left-handed", "right-handed"):
            return word.split("-")[0]
    if any(word in ("both", "two") for word in words) or any(word in ("hands", "arms") for word in words):
        return "both"
    return None


def _turn(words: list[str]) -> str | None:
    for place, word in enumerate(words):
        if word not in _words("turning") or _negated(words, place):
            continue
        near = words[max(0, place - 2) : place + 5]
        for other in near:
            if other in ("left", "right"):
                return other
            if other in ("anticlockwise", "counterclockwise", "counter-clockwise", "anti-clockwise"):
                return "left"
            if other == "clockwise":
                return "right"
        if any(other in _words("around") for other in near):
            return "around"
    return "around" if any(word in ("u-turn", "about-face") for word in words) else None


def _direction(words: list[str], turn: str | None) -> str | None:
    """Where the body goes, in its own frame."""
    sideways = any(word in _words("sideways") for word in words)
    for place, word in enumerate(words):
        bodily = words[place + 1 : place + 3]
        limb = any(near in ("hand", "hands", "arm", "leg", "foot", "side", "knee", "fist") for near in bodily)
        sided = word in ("left", "right", "leftward", "leftwards", "rightward", "rightwards")
        if sided and not limb and (turn is None or sideways) and not _negated(words, place):
            return word.removesuffix("s").removesuffix("ward")
    if any(word in _words("backward") for word in words) and turn != "around":
        return "backward"
    return "forward" if any(word in _words("forward") for word in words) else None


@lru_cache(maxsize=4096)
def _nearest(word: str, known: frozenset[str]) -> str | None:
    near = [other for other in known if abs(len(other) - len(word)) <= 1 and len(other) >= 4 and _one_slip(word, other)]
    return min(near) if len(near) == 1 else None


def _spelt(word: str, known: frozenset[str], is_word: Callable[[str], bool]) -> str:
    """The word, or the known one that it is one slip away from where it is no word itself."""
    if len(word) < 4 or word in known or any(stem in known for stem in _stems(word)) or is_word(word):
        return word
    for stem in _stems(word):
        nearest = _nearest(stem, known) if len(stem) >= 4 else None
        if nearest is not None:
            return nearest
    return word


def _one_slip(word: str, other: str) -> bool:
    """Whether one letter was left out, added, changed, or two neighbours changed places."""
    first = next((i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))
    rest, wanted = word[first:], other[first:]
    swapped = len(rest) > 1 and len(wanted) > 1 and rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:]
    return swapped or rest[1:] == wanted[1:] or rest[1:] == wanted or rest == wanted[1:]
