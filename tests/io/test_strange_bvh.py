"""BVH files that other programs open all the same: read with a warning where the meaning is plain, else one error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.io.bvh import read_bvh_file
from kinestream.io.motion_file import MotionFile
from tests.support.bodies import CONVENTIONS, Body

NAMES = CONVENTIONS["ready player me"]
TEXT = Body(names=NAMES).text()


def read(tmp_path: Path, text: str | bytes) -> MotionFile:
    path = tmp_path / "strange.bvh"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_bvh_file(path)


def assert_plain(tmp_path: Path, found: MotionFile) -> None:
    expected = read(tmp_path, TEXT).motion
    frames = min(found.motion.num_frames, expected.num_frames)
    torch.testing.assert_close(found.motion.joint_positions_m()[:frames], expected.joint_positions_m()[:frames])
    assert found.motion.fps == expected.fps


def commas(text: str) -> str:
    lines = text.splitlines()
    first = lines.index("MOTION")
    for k, line in enumerate(lines):
        if line.startswith(("OFFSET", "Frame Time")) or k > first + 2:
            lines[k] = " ".join(
                f"{float(word):.4f}".replace(".", ",") if word[-1].isdigit() else word for word in line.split()
            )
    return "\n".join(lines).replace("0,0333", "0,033333") + "\n"


def scaled(value: str) -> str:
    return (
        Body(names=NAMES, channels="Zrotation Xrotation Yrotation Xscale Yscale Zscale")
        .text()
        .replace(" 1 1 1", f" {value} 1 1")
    )


LAST = TEXT.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (TEXT.replace("Frames: 3", "Frames: 4"), "announces 4 frames and holds 3"),
        (TEXT.replace("Frames: 3", "Frames: 2"), "announces 2 frames and holds 3"),
        (commas(TEXT), "decimal commas"),
        (TEXT.replace("HIERARCHY", "\n\nHIERARCHY\n").replace("\n", "\r\n"), None),
        (TEXT[: TEXT.index(LAST)] + ", ".join(f"{float(x):.4f}" for x in LAST.split()) + "\n", "commas stand between"),
        (scaled("1"), None),
        (TEXT.encode("utf-16"), None),
    ],
    ids=["frame too few", "frame too many", "decimal commas", "line ends", "comma separated", "scale of one", "utf-16"],
)
def test_plain_meanings_are_read(tmp_path: Path, text: str | bytes, warning: str | None) -> None:
    found = read(tmp_path, text)
    assert len(found.warnings) == (0 if warning is None else 1)
    assert warning is None or warning in found.warnings[0]
    assert_plain(tmp_path, found)


def test_of_two_figures_the_first_is_read(tmp_path: Path) -> None:
    head, frames = TEXT.split("MOTION")
    other = head.removeprefix("HIERARCHY\n").replace("JOINT ", "JOINT P2_").replace("ROOT ", "ROOT P2_")
    start, *rows = frames.strip().split("\n", 2)[0], *frames.strip().split("\n")[1:]
    both = [rows[0], *(f"{row} {row}" for row in rows[1:])]
    found = read(tmp_path, head + other + "MOTION\n" + start + "\n" + "\n".join(both) + "\n")
    assert found.motion.skeleton.num_joints == 21
    assert "a second figure begins here ('P2_Hips')" in found.warnings[0]
    assert_plain(tmp_path, found)


def test_names_that_stand_twice_are_told_apart(tmp_path: Path) -> None:
    found = read(tmp_path, TEXT.replace("JOINT Head", "JOINT Neck"))
    assert "'Neck' stands twice; this one is called 'Neck_2'" in found.warnings[0]
    assert_plain(tmp_path, found)


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "utf-8", "utf-16"])
def test_japanese_names_are_read_in_the_encodings_they_come_in(tmp_path: Path, encoding: str) -> None:
    names = CONVENTIONS["mmd japanese"]
    found = read(tmp_path, Body(names=names).text().encode(encoding))
    assert set(found.motion.skeleton.joint_names) == set(names.values())
    assert bool(found.warnings) == (encoding not in ("utf-8", "utf-16"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace(LAST, "nan" + LAST[1:]), [r"line \d+", "Xposition of 'Hips' in frame 3", "delete the frame"]),
        (TEXT.replace("Frame Time: 0.033333", "Frame Time: 0"), [r"line \d+", "--input-fps 30", "Frame Time: 0"]),
        (TEXT.replace("Frames: 3", "Frames: 9"), ["announces 9 frames", "cut off"]),
        (scaled("1.5"), ["'Spine' is scaled along X", "bake the scale"]),
    ],
    ids=["nan", "no frame time", "many frames missing", "scale"],
)
def test_the_rest_is_one_error_that_says_what_to_do(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, text)
    import re

    for word in words:
        assert re.search(word, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
