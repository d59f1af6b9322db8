"""Freer wording for training captions than the core grammar has: wording.json's sentence shapes, persons and synonyms.

It is a source of its own: no bench may take sentences from it, as no training caption may be one of a bench's.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any, NamedTuple

_FIELD = re.compile(r"\{(\w+)\}")
_FIRST_VERB = re.compile(r"\[([^/\]]+)/[^/\]]+/([^/\]]+)\]")
_WORD = re.compile(r"[a-z]{5,}")


class Said(NamedTuple):
    """What words may say of how a motion goes: true of it, measured; None or "" where nothing can be said.

    `pace` is "fast" or "slow"; `seconds` and `steps` are whole numbers; `length` is "short" or "long".
    """

    pace: str = ""
    seconds: int | None = None
    steps: int | None = None
    length: str = ""


@lru_cache(maxsize=1)
def wording() -> Mapping[str, Any]:
    """wording.json."""
    text = files("kinestream.data.text").joinpath("wording.json").read_text(encoding="utf-8")
    document: Mapping[str, Any] = json.loads(text)
    return document


def free_caption(
    verbs: Sequence[str], words: Mapping[str, Sequence[str]], content: str, style: str, styled: bool, rng: random.Random
) -> str:
    """One sentence in a free shape. `verbs` are phrases with [base/third/ing]; `words` the style's core words."""
    w = wording()
    phrase = rng.choice([*verbs, *w["verbs"].get(content, ())])
    shapes = w["plain"]
    if styled:
        shapes = w["style_noun"] if style in w["style_nouns"] and rng.random() < 0.25 else w["styled"]
    own = w["styles"].get(style, {})
    places = {kind: (*words[kind], *own.get(kind, ())) for kind in ("adverbs", "adjectives", "manners")}
    values = _forms(phrase) | _persons(style if styled else "", rng)
    for name, kind in (("adverb", "adverbs"), ("adjective", "adjectives"), ("manner", "manners")):
        values[name] = rng.choice(places[kind])
    values["noun"], values["style_noun"] = rng.choice(w["nouns"]), rng.choice(w["style_nouns"].get(style, w["nouns"]))
    values |= {f"a_{name}": _with_article(values[name]) for name in ("adjective", "style_noun")}
    return _FIELD.sub(lambda match: values[match[1]], rng.choice(shapes))


def mixed_caption(base: str, gesture: Sequence[str], gesture_content: str, manner: str, rng: random.Random) -> str:
    """One sentence about somebody who does two things at once: a base phrase, and one of a gesture's phrases.

    `manner` ("" for none) is an adverb or a manner of the style, said of the base.
    """
    w = wording()
    values = _forms(base) | _persons("", rng)
    if manner:
        values |= {form: f"{values[form]} {manner}" for form in ("base", "third", "ing", "past")}
    values |= {f"{name}2": text for name, text in _forms(rng.choice(gesture)).items()}
    pose = w["with"].get(gesture_content, ())
    values["with"] = rng.choice(pose) if pose else ""
    shapes = w["mixed_with"] if pose and rng.random() < 0.6 else w["mixed"]
    return _FIELD.sub(lambda match: values[match[1]], rng.choice(shapes))


def with_said(sentence: str, said: Said, content: str, rng: random.Random) -> str:
    """The sentence, in some of the cases with a word about pace, duration or number of steps that is true."""
    w, tails = wording(), []
    if said.pace and rng.random() < 0.6:
        tails.append(rng.choice(w[said.pace]))
    if said.steps is not None and 2 <= said.steps < len(w["numbers"]) and rng.random() < 0.25:
        number = w["numbers"][said.steps] if rng.random() < 0.7 else str(said.steps)
        tails.append(rng.choice(w["steps"]).format(n=number))
    elif content in w["lasting"] and said.seconds is not None and rng.random() < 0.15:
        number = w["numbers"][said.seconds] if said.seconds < len(w["numbers"]) and rng.random() < 0.6 else said.seconds
        tails.append(rng.choice(w["seconds"]).format(n=number))
    elif content in w["lasting"] and said.length and rng.random() < 0.1:
        tails.append(rng.choice(w[said.length]))
    return " ".join((sentence.rstrip("."), *tails))


def as_typed(sentence: str, rng: random.Random) -> str:
    """As people type: now and then a capital and a full stop, seldom a slip of the fingers."""
    if rng.random() < wording()["typo_share"]:
        sentence = _with_typo(sentence, rng)
    if rng.random() < 0.25:
        sentence = sentence[0].upper() + sentence[1:]
    return sentence + "." if rng.random() < 0.25 and sentence[-1] not in ".!?" else sentence


def contrasts(caption: str) -> list[str]:
    """The same sentence with one word turned into its opposite, for each word that has one: hard negatives.

    ["waves the right hand" ...] for "waves the left hand". Words that stand several times are turned everywhere at
    once, so that the result differs in one thing. A sentence without such words has none.
    """
    found: dict[str, None] = {}
    for pair in wording()["opposites"]:
        for word, other in (pair, reversed(pair)):
            turned = _whole_word(word).sub(partial(_as_case, other), caption)
            if turned != caption and not _whole_word(other).search(caption):
                found[turned] = None
    return list(found)


@lru_cache(maxsize=256)
def _whole_word(word: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)


def _as_case(other: str, match: re.Match[str]) -> str:
    return other[0].upper() + other[1:] if match[0][0].isupper() else other


def _forms(phrase: str) -> dict[str, str]:
    """base, third, ing and past of a phrase with its verbs as [base/third/ing]."""
    verb = re.compile(r"\[([^/\]]+)/([^/\]]+)/([^/\]]+)\]")
    forms = {name: verb.sub(rf"\{k}", phrase) for k, name in enumerate(("base", "third", "ing"), start=1)}
    return forms | {"past": _FIRST_VERB.sub(lambda match: past(match[1], match[2]), phrase)}


def past(base: str, ing: str) -> str:
    """Simple past of a verb from its base and -ing forms, which show doubled consonants."""
    irregular: Mapping[str, str] = wording()["past"]
    if base in irregular:
        return irregular[base]
    if re.search(r"[^aeiou]y$", base):
        return base[:-1] + "ied"
    return ing[: -len("ing")] + "ed" if ing.endswith("ing") else base


def suiting(persons: Sequence[str], style: str) -> list[str]:
    """Of these persons those whose sex is not the other one of what a style suggests."""
    w = wording()
    sex = w["gendered_styles"].get(style)
    others = {person for kind, own in w["persons"].items() if kind not in ("neutral", sex) for person in own}
    return [person for person in persons if sex is None or person not in others]


def _persons(style: str, rng: random.Random) -> dict[str, str]:
    """A person to begin or to follow a verb, of the sex that a style suggests."""
    w = wording()
    sex = w["gendered_styles"].get(style)
    kinds = ("neutral", sex) if sex else ("neutral", "male", "female")
    persons = rng.choice([w["persons"][kind] for kind in kinds])
    wrong = {"male": ("her", "the woman", "the lady"), "female": ("him", "the man", "this guy")}.get(sex or "", ())
    objects = [word for word in w["objects"] if word not in wrong]
    return {
        "person": rng.choice(persons),
        "person_object": rng.choice([person for person in persons if person not in ("he", "she")]),
        "object": rng.choice(objects),
        "object_he": "she" if sex == "female" else "he",
    }


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _with_typo(sentence: str, rng: random.Random) -> str:
    """One long word with two letters exchanged or one left out; sides and numbers stay readable."""
    words = [match for match in _WORD.finditer(sentence) if match[0] not in ("right", "three", "seven", "eight")]
    if not words:
        return sentence
    match = rng.choice(words)
    at = match.start() + rng.randrange(1, len(match[0]) - 2)
    if rng.random() < 0.5:
        return sentence[:at] + sentence[at + 1] + sentence[at] + sentence[at + 2 :]
    return sentence[:at] + sentence[at + 1 :]
