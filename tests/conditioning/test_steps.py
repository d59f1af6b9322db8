"""Sentences that ask for one thing after another."""

from __future__ import annotations

import pytest

from kinestream.conditioning.steps import split_steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raises the right hand, then bows", ["raises the right hand", "bows"]),
        ("a person walks forward and then turns left", ["a person walks forward", "a person turns left"]),
        ("An old man walks. Then he waves", ["An old man walks", "he waves"]),
        ("walks forward, bows, and waves", ["walks forward", "bows", "waves"]),
        ("walk; jump", ["walk", "jump"]),
        ("runs followed by a jump", ["runs", "a jump"]),
        ("she runs, jumps, then stands still.", ["she runs", "she jumps", "she stands still"]),
    ],
)
def test_steps_become_prompts(text: str, expected: list[str]) -> None:
    assert split_steps(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "walks forward", "walks forward, happy", "walks, waving the left hand", "a tired, old man walks slowly",
        "walks forward and waves", "then", "...", "a person stands next to nobody, waiting",
    ],
)  # fmt: skip
def test_one_thing_stays_one_prompt(text: str) -> None:
    assert split_steps(text) == [text]
