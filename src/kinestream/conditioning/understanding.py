"""What a sentence stands for before it is acted: one prompt or several, and what is odd about it."""

from __future__ import annotations

from typing import NamedTuple

from kinestream.conditioning.known import assess
from kinestream.conditioning.steps import split_steps
from kinestream.conditioning.text import check_prompt
from kinestream.errors import BadInputError


class Understood(NamedTuple):
    """The prompts that a sentence stands for, and what is to be said about it."""

    prompts: list[str]
    notes: list[str]


def understand(text: str, *, split: bool = True, packaged: bool = False, strict: bool = False) -> Understood:
    """Read a sentence.

    split: whether a sentence that asks for one thing after another becomes several prompts. packaged: whether it goes
    to the packaged model, of which is known what it has learnt; with `strict` what it hasn't is refused.

    Raises:
        BadInputError: it holds no words, is absurdly long, or, with `strict`, is not among what the packaged model has
            learnt.
    """
    text = check_prompt(text)
    steps = split_steps(text) if split else [text]
    notes = []
    if len(steps) > 1:
        notes.append(f"taken as {len(steps)} prompts: " + ", then ".join(f'"{step}"' for step in steps))
    for step in steps if packaged else ():
        found = assess(step)
        if not found.known:
            nearest = ", ".join(f'"{sentence}"' for sentence in found.nearest)
            notes.append(f'"{step}" is not among what this model has learnt; nearest: {nearest}')
            if strict:
                raise BadInputError(f"{notes[-1]}. Not strictly, the nearest thing is acted.")
    return Understood(steps, notes)
