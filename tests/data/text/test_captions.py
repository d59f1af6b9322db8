"""Captions: natural, true to the label, the same every time, and never what evaluation prompts with."""

from __future__ import annotations

import re

import pytest

from kinestream.data.text import captions
from kinestream.errors import BadInputError

ALL = [(content, style) for content in captions.contents() for style in captions.styles()]
# Every content and every style, without all their combinations.
SOME = [(content, captions.styles()[k % len(captions.styles())]) for k, content in enumerate(captions.contents())]


def test_every_content_and_style_has_at_least_twelve_different_captions() -> None:
    for content, style in ALL:
        assert len(set(captions.sample_captions(content, style, 12, "x"))) == 12, (content, style)


def test_captions_have_no_leftover_markup_or_separators() -> None:
    for content, style in ALL:
        for caption in captions.sample_captions(content, style, 12, "x") + captions.paraphrases(content, style):
            assert caption == caption.strip()
            assert not re.search(r"[\[\]{}/#*]|  ", caption), caption


def test_the_same_recording_gets_the_same_captions_and_another_gets_others() -> None:
    first = captions.sample_captions("walk", "happy", 8, "BN1_walk_happy_001")
    assert first == captions.sample_captions("walk", "happy", 8, "BN1_walk_happy_001")
    assert first != captions.sample_captions("walk", "happy", 8, "BN1_walk_happy_002")
    assert len(set(first)) == 8


def test_sampled_captions_name_the_style_unless_it_is_normal() -> None:
    plain = set(captions.training_captions("wave-left-hand", "normal"))
    assert "waves the left hand" in plain
    for style in captions.styles():
        if style != "normal":
            assert not plain & set(captions.sample_captions("wave-left-hand", style, 12, style))


def test_held_out_phrases_never_occur_in_training_captions() -> None:
    for content, style in SOME:
        trained = set(captions.training_captions(content, style))
        assert not trained & set(captions.paraphrases(content, style)), (content, style)


def test_held_out_verbs_and_words_are_not_among_the_training_ones() -> None:
    grammar = captions._grammar()
    for content in grammar["contents"].values():
        assert not set(content["verbs"]) & set(content["held_out"])
    for style in grammar["styles"].values():
        for kind, words in style["held_out"].items():
            assert not set(words) & set(style[kind])


def test_paraphrases_accept_the_datasets_own_labels() -> None:
    assert captions.paraphrases("walk", "elderly") == captions.paraphrases("walk", "old")
    assert len(captions.paraphrases("dance-short", "normal")) >= 2
    assert captions.canonical_style("masculinity") == "masculine" == captions.canonical_style("masculine")


def test_mirrored_captions_swap_left_and_right() -> None:
    mirrored = captions.sample_captions("walk-turn-left", "normal", 12, "n", mirrored=True)
    assert not any("left" in caption for caption in mirrored)
    assert any("right" in caption for caption in mirrored)
    assert captions.swap_sides("Left hand, then the right one") == "Right hand, then the left one"
    assert captions.swap_sides("brightly leftover") == "brightly leftover"


def test_unknown_labels_are_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInputError, match="backflip"):
        captions.canonical_content("moonwalk")
    with pytest.raises(BadInputError, match="chimpira"):
        captions.paraphrases("walk", "grumpy")
