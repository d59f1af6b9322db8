"""Sets of clips for every test of a metric: made-up ones always, recordings where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metrics.clips import Clips, dances, recording, walkers

_made: dict[str, Clips] = {}


def _clips(name: str, request: pytest.FixtureRequest) -> Clips:
    if name not in _made:
        if name == "walkers":
            _made[name] = walkers()
        elif name == "dances":
            shared: Path = request.getfixturevalue("shared_dir")
            if not (shared / "data" / "dance-with-melody").is_dir():
                pytest.skip("needs the Dance with Melody recordings: shared/data/dance-with-melody is missing")
            _made[name] = dances(shared)
        else:
            _made[name] = recording(request.getfixturevalue("reference_dir"))
    return _made[name]


@pytest.fixture(params=["walkers", "dances", "recording"])
def any_clips(request: pytest.FixtureRequest) -> Clips:
    """Each of the sets in turn."""
    return _clips(request.param, request)


@pytest.fixture(params=["walkers", "dances"])
def many_clips(request: pytest.FixtureRequest) -> Clips:
    """The sets that are large enough for distributions."""
    return _clips(request.param, request)
