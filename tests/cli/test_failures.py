"""Whatever goes wrong, the user sees one line and the right exit code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from kinestream.cli.failures import exit_code_of
from kinestream.errors import BadInputError, KinestreamError


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BadInputError("expected a motion,\n got none"), 2, "expected a motion, got none"),
        (KinestreamError("it failed"), 1, "it failed"),
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(errno.ENOSPC, "No space left on device", "walk.glb"), 1, "the disk is full (walk.glb)"),
        (RuntimeError("IoError(Os { code: 28, message: No space left on device })"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "walk.glb"), 1, "Permission denied (walk.glb)"),
        (MemoryError(), 1, "out of memory"),
        (ZeroDivisionError("division by zero"), 1, "unexpected ZeroDivisionError"),
    ],
)
def test_every_failure_is_one_line_with_its_exit_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with exit_code_of() as outcome:
        _raise(error)
    captured = capsys.readouterr()
    assert outcome.code == code
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("kinestream: ")
    assert words in captured.err


def test_success_is_zero_and_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with exit_code_of() as outcome:
        pass
    assert outcome.code == 0
    assert capsys.readouterr() == ("", "")


def test_the_traceback_variable_lets_errors_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINESTREAM_TRACEBACK", "1")
    with pytest.raises(BadInputError), exit_code_of():
        _raise(BadInputError("x"))


def test_sigterm_unwinds_and_the_old_handler_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)
    with exit_code_of() as outcome:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)
    assert outcome.code == 143
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before
    assert "terminated" in capsys.readouterr().err


@pytest.fixture
def run_code() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs Python text in a fresh process."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    return run


def test_a_reader_that_goes_away_is_no_error(run_code: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    command = (
        f"{sys.executable} -c 'from kinestream.cli.failures import exit_code_of\n"
        "with exit_code_of() as outcome:\n"
        "    for number in range(100000): print(number)\n"
        "raise SystemExit(outcome.code)' | head -n 1; echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "141"]
    assert done.stderr == ""
