"""The published layouts: what is read, and what is refused with a clear error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.data.layout import (
    StreamLine,
    TextLine,
    read_features,
    read_split,
    read_stream_lines,
    read_text_lines,
    safe_name,
    stream_line,
    text_line,
)
from kinestream.errors import BadInputError


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_humanml3d_lines_are_read_with_their_time_tags(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.txt",
        "a man walks.#a/DET man/NOUN walk/VERB#0.0#0.0\nhe turns#he/PRON turn/VERB#1.5#3.0\nx#x/X#nan#nan\n",
    )
    assert read_text_lines(path) == [TextLine("a man walks."), TextLine("he turns", 1.5, 3.0), TextLine("x")]


def test_text_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    line = TextLine("walks, happy # and * more", 0.5, 2.25)
    (read,) = read_text_lines(written(tmp_path / "a.txt", text_line(line)))
    assert read == TextLine("walks, happy and more", 0.5, 2.25)


def test_babel_lines_are_read_in_both_published_forms(tmp_path: Path) -> None:
    path = written(tmp_path / "s.txt", "walk*turn left#120\nsit*stand up#stand/VERB up/ADP#0.0#0.0#64\nstand*#30\n")
    assert read_stream_lines(path) == [StreamLine("walk", "turn left", 120), StreamLine("sit", "stand up", 64)]
    assert read_stream_lines(written(tmp_path / "t.txt", stream_line(StreamLine("a*b", "c#d", 8)))) == [
        StreamLine("a b", "c d", 8)
    ]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\\b", "c:x", "x\0y", "n" * 300])
def test_names_that_leave_their_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="refused the name"):
        safe_name(name)
    if name.strip() and "\0" not in name:
        written(tmp_path / "split" / "train.txt", f"ok\n{name}\n")
        with pytest.raises(BadInputError, match="refused the name"):
            read_split(tmp_path, "train")


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"train\.txt: there is no such file"):
        read_split(tmp_path, "train")
    written(tmp_path / "split" / "train.txt", "\n\n")
    with pytest.raises(BadInputError, match="the split is empty"):
        read_split(tmp_path, "train")
    with pytest.raises(BadInputError, match="found none"):
        read_text_lines(written(tmp_path / "e.txt", ""))
    with pytest.raises(BadInputError, match="A\\*B#length"):
        read_stream_lines(written(tmp_path / "f.txt", "no star here#12"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9#x#0#0")
    with pytest.raises(BadInputError, match="UTF-8"):
        read_text_lines(tmp_path / "latin.txt")


def test_damaged_motion_files_are_refused(tmp_path: Path) -> None:
    good = np.zeros((20, 272), np.float32)
    path = tmp_path / "clip.npy"
    np.save(path, good)
    assert read_features(path).shape == (20, 272)
    content = path.read_bytes()
    cases = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "text": b"hello",
        "header only": content[:128],
    }
    for data in cases.values():
        path.write_bytes(data)
        with pytest.raises(BadInputError, match=r"clip\.npy"):
            read_features(path)
    for array in (
        np.zeros((20, 263), np.float32),
        np.zeros(272, np.float32),
        np.zeros((0, 272), np.float32),
        np.zeros((3, 272), int),
    ):
        np.save(path, array)
        with pytest.raises(BadInputError, match=r"clip\.npy"):
            read_features(path)
    good[3, 5] = np.nan
    np.save(path, good)
    with pytest.raises(BadInputError, match="NaN"):
        read_features(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match=r"clip\.npy"):
        read_features(path)


@given(st.binary(max_size=400))
def test_no_bytes_make_the_readers_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.npy"
    path.write_bytes(data)
    for read in (read_features, read_text_lines, read_stream_lines):
        with contextlib.suppress(BadInputError):
            read(path)
