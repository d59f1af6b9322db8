"""Every bench says what it does and which options it has, refuses what it can't run, and names its own command."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks.harness import command_line, command_of, markdown, missed, run, save
from kinestream.errors import BadInputError, KinestreamError

FOLDER = Path(next(iter(benchmarks.__path__)))
COMMANDS = sorted(
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


def test_all_benches_are_found() -> None:
    assert {"benchmarks.quality.__main__", "benchmarks.evaluator", "benchmarks.fuzz_parsers"} <= set(COMMANDS)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_says_what_the_bench_does(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = importlib.import_module(module)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as left:
        bench.main()
    assert left.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("usage:")
    assert " ".join((bench.__doc__ or "").split("\n")[0].split()) in said


def parser() -> argparse.ArgumentParser:
    options = command_line("made_up", "Nothing.", threads=1)
    options.add_argument("--data", type=Path)
    options.add_argument("--model", type=Path)
    options.add_argument("--fast", action="store_true")
    options.add_argument("--seed", type=int, default=0)
    return options


def test_the_command_that_is_recorded_has_what_changes_figures_and_no_folder() -> None:
    given = parser().parse_args(["--data", "/home/me/data", "--model", "/home/me/model", "--fast", "--threads", "1"])
    assert command_of(parser(), given, "run it") == "run it --model MODEL --fast"
    assert command_of(parser(), parser().parse_args([]), "run it") == "run it"


def test_a_bench_ends_with_one_line_and_the_code_of_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    for error, code in ((BadInputError("no such data"), 2), (KinestreamError("it broke"), 1)):

        def fail(given: argparse.Namespace, error: KinestreamError = error) -> None:
            raise error

        assert run(parser(), fail, []) == code
        assert capsys.readouterr().err == f"error: {error}\n"
    assert run(parser(), lambda given: given.seed, ["--seed", "3"]) == 3
    with pytest.raises(SystemExit):
        run(parser(), lambda given: None, ["--threads", "0"])


def test_limits_are_kept_at_the_bound_and_missed_beyond(capsys: pytest.CaptureFixture[str]) -> None:
    limits = {"seconds": ("at most", 2.0), "times": ("at least", 3.0)}
    assert missed({"seconds": 2.0, "times": 3.0}, limits) == []
    assert len(missed({"seconds": 2.1, "times": 2.9}, limits)) == 2
    assert "seconds is 2.100, should be at most 2" in capsys.readouterr().err


def test_results_are_saved_where_no_folder_was_and_tables_are_markdown(tmp_path: Path) -> None:
    save({"a": 1}, tmp_path / "new" / "out.json")
    assert json.loads((tmp_path / "new" / "out.json").read_text(encoding="utf-8")) == {"a": 1}
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
