"""What the rules read in a prompt."""

from __future__ import annotations

import pytest
import torch

from kinestream.conditioning.slots import Slots, names, read_slots, slot_values
from kinestream.conditioning.text import SLOTTED_NAME, text_encoder
from kinestream.data.text.captions import swap_sides


def is_word(word: str) -> bool:
    return word in {"arm", "lady", "sits", "chair"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a lady walks gracefully", {"actions": {"walk"}, "styles": {"feminine"}}),
        ("kicks with the right leg", {"actions": {"kick"}, "side": "right", "limbs": {"leg"}}),
        ("Waving her left arm", {"actions": {"wave"}, "side": "left", "limbs": {"hand"}}),
        ("raising both arms", {"actions": {"raise"}, "side": "both", "limbs": {"hand"}}),
        ("walks sideways to the left", {"actions": {"walk"}, "direction": "left"}),
        ("walk forward and turn right", {"actions": {"walk", "turn"}, "direction": "forward", "turn": "right"}),
        ("an old man turns around", {"actions": {"turn"}, "styles": {"old"}, "turn": "around"}),
        ("turns clockwise", {"actions": {"turn"}, "turn": "right"}),
        ("backs away", {"direction": "backward"}),
        ("sits down on a chair", {"actions": {"sit"}}),
        ("walks without turning left", {"actions": {"walk"}, "negated": {"turn"}}),
        ("dont walk, just stand", {"actions": {"stand"}, "negated": {"walk"}}),
        ("jumps three times quickly", {"actions": {"jump"}, "repetitions": 3, "speed": "fast"}),
        ("hops 4 times", {"actions": {"jump"}, "repetitions": 4}),
        ("asdf qwer", {}),
    ],
)
def test_a_sentence_fills_its_slots_and_no_others(text: str, expected: dict[str, object]) -> None:
    read = read_slots(text, is_word)._asdict()
    filled = {name: set(value) if isinstance(value, frozenset) else value for name, value in read.items() if value}
    assert filled == expected


@pytest.mark.parametrize("text", ["wlaks forwrad slowly", "walsk forward slowyl", "walkss forward slowlly"])
def test_a_slip_of_the_pen_counts_as_the_word_that_was_meant(text: str) -> None:
    read = read_slots(text)
    assert (read.actions, read.direction, read.speed) == ({"walk"}, "forward", "slow")


def test_a_right_word_is_left_as_it_is() -> None:
    assert read_slots("wald", lambda word: True) == read_slots("")


@pytest.mark.parametrize(
    "text", ["raises the left hand", "walks to the right", "turns left", "strafes right while waving the left hand"]
)
def test_the_mirrored_sentence_has_the_mirrored_slots(text: str) -> None:
    other = {"left": "right", "right": "left"}
    one, mirrored = read_slots(text), read_slots(swap_sides(text))
    for name in ("side", "direction", "turn"):
        value = getattr(one, name)
        assert getattr(mirrored, name) == other.get(value, value)
    assert one.side or one.direction or one.turn


def test_values_stand_in_the_order_of_their_names() -> None:
    values = dict(zip(names(), slot_values(read_slots("waves the left hand twice")), strict=True))
    assert {name for name, value in values.items() if value} == {
        "action wave", "limb hand", "side left", "count given", "count",
    }  # fmt: skip
    assert len(names()) == len(set(names()))
    assert slot_values(read_slots("")) == [0.0] * len(names())


def test_the_encoder_tells_left_from_right_and_leaves_the_sentence_as_it_was() -> None:
    slotted, plain = text_encoder(SLOTTED_NAME), text_encoder()
    texts = ["raises the left hand", "raises the right hand"]
    both = slotted.encode(texts)
    assert both.shape == (2, slotted.dim)
    assert both[:, : plain.dim].equal(plain.encode(texts))
    assert not both[0, plain.dim :].equal(both[1, plain.dim :])
    assert not slotted.encode_blank()[plain.dim :].any()


def test_many_sentences_have_the_slots_that_each_has_alone() -> None:
    encoder = text_encoder(SLOTTED_NAME)
    texts = [f"jumps {count} times with the {side} leg" for count in range(1, 19) for side in ("left", "right")]
    together = encoder.encode(texts)[:, 384:]
    assert together.equal(torch.cat([encoder.encode([text])[:, 384:] for text in texts]))


def test_unknown_words_fill_nothing() -> None:
    assert read_slots("qqq zzz 🙂") == Slots(
        frozenset(), frozenset(), frozenset(), None, frozenset(), None, None, None, None
    )
