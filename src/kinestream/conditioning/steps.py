"""One sentence that asks for one thing after another, as several prompts."""

from __future__ import annotations

import re

from kinestream.conditioning.slots import is_action

_MARK = r"(?:then|after\s+that|afterwards?|next(?!\s+to)|finally|followed\s+by|subsequently)"
# "walks, then bows", "walks and then bows", "walks. Then bows", "walks -> bows"
_THEN = re.compile(rf"\s*(?:[,;.]\s*(?:and\s+)?{_MARK}\b|\band\s+{_MARK}\b|\b{_MARK}\b|;|->|→)\s*,?\s*", re.IGNORECASE)
_COMMA = re.compile(r"\s*,\s*(?:and\s+)?", re.IGNORECASE)
_WORD = re.compile(r"[^\s,.]+")


def split_steps(text: str) -> list[str]:
    """The prompts that a sentence asks for in order; only itself where it asks for one thing.

    "An old man walks forward, then sits down" gives "An old man walks forward" and "An old man sits down": who acts is
    said once and meant for all. Commas part where a verb of the same form follows ("walks, bows, waves"), so that
    "walks, waving" stays one thing.
    """
    parts = [piece for part in _THEN.split(text.strip()) for piece in _listed(part)]
    parts = [part.strip(" .,;") for part in parts]
    parts = [part for part in parts if any(character.isalnum() for character in part)]
    if len(parts) < 2:
        return [text.strip()]
    who = _actor(parts[0])
    return [parts[0], *(f"{who} {part}" if who and _begins_with_action(part) else part for part in parts[1:])]


def _listed(part: str) -> list[str]:
    """The items of a list of actions."""
    pieces: list[str] = []
    first = True
    for piece in _COMMA.split(part):
        follows = not first and _begins_with_action(piece) and _form(piece) == _form(_from_action(pieces[0]))
        if first or follows:
            pieces.append(piece)
        else:
            pieces[-1] = f"{pieces[-1]}, {piece}"
        first = False
    return pieces


def _begins_with_action(part: str) -> bool:
    word = _WORD.match(part)
    return word is not None and is_action(word.group(0))


def _from_action(part: str) -> str:
    """A part from its first action on; nothing where it has none."""
    return next((part[word.start() :] for word in _WORD.finditer(part) if is_action(word.group(0))), "")


def _actor(part: str) -> str:
    """Who acts: what stands before the first action."""
    rest = _from_action(part)
    return part[: len(part) - len(rest)].strip() if rest else ""


def _form(part: str) -> str:
    """How the first word ends: base form, third person, or -ing."""
    word = _WORD.match(part)
    if word is None:
        return ""
    spelt = word.group(0).lower()
    return "ing" if spelt.endswith("ing") else ("third" if spelt.endswith("s") else "base")
