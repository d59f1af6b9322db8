"""Captions from labels: a grammar kept as data (captions.json), training captions and held-out paraphrases."""

from __future__ import annotations

import hashlib
import json
import random
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from kinestream.data.text.wording import Said, as_typed, free_caption, mixed_caption, suiting, with_said, wording
from kinestream.errors import BadInputError

# Of a recording's captions, the share that freer wording makes instead of the core grammar.
FREE_SHARE = 0.6
_VERB = re.compile(r"\[([^/\]]+)/([^/\]]+)/([^/\]]+)\]")
# What changes places in a mirror: left-handed, rightwards, counter-clockwise; not "bright", "leftover" or "right away".
_SIDE = re.compile(
    r"\b(?:(?<!all )(left|right)(?! away\b| now\b| angle)(?=(?:wards?|most|hand\w*|foot\w*)?\b)"
    r"|(?:counter|anti)-?clockwise\b|clockwise\b)",
    re.IGNORECASE,
)
_OTHER_SIDE = {"left": "right", "right": "left", "clockwise": "counterclockwise"}


class Forms(NamedTuple):
    """One verb phrase in the three forms that sentences need."""

    base: str
    third: str
    ing: str


@lru_cache(maxsize=1)
def _grammar() -> dict[str, Any]:
    text = files("kinestream.data.text").joinpath("captions.json").read_text(encoding="utf-8")
    grammar: dict[str, Any] = json.loads(text)
    return grammar


def contents() -> tuple[str, ...]:
    """All content labels that the grammar can describe."""
    return tuple(_grammar()["contents"])


def styles() -> tuple[str, ...]:
    """All style labels that the grammar can describe."""
    return tuple(_grammar()["styles"])


def canonical_content(label: str) -> str:
    """The grammar's name of a dataset's content label; BadInputError when it knows none."""
    return _canonical(label, "content_aliases", "contents")


def canonical_style(label: str) -> str:
    """The grammar's name of a dataset's style label ("elderly" is "old"); BadInputError when it knows none."""
    return _canonical(label, "style_aliases", "styles")


def _canonical(label: str, aliases: str, known: str) -> str:
    name: str = _grammar()[aliases].get(label, label)
    if name not in _grammar()[known]:
        raise BadInputError(f"no captions for the label {label!r}; known {known}: {', '.join(_grammar()[known])}")
    return name


def forms(phrase: str) -> Forms:
    """Base, third-person and -ing form of a phrase that writes its verbs as [walk/walks/walking]."""
    return Forms(*(_VERB.sub(rf"\{k}", phrase) for k in (1, 2, 3)))


def swap_sides(text: str) -> str:
    """Left and right, clockwise and counterclockwise change places, as in a mirror; a first capital stays."""

    def other(match: re.Match[str]) -> str:
        word = match.group(0)
        swapped = _OTHER_SIDE.get(word.lower(), "clockwise")
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SIDE.sub(other, text)


def training_captions(content: str, style: str) -> tuple[str, ...]:
    """Every caption of the core grammar for a content and style (canonical labels), the frequent persons only.

    `sample_captions` words some freely besides (see `wording`), in far more ways than can be listed.
    """
    grammar = _grammar()
    verbs, words = grammar["contents"][content]["verbs"], grammar["styles"][style]
    found: dict[str, None] = {}
    kinds = [kind for kind, share in zip(("plain", "styled"), _shares(content, style), strict=True) if share > 0]
    for kind in kinds:
        for template in grammar["templates"][kind]:
            for verb in verbs:
                for fill in _fillings(template, words, grammar["persons"], grammar["nouns"]):
                    found[_sentence(template, forms(verb), fill)] = None
    return tuple(found)


def sample_captions(
    content: str, style: str, count: int, seed: str, *, mirrored: bool = False, said: Said | None = None
) -> list[str]:
    """`count` different captions for one recording, the same for the same `seed` (the recording's name).

    Labels are canonical. A normal style is left unsaid in most captions. With `mirrored` left and right are swapped,
    so `content` is then the label of the recording before mirroring. Six of ten are worded freely, with what is `said`
    of pace, duration and steps in some; none is one of the `paraphrases` that evaluation prompts with.
    """
    grammar = _grammar()
    words = grammar["styles"][style]
    rng = random.Random(int.from_bytes(hashlib.sha256(f"captions {seed}".encode()).digest()[:8], "big"))
    verbs: list[str] = grammar["contents"][content]["verbs"]
    held_out = _held_out_sentences(content, style)
    found: dict[str, None] = {}
    for _ in range(count * 20):
        if len(found) == count:
            break
        kind = "plain" if rng.random() < _shares(content, style)[0] else "styled"
        if rng.random() < FREE_SHARE:
            sentence = free_caption(verbs, words, content, style, kind == "styled", rng)
            sentence = as_typed(with_said(sentence, said or Said(), content, rng), rng)
        else:
            template = rng.choice(grammar["templates"][kind])
            persons = grammar["persons"] if rng.random() < 0.85 else suiting(grammar["rare_persons"], style)
            fill = rng.choice(_fillings(template, words, persons, grammar["nouns"]))
            sentence = _sentence(template, forms(rng.choice(verbs)), fill)
        if sentence.lower().rstrip(".") not in held_out:
            found[sentence] = None
    return [swap_sides(caption) if mirrored else caption for caption in found]


def mixed_captions(base: str, gesture: str, style: str, count: int, seed: str) -> list[str]:
    """`count` different captions for the legs of one content with the arms of another; the style is always said but for
    a normal one. The same for the same `seed`."""
    grammar, extra = _grammar(), wording()
    rng = random.Random(f"mixed captions {seed}")
    verbs = {
        content: grammar["contents"][content]["verbs"] + extra["verbs"].get(content, []) for content in (base, gesture)
    }
    # Of gestures, phrases that do not stand, stop or lower the arms again: the body walks on meanwhile.
    waving = [phrase for phrase in verbs[gesture] if not re.search(r"stand|stop|lower|down|still", phrase)]
    words = grammar["styles"][style]
    manners = [""] if style == "normal" else [*words["adverbs"], *words["manners"]]
    found: dict[str, None] = {}
    for _ in range(count * 20):
        if len(found) == count:
            break
        sentence = mixed_caption(rng.choice(verbs[base]), waving, gesture, rng.choice(manners), rng)
        found[as_typed(sentence, rng)] = None
    return list(found)


@lru_cache(maxsize=1024)
def _held_out_sentences(content: str, style: str) -> frozenset[str]:
    return frozenset(paraphrases(content, style))


def paraphrases(content: str, style: str) -> list[str]:
    """Prompts for evaluation, made of words that no training caption uses for this content and style.

    Every held-out verb phrase with every held-out word of the style (for "normal" also without one). Accepts the
    labels of the datasets as well as canonical ones.
    """
    content, style = canonical_content(content), canonical_style(style)
    grammar = _grammar()
    held = grammar["styles"][style]["held_out"]
    prompts: dict[str, None] = {}
    for phrase in grammar["contents"][content]["held_out"]:
        verb = forms(phrase)
        if style == "normal":
            prompts[f"a person {verb.third}"] = None
            prompts[verb.third] = None
        for manner in held.get("manners", []):
            prompts[f"a person {verb.third} {manner}"] = None
        for adverb in held.get("adverbs", []):
            prompts[f"{verb.third} {adverb}"] = None
        for adjective in held.get("adjectives", []):
            prompts[f"{_article(adjective)} {adjective} person {verb.third}"] = None
    return list(prompts)


def _shares(content: str, style: str) -> tuple[float, float]:
    """How often captions leave the style unsaid, and how often they name it."""
    grammar = _grammar()
    plain = float(grammar["styles"][style].get("plain_share", 0.0))
    if plain > 0 and grammar["contents"][content].get("only_plain"):
        plain = 1.0
    return plain, 1.0 - plain


def _fillings(template: str, words: dict[str, Any], persons: list[str], nouns: list[str]) -> list[dict[str, str]]:
    """Every way to fill a template's places other than the verb's."""
    fills: list[dict[str, str]] = [{}]
    choices = {"adverb": words["adverbs"], "manner": words["manners"], "person": persons, "noun": nouns}
    for name, options in choices.items():
        if "{" + name + "}" in template:
            fills = [{**fill, name: option} for fill in fills for option in options]
    if "adjective}" in template:
        fills = [
            {**fill, "adjective": option, "a_adjective": f"{_article(option)} {option}"}
            for fill in fills
            for option in words["adjectives"]
        ]
    return fills


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _sentence(template: str, verb: Forms, fill: dict[str, str]) -> str:
    return template.format(base=verb.base, third=verb.third, ing=verb.ing, **fill)
