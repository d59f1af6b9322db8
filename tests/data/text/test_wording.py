"""Free wording: varied, true to sides and measures, never a prompt of the evaluation; opposites differ in one word."""

from __future__ import annotations

import re

import pytest
import torch

from kinestream.data.text import captions
from kinestream.data.text.captions import mixed_captions, paraphrases, sample_captions, swap_sides
from kinestream.data.text.measured import measured, pace_mps, steps_walked
from kinestream.data.text.wording import Said, contrasts, past, wording
from kinestream.features import motion272_from_motion
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.motion import mirror
from tests.io.walking import walking


def test_no_sentence_is_one_that_evaluation_prompts_with() -> None:
    for content in captions.contents():
        for style in captions.styles():
            prompts = set(paraphrases(content, style))
            said = sample_captions(content, style, 40, f"{content} {style}", said=Said("slow", 4, 5))
            assert not {caption.lower().rstrip(".") for caption in said} & prompts


def test_words_are_kept_apart_from_the_held_out_ones() -> None:
    grammar, free = captions._grammar(), wording()
    for content, verbs in free["verbs"].items():
        assert not set(verbs) & {*grammar["contents"][content]["held_out"], *grammar["contents"][content]["verbs"]}
    for style, kinds in free["styles"].items():
        for kind, words in kinds.items():
            held_out = grammar["styles"][style]["held_out"].get(kind, [])
            assert not set(words) & {*held_out, *grammar["styles"][style][kind]}


def test_captions_of_a_recording_are_worded_in_many_ways() -> None:
    said = {caption for k in range(50) for caption in sample_captions("walk", "tired", 12, str(k))}
    assert len(said) > 500
    openings = {" ".join(caption.lower().split()[:2]) for caption in said}
    assert len(openings) > 120


def test_what_is_not_measured_is_not_said() -> None:
    free = wording()
    pace = {*free["fast"], *free["slow"], *free["short"], *free["long"]}
    counted = re.compile(rf"\b({'|'.join(free['numbers'][2:])}|\d+) (steps|seconds)")
    for k in range(60):
        for caption in sample_captions("wave-left-hand", "normal", 12, str(k)):
            assert not counted.search(caption.lower()), caption
            assert not any(caption.rstrip(".").endswith(f" {word}") for word in pace), caption
    told = [c for k in range(60) for c in sample_captions("walk", "normal", 12, str(k), said=Said("slow", 4, 5))]
    assert any("slowly" in caption for caption in told)
    assert any(counted.search(caption.lower()) for caption in told)
    assert not any(caption.rstrip(".").endswith(f" {word}") for caption in told for word in free["fast"])
    assert not any("six steps" in caption or "three seconds" in caption for caption in told)


def test_a_style_brings_persons_who_suit_it() -> None:
    men = [c.lower() for k in range(60) for c in sample_captions("walk", "masculine", 12, str(k))]
    assert not any(re.search(r"\b(lady|she|her)\b", caption) for caption in men)


def test_past_tenses() -> None:
    pairs = {("walk", "walking"): "walked", ("step", "stepping"): "stepped", ("wave", "waving"): "waved",
             ("hurry", "hurrying"): "hurried", ("run", "running"): "ran", ("sway", "swaying"): "swayed"}  # fmt: skip
    assert {forms: past(*forms) for forms in pairs} == pairs


def test_opposites_differ_in_one_word() -> None:
    assert contrasts("Waves the left hand") == ["Waves the right hand", "Waves the left foot"]
    assert contrasts("a man walks forward slowly") == [
        "a man walks backward slowly", "a man walks forward quickly", "a man runs forward slowly"
    ]  # fmt: skip
    assert contrasts("bows") == []
    # Sides that both stand in a sentence would only change places.
    assert not any("left" in c for c in contrasts("from left to right") if "right" not in c)


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("walks leftwards", "walks rightwards"),
        ("Right-handed wave, right away", "Left-handed wave, right away"),
        ("turns clockwise", "turns counterclockwise"),
        ("Anticlockwise", "Clockwise"),
        ("all right, turn left", "all right, turn right"),
        ("upright and leftover at a right angle", "upright and leftover at a right angle"),
    ],
)
def test_mirrored_words(text: str, swapped: str) -> None:
    assert swap_sides(text) == swapped


def test_mixed_captions_say_both_things_and_the_style() -> None:
    said = mixed_captions("run", "raise-up-both-hands", "normal", 40, "x")
    assert len(set(said)) == 40
    assert any("with" in caption and "run" in caption.lower() for caption in said)
    for caption in said:
        assert re.search(r"hand|arm", caption.lower()), caption
        assert not re.search(r"[\[\]{}]|  |lower", caption), caption
    assert said == mixed_captions("run", "raise-up-both-hands", "normal", 40, "x")


def test_steps_and_pace_are_measured() -> None:
    motion = walking(frames=90)
    features = motion272_from_motion(motion)
    joints = world_joints_from_rotations(features)
    steps = steps_walked(joints)
    assert steps in (5, 6)  # 0.9 strides a second for 3 s
    assert steps == steps_walked(world_joints_from_rotations(motion272_from_motion(mirror(motion))))
    assert pace_mps(joints) > 0.5
    still = features[:1].repeat(60, 1)
    still[:, :2] = 0.0
    assert steps_walked(world_joints_from_rotations(still)) is None
    assert measured(features, "bow").steps is None
    assert measured(still, "stand").seconds == 2
    assert measured(torch.cat([still, still[:15]]), "stand").seconds is None
