"""What takes seconds says why; what doesn't is silent."""

from __future__ import annotations

import time

import pytest

from kinestream.cli import progress


def test_preparing_is_told_only_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.preparing():
        pass
    monkeypatch.setattr(progress, "PREPARING_S", 0.0)
    with progress.preparing():
        time.sleep(0.2)
    assert capsys.readouterr().err.count("compiling for this processor") == 1
