"""Files that are no whole, sound BVH: one clear error each, with the line where there is one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.io.bvh import MAX_FILE_BYTES, read_bvh, read_bvh_hierarchy, write_bvh
from kinestream.io.bvh_hierarchy import MAX_JOINTS
from kinestream.motion import Motion
from kinestream.skeleton import Skeleton
from tests.io.bvh_reference import SMALL_RIG

LAST_ROW = SMALL_RIG.splitlines()[-1]


def refused(folder: Path, text: str | bytes) -> str:
    """The message of the one error that reading gives."""
    path = folder / "bad.bvh"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BadInputError) as caught:
        read_bvh(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "bad.bvh" in message
    return message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("HIERARCHY", "HIERACHY", "line 1: a BVH file begins with HIERARCHY"),
        ("JOINT Spine", "JOINT", "line 6: expected a joint name"),
        ("JOINT Spine", "BONE Spine", "line 6: expected ROOT, JOINT"),
        ("JOINT Spine", "ROOT Spine", "line 6: ROOT 'Spine' stands within"),
        ("JOINT Spine", "JOINT Spine\x07", "line 6: expected a joint name"),
        ("OFFSET 0 50 0", "OFFSET 0 50", "line 8: expected OFFSET and three numbers"),
        ("OFFSET 0 50 0", "OFFSET 0 nan 0", "line 8: OFFSET must be finite"),
        ("    OFFSET 0 50 0\n", "", "line 18: joint 'Spine' has no OFFSET"),
        ("CHANNELS 3 Y", "CHANNELS 4 Y", "line 9: expected CHANNELS, a number and that many names"),
        ("CHANNELS 3 Yrotation", "CHANNELS 3 Wrotation", "line 9: unknown channel 'Wrotation'"),
        ("CHANNELS 3 Yrotation", "CHANNELS 3 Zrotation", "line 9: a channel stands twice"),
        ("  JOINT Leg\n", "  }\n  JOINT Leg\n", "line 21: joint 'Leg' stands outside"),
        ("  JOINT Leg\n  {\n", "  JOINT Leg\n", "line 21: expected '{'"),
        ("}\nMOTION", "MOTION", "the hierarchy ends within a joint"),
        ("}\nMOTION", "}\n}\nMOTION", "line 30: a '}' that closes no joint"),
        ("MOTION\n", "", "line 30: expected ROOT, JOINT"),
        ("Frames: 3", "Frames: many", "line 31: expected 'Frames: COUNT'"),
        ("Frames: 3", "Frames: -3", "line 31: expected 'Frames: COUNT'"),
        ("Frames: 3", "Frames: 5", "announces 5 frames"),
        ("Frames: 3", "Frames: 0", "line 31: the file has no frames"),
        ("Frames: 3", "Frames: 1000000000", "announces 1000000000 frames of 16 channels and holds 48"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "line 32: expected 'Frame Time: SECONDS'"),
        ("Frame Time: 0.0333333", "Frame Time: nan", "line 32: expected 'Frame Time: SECONDS'"),
        ("Frame Time: 0.0333333", "Frame Time: soon", "line 32: expected 'Frame Time: SECONDS'"),
        ("1 91 -2", "1 nan -2", "line 34: expected finite numbers, got 'nan'"),
        ("1 91 -2", "1 1e999 -2", "line 34: expected finite numbers, got '1e999'"),
        ("1 91 -2", "1 -1.#IND -2", "line 34: expected finite numbers, got '-1.#IND'"),
        ("1 91 -2", "1 9_1 -2", "line 34: expected finite numbers, got '9_1'"),
        ("1 91 -2", "1 1e30 -2", "joint 'Hips' is moved"),
        ("1 91 -2", "1 91", "line 34: expected 16 numbers, got 15"),
        (LAST_ROW, LAST_ROW[:20], "line 35: expected 16 numbers, got 7"),
        (LAST_ROW, LAST_ROW + " x", "line 35: expected 16 numbers, got more"),
        ("OFFSET 0 60 5", "OFFSET 0 1e300 5", "cannot be"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in SMALL_RIG
    assert expected in refused(tmp_path, SMALL_RIG.replace(old, new, 1))


def test_files_of_other_kinds_are_named_as_such(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path, "")
    assert "empty" in refused(tmp_path, " \n\n\t")
    assert "binary" in refused(tmp_path, os.urandom(4000) + b"\0")
    assert "begins with HIERARCHY" in refused(tmp_path, '{"json": 1}')
    assert "no file" in refused_path(tmp_path / "no file").replace("no such file", "no file")
    assert "not a file" in refused_path(tmp_path)


def refused_path(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_bvh(path)
    return str(caught.value)


def test_every_truncation_of_a_file_is_refused(tmp_path: Path) -> None:
    text = SMALL_RIG.rstrip()
    path = tmp_path / "cut.bvh"
    for length in range(0, len(text) - 1, 7):
        path.write_text(text[:length])
        if text[:length].endswith("\n") and text[length:].count("\n") == 0:
            continue  # whole but for the last frame: read with a warning
        with pytest.raises(BadInputError, match=r"cut\.bvh"):
            read_bvh(path)


def test_a_skeleton_without_bones_asks_for_its_unit(tmp_path: Path) -> None:
    text = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n}\nMOTION\nFrames: 1\nFrame Time: 0.1\n5\n"
    assert "metres_per_unit" in refused(tmp_path, text)
    assert read_bvh(tmp_path / "bad.bvh", metres_per_unit=0.01).num_frames == 1
    for unit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInputError, match="metres_per_unit"):
            read_bvh(tmp_path / "bad.bvh", metres_per_unit=unit)
    still = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nJOINT b\n{\nOFFSET 0 9 0\n}\n}\nMOTION\nFrames: 1\nFrame Time: 1\n"
    assert "no joint has CHANNELS" in refused(tmp_path, still)


def test_deep_and_wide_hierarchies_need_no_recursion(tmp_path: Path) -> None:
    count = MAX_JOINTS
    chain = Skeleton(
        "chain", tuple(f"j{i}" for i in range(count)), tuple(range(-1, count - 1)), torch.full((count, 3), 0.01)
    )
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, count, 4)
    write_bvh(Motion(chain, identity, torch.zeros(1, 3), 30.0), tmp_path / "chain.bvh")
    assert read_bvh_hierarchy(tmp_path / "chain.bvh").parents[-1] == count - 2
    deeper = "HIERARCHY\nROOT r\n{\nOFFSET 0 1 0\n" + "".join(f"JOINT j{i}\n{{\nOFFSET 0 1 0\n" for i in range(100_000))
    assert f"more than {MAX_JOINTS} joints" in refused(tmp_path, deeper)
    assert "closes no joint" in refused(tmp_path, "HIERARCHY\n" + "}\n" * 100_000)
    assert "opens no joint" in refused(tmp_path, "HIERARCHY\n" + "{ " * 500_000)


def test_large_nonsense_is_refused_quickly(tmp_path: Path) -> None:
    start = time.perf_counter()
    head = SMALL_RIG[: SMALL_RIG.index("0 90")]
    refused(tmp_path, head + "0 " * 3_000_000)
    refused(tmp_path, head + "0 " * 16_000_000 + "x")
    refused(tmp_path, head + "0\n" * 1_000_000 + "x")
    assert "no MOTION line" in refused(tmp_path, "HIERARCHY" + "\n" * 5_000_000)
    refused(tmp_path, "ROOT " + "A" * 5_000_000)
    refused(tmp_path, head.replace("Leg", "L" * 3_000_000))
    assert time.perf_counter() - start < 30.0


def test_a_file_above_the_limit_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.bvh"
    with open(path, "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: takes no space
    assert "refused" in refused_path(path)


def test_a_few_numbers_cannot_announce_a_giant_motion(tmp_path: Path) -> None:
    """Joints without channels cost no bytes a frame, so frames times joints has its own limit."""
    joints = "".join(f"JOINT j{i}\n{{\nOFFSET 0 1 0\n}}\n" for i in range(2000))
    text = (
        f"HIERARCHY\nROOT r\n{{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n{joints}}}\nMOTION\nFrames: 20000\nFrame Time: 1\n"
    )
    assert "too many for one file" in refused(tmp_path, text + "0\n" * 20_000)
