"""Train, validation and test by recording, fixed by the recordings' names: no order or seed matters."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

TEST_SHARE = 0.15
VAL_SHARE = 0.05
# A content and style with at least this many recordings has one of them in the test split.
MIN_FOR_TEST = 3
# A content whose combinations are all smaller than that still gives recordings to the test split from this many on.
MIN_CONTENT_FOR_TEST = 8
TESTS_PER_SPARSE_CONTENT = 2
# Recordings without labels: so few give none to the test split.
MIN_FILES_FOR_TEST = 3


@dataclass(frozen=True)
class Labelled:
    """A recording's name, its canonical content and style, and whether it may leave the train split at all."""

    name: str
    content: str
    style: str
    only_train: bool = False


def hash_unit(name: str) -> float:
    """A number in [0, 1) that depends on the name alone (SHA-256)."""
    return int.from_bytes(hashlib.sha256(f"kinestream split {name}".encode()).digest()[:8], "big") / 2.0**64


def assign_splits(recordings: Sequence[Labelled]) -> dict[str, str]:
    """Name -> "train", "val" or "test".

    A name's hash decides: below 0.15 test, below 0.20 validation. Then, so that what is tested is also trained:
    combinations of content and style with fewer than 3 recordings stay in train; larger ones without a test recording
    give the one with the lowest hash; one train recording always stays. A content of 8 or more recordings that is
    still without a test recording (many styles, one recording each) gives two, of the styles least tested so far.
    """
    groups: dict[tuple[str, str], list[Labelled]] = defaultdict(list)
    for recording in recordings:
        groups[recording.content, recording.style].append(recording)
    splits: dict[str, str] = {}
    for key in sorted(groups):
        splits.update(_split_group(groups[key]))
    _cover_sparse_contents(recordings, splits)
    return splits


def assign_file_splits(names: Sequence[str]) -> dict[str, str]:
    """Name -> "train", "val" or "test" for recordings that no label groups, such as people's own few files.

    As above by hash, in whole recordings, with one at least for validation and, from three on, one for testing; at
    least half stay in train. One alone stays in train.
    """
    order = sorted(names, key=hash_unit)
    splits = dict.fromkeys(order, "train")
    room = len(order) // 2
    if len(order) >= MIN_FILES_FOR_TEST:
        tests = [name for name in order if hash_unit(name) < TEST_SHARE] or order[:1]
        splits |= dict.fromkeys(tests[: max(1, room - 1)], "test")
    rest = [name for name in order if splits[name] == "train"]
    vals = [name for name in rest if hash_unit(name) < TEST_SHARE + VAL_SHARE] or rest[:1]
    left = max(room - (len(order) - len(rest)), 1) if len(order) > 1 else 0
    return splits | dict.fromkeys(vals[:left], "val")


def _split_group(group: list[Labelled]) -> dict[str, str]:
    free = sorted((r.name for r in group if not r.only_train), key=hash_unit)
    splits = {r.name: "train" for r in group}
    if len(free) < MIN_FOR_TEST:
        return splits
    tests = [name for name in free if hash_unit(name) < TEST_SHARE] or free[:1]
    vals = [name for name in free if name not in tests and hash_unit(name) < TEST_SHARE + VAL_SHARE]
    tests, vals = tests[: len(free) - 1], vals[: max(0, len(free) - 1 - len(tests))]
    return splits | dict.fromkeys(tests, "test") | dict.fromkeys(vals, "val")


def _cover_sparse_contents(recordings: Sequence[Labelled], splits: dict[str, str]) -> None:
    by_content: dict[str, list[Labelled]] = defaultdict(list)
    tested_styles: Counter[str] = Counter()
    style_sizes: Counter[str] = Counter()
    for recording in recordings:
        style_sizes[recording.style] += 1
        tested_styles[recording.style] += splits[recording.name] == "test"
        if not recording.only_train:
            by_content[recording.content].append(recording)
    for content in sorted(by_content):
        group = by_content[content]
        if len(group) < MIN_CONTENT_FOR_TEST or any(splits[r.name] == "test" for r in group):
            continue
        candidates = [r for r in group if style_sizes[r.style] > 1]
        for _ in range(TESTS_PER_SPARSE_CONTENT):
            chosen = min(
                (r for r in candidates if splits[r.name] == "train"),
                key=lambda r: (tested_styles[r.style], hash_unit(r.name)),
                default=None,
            )
            if chosen is None:
                break
            splits[chosen.name] = "test"
            tested_styles[chosen.style] += 1
