"""What typed lines mean, and that reading them never blocks the frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from kinestream.cli.prompt_lines import Line, LineReader, parse_line, steps_said
from kinestream.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("   \n", None),
        (" walks forward \n", Line("now", "walks forward")),
        (":then waves", Line("then", "waves")),
        (":now  waves ", Line("now", "waves")),
        (":rewind 2.5", Line("rewind", seconds=2.5)),
        (":quit", Line("quit")),
    ],
)
def test_lines_mean_what_they_say(text: str, expected: Line | None) -> None:
    assert parse_line(text, "now") == expected


@pytest.mark.parametrize(
    "text", [":", ":dance", ":now", ":then  ", ":rewind", ":rewind soon", ":rewind -1", ":rewind nan"]
)
def test_commands_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_line(text, "now")


def test_lines_come_in_order_errors_among_them_and_then_the_end() -> None:
    reader = LineReader(["walks\n", "\n", ":nonsense\n", "waves\n"], "then")
    taken = [reader.take(wait=True) for _ in range(4)]
    assert [line.text for line in (taken[0], taken[2]) if isinstance(line, Line)] == ["walks", "waves"]
    assert isinstance(taken[1], BadInputError)
    assert taken[3] is None
    assert reader.ended
    assert reader.take(wait=True) is None


def test_a_silent_typist_does_not_hold_up_the_frames() -> None:
    release = threading.Event()

    def typist() -> Iterator[str]:
        release.wait(10)
        yield "walks"

    reader = LineReader(typist(), "now")
    start = time.perf_counter()
    assert reader.take(wait=False) is None
    assert time.perf_counter() - start < 1.0
    assert not reader.ended
    release.set()
    line = reader.take(wait=True)
    assert isinstance(line, Line)
    assert line.came_s >= start


def test_input_that_cannot_be_decoded_is_an_error_and_the_end() -> None:
    def broken() -> Iterator[str]:
        yield "walks"
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    reader = LineReader(broken(), "now")
    assert isinstance(reader.take(wait=True), Line)
    assert isinstance(reader.take(wait=True), BadInputError)
    assert reader.take(wait=True) is None


def test_a_sentence_of_several_steps_is_said_to_be_several_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    assert steps_said("walks, then bows") == ["walks", "bows"]
    assert "taken as 2 prompts" in capsys.readouterr().err
    assert steps_said("walks forward, happy") == ["walks forward, happy"]
    assert capsys.readouterr().err == ""
