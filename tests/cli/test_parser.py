"""Bad use is told apart before anything heavy is loaded."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from kinestream.cli import VERBS, build_parser, main
from kinestream.cli.generate import parse_seconds
from kinestream.cli.parser import positive_float, positive_int, seed_int, whole_number
from kinestream.errors import BadInputError

VERB_NAMES = [
    "generate", "dance", "stream", "serve", "capture", "convert", "info", "inspect", "restore", "render", "train",
    "evaluate", "compare", "data", "import",
]  # fmt: skip


def test_every_verb_of_the_list_is_there() -> None:
    (subparsers,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert list(subparsers.choices) == VERB_NAMES
    assert len(VERBS) == len(VERB_NAMES)


@pytest.mark.parametrize("verb", ["", *VERB_NAMES])
def test_help_goes_to_stdout_and_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([*verb.split(), "--help"])
    captured = capsys.readouterr()
    assert leaving.value.code == 0
    assert captured.err == ""
    assert f"  kinestream {verb}".rstrip() in captured.out


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kinestream 0.")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "name a verb"),
        (["danse"], "invalid choice: 'danse'"),
        (["generate"], "at least one prompt"),
        (["generate", "walks"], "-o FILE"),
        (["generate", "walks", "-o", "walk.xyz"], ".xyz"),
        (["generate", "walks", "-o", "walk"], "suffix"),
        (["generate", "", "-o", "walk.glb"], "no words"),
        (["generate", "  ", "-o", "walk.glb"], "no words"),
        (["generate", "walks " * 2000, "-o", "walk.glb"], "characters"),
        (["generate", "walks", "-o", "walk.glb", "--seconds", "1,2"], "--seconds"),
        (["generate", "walks", "-o", "walk.glb", "--seconds", "nan"], "--seconds"),
        (["generate", "walks", "-o", "walk.glb", "--samples", "0"], "--samples"),
        (["generate", "walks", "-o", "walk.glb", "--seed", "-1"], "--seed"),
        (["generate", "walks", "-o", "walk.glb", "--guidance", "inf"], "--guidance"),
        (["generate", "walks", "-o", "walk.glb", "--rig", "none.bvh"], "none.bvh does not exist"),
        (["generate", "walks", "-o", "walk.glb", "--model", "nowhere"], "nowhere"),
        (["generate", "walks", "-o", "walk.glb", "--device", "toaster"], "toaster"),
        (["generate", "walks", "-o", "nowhere/walk.glb"], "nowhere"),
        (["stream", "--pace", "slow"], "--pace"),
        (["convert", "none.bvh", "out.glb"], "none.bvh does not exist"),
        (["convert", "none.bvh"], "OUT"),
        (["convert", "pyproject.toml", "out.glb", "--report"], "--report"),
        (["convert", "a.bvh", "out.glb", "--fps", "0"], "--fps"),
        (["info", "none.bvh"], "none.bvh does not exist"),
        (["render", "none.bvh", "-o", "a.mp4"], "none.bvh does not exist"),
        (["train", "causal-tae", "none.toml"], "none.toml does not exist"),
        (["train", "gan", "none.toml"], "gan"),
        (["data"], "ACTION"),
        (["data", "build", "-o", "out"], "--bandai-namco"),
        (["data", "build", "--deepmimic", "nowhere", "-o", "out"], "nowhere does not exist"),
        (["import", "motionstreamer"], "--output"),
        (["import", "motionstreamer", "-o", "out"], "--stats"),
        (["import", "other"], "other"),
    ],
)
def test_bad_use_is_one_line_and_exit_code_two(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("kinestream: error: ")
    assert words in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_bad_use_through_the_installed_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kinestream.cli", "generate"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_seconds_are_one_for_all_or_one_each() -> None:
    assert parse_seconds("auto", 2) == [None, None]
    assert parse_seconds("4", 3) == [4.0, 4.0, 4.0]
    assert parse_seconds("4, auto,2.5", 3) == [4.0, None, 2.5]


@pytest.mark.parametrize("text", ["", "4,", "0", "-1", "inf", "1e9", "four", "1,2,3"])
def test_seconds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="--seconds"):
        parse_seconds(text, 2)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (positive_int, "3", ["0", "-1", "1.5", "x"]),
        (positive_float, "0.5", ["0", "-1", "nan", "inf", "x"]),
        (whole_number, "0", ["-1", "0.5", "x"]),
        (seed_int, "0", ["-1", str(2**63), "1.0", "x"]),
    ],
)
def test_numbers_are_checked_where_they_come_in(kind: type, good: str, bad: list[str]) -> None:
    assert kind(good) == float(good)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            kind(text)
