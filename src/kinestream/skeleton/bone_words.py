"""Read what a single bone's name says: side and body part, in whatever order, case and spelling.

The words live in `definitions/bone_words.json`. A name alone often leaves a choice ("shoulder" is a collarbone in one
rig and an upper arm in the next); the bones around it decide (`bone_limbs`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

LIMB_PARTS: Mapping[str, tuple[str, ...]] = {
    "leg": ("hip", "knee", "ankle", "foot"),
    "arm": ("collar", "shoulder", "elbow", "wrist"),
}
"""Parts of a limb from the trunk outwards."""

TRUNK_PARTS = ("pelvis", "spine", "neck", "head")

# One word of a name: capitals ("LU" of "LUArm"), a capitalised or small word, digits, or a run of other letters.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zäöüßéèêáíóúñç]+|\d+|[^\W\d_A-Za-z]+")
_MAX_LETTERS = 80


@dataclass(frozen=True)
class NameReading:
    """What a name says: `side` ("left", "right" or None) and the body `parts` that it may mean.

    No parts: a name that means nothing to us. `other`: a bone that plays no joint of SMPL-22 (a finger, a twist bone).
    """

    side: str | None = None
    parts: tuple[str, ...] = ()
    other: bool = False


@dataclass(frozen=True)
class _Words:
    parts: Mapping[str, tuple[str, ...]]
    sides: Mapping[str, str]
    ignored: frozenset[str]
    other: frozenset[str]
    fingers: tuple[str, ...]


@lru_cache(maxsize=1)
def _words() -> _Words:
    raw = json.loads(files("kinestream.skeleton").joinpath("definitions/bone_words.json").read_text(encoding="utf-8"))
    parts: dict[str, tuple[str, ...]] = {}
    for part, spellings in raw["parts"].items():
        for spelling in spellings:
            parts[spelling] = tuple(dict.fromkeys((*parts.get(spelling, ()), part)))
    parts |= {spelling: tuple(either) for spelling, either in raw["either"].items()}
    return _Words(
        parts=parts,
        sides={word: side for side, words in raw["sides"].items() for word in words},
        ignored=frozenset(raw["ignored"]),
        other=frozenset(raw["other"]),
        fingers=tuple(raw["fingers"]),
    )


@lru_cache(maxsize=8192)
def read_name(name: str) -> NameReading:
    """Side and part of one bone's name; namespaces ("Actor:") do not count."""
    text = unicodedata.normalize("NFKC", re.split(r"[:|]", name)[-1] or name)[:_MAX_LETTERS]
    tokens = [word.lower() for word in _WORD.findall(text)]
    words = _words()
    letters = [token for token in tokens if not token.isdigit()]
    pairs = {a + b for a, b in pairwise(letters)}
    if (pairs | set(letters)) & words.other and not _part(tokens, words):
        return NameReading(side=_side_of(tokens, words), other=True)
    seen: NameReading | None = None
    for side, rest in _splits(tokens, words):
        parts = _suited(side, _part(rest, words))
        if parts:
            return NameReading(side, parts)
        if side is not None and seen is None:
            seen = NameReading(side, (), any(finger in "".join(rest) for finger in words.fingers))
    return seen or NameReading(other=any(finger in "".join(tokens) for finger in words.fingers))


def _suited(side: str | None, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Trunk bones have no side, limb bones have one: "Hips" is the pelvis and "LeftHip" a thigh."""
    if side is None:
        trunk = tuple(part for part in parts if part in TRUNK_PARTS)
        return trunk or parts
    return tuple(part for part in parts if part not in TRUNK_PARTS)


def _splits(tokens: list[str], words: _Words) -> Iterator[tuple[str | None, list[str]]]:
    """Ways to take a side out of a name, the likeliest first."""
    whole = "".join(tokens)
    if whole in words.parts:
        yield None, tokens
    for k, token in enumerate(tokens):
        if token in words.sides and (len(token) > 1 or len(tokens) > 1):
            yield words.sides[token], tokens[:k] + tokens[k + 1 :]
    yield None, tokens
    kept = "".join(token for token in tokens if token not in words.ignored)
    for text in dict.fromkeys((whole, kept)):
        for word in sorted(words.sides, key=len, reverse=True):
            side = words.sides[word]
            if text.startswith(word) and len(text) > len(word):
                yield side, _WORD.findall(text[len(word) :])
            bare = text.rstrip("0123456789")
            if bare.endswith(word) and len(bare) > len(word):
                yield side, _WORD.findall(bare[: -len(word)])


def _part(tokens: list[str], words: _Words) -> tuple[str, ...]:
    letters = [token for token in tokens if not token.isdigit()]
    kept = [token for token in letters if token not in words.ignored]
    for candidate in ("".join(tokens), "".join(letters), "".join(kept)):
        if candidate in words.parts:
            return words.parts[candidate]
    return ()


def _side_of(tokens: list[str], words: _Words) -> str | None:
    return next((words.sides[token] for token in tokens if token in words.sides), None)
