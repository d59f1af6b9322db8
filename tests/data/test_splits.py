"""Splits depend on names alone and keep what is tested trained."""

from __future__ import annotations

import random

from kinestream.data.splits import Labelled, assign_splits


def recordings() -> list[Labelled]:
    many = [Labelled(f"walk_{style}_{n}", "walk", style) for style in ("a", "b") for n in range(40)]
    small = [Labelled(f"run_a_{n}", "run", "a") for n in range(3)] + [
        Labelled(f"kick_a_{n}", "kick", "a") for n in range(2)
    ]
    sparse = [Labelled(f"bow_{style}", "bow", style) for style in "abcdefghij"]
    styles = [Labelled(f"dash_{style}", "dash", style) for style in "cdefghij"]
    few = [Labelled(f"DM_{action}", action, "a", only_train=True) for action in ("backflip", "roll")]
    return many + small + sparse + styles + few


def test_splits_do_not_depend_on_the_order() -> None:
    shuffled = recordings()
    random.Random(1).shuffle(shuffled)
    assert assign_splits(recordings()) == assign_splits(shuffled)


def test_large_combinations_are_tested_and_small_ones_stay_in_train() -> None:
    splits = assign_splits(recordings())
    for style in ("a", "b"):
        share = sum(splits[f"walk_{style}_{n}"] == "test" for n in range(40)) / 40
        assert 0.02 <= share <= 0.35
    assert "test" in {splits[f"run_a_{n}"] for n in range(3)}
    assert "train" in {splits[f"run_a_{n}"] for n in range(3)}
    assert {splits[f"kick_a_{n}"] for n in range(2)} == {"train"}


def test_a_content_with_one_recording_a_style_still_gives_two_to_test() -> None:
    splits = assign_splits(recordings())
    assert sum(splits[f"bow_{style}"] == "test" for style in "abcdefghij") == 2


def test_every_content_and_style_is_in_train() -> None:
    all_recordings = recordings()
    splits = assign_splits(all_recordings)
    train = [r for r in all_recordings if splits[r.name] == "train"]
    assert {r.content for r in train} == {r.content for r in all_recordings}
    assert {r.style for r in train} == {r.style for r in all_recordings}


def test_few_shot_recordings_never_leave_train() -> None:
    splits = assign_splits([Labelled(f"DM_{n}", "walk", "a", only_train=True) for n in range(50)])
    assert set(splits.values()) == {"train"}
