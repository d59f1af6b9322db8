"""From pictures to tracks: gaps, resuming, who counts, and what is said when nobody is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.capture import chosen
from kinestream.capture import observing as observing_module
from kinestream.capture.landmarks import PersonTrack
from kinestream.capture.observing import is_still, observe_film
from kinestream.capture.prefetch import prefetched
from kinestream.errors import BadInputError
from tests.capture.scripted import Figure, ScriptedEstimator, ScriptedFilm

RED, BLUE = (200, 40, 40), (40, 60, 200)


def two(frame: int) -> list[Figure]:
    """A tall one who walks and hides for half a second, and a small one who never moves."""
    small = Figure(520, 250, 60, BLUE)
    return [small] if 30 <= frame < 45 else [Figure(100.0 + 2.0 * frame, 180, 120, RED), small]


def observed(script: Any, count: int, path: Path, **options: Any) -> list[PersonTrack]:
    estimator = ScriptedEstimator(script)
    film: Any = ScriptedFilm(estimator, count, path, options.pop("broken_at", None))
    return observe_film(film, estimator, **options)


def test_the_most_prominent_is_first_gaps_are_filled_and_marked(tmp_path: Path) -> None:
    first, second = observed(two, 90, tmp_path / "film")
    assert (first.person, second.person) == (1, 2)
    assert list(first.frames) == list(range(90))
    hidden = set(np.flatnonzero(~first.seen))
    assert set(range(30, 45)) <= hidden <= set(range(30, 48))  # the detector looks at every second picture
    hips = first.keypoints_px[:, 23:25, 0].mean(axis=1)
    assert np.allclose(hips, 100.0 + 2.0 * np.arange(90), atol=1.0)
    assert is_still(second)
    assert not is_still(first)
    assert not first.focal_known
    assert [track.person for track in chosen([first, second], "all")] == [1, 2]
    assert chosen([first, second], "largest") == [first]
    assert chosen([first, second], "2") == [second]
    for wrong in ("3", "0", "nobody", "-1"):
        with pytest.raises(BadInputError, match="expected a person"):
            chosen([first, second], wrong)


def test_a_stopped_run_goes_on_and_gives_what_an_undisturbed_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing_module, "CHUNK_FRAMES", 16)
    whole = observed(two, 90, tmp_path / "film", moving_camera=True)
    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        observed(two, 90, tmp_path / "film", moving_camera=True, work=work, broken_at=70)
    assert len(list(work.glob("chunk-*.npz"))) == 4
    estimator = ScriptedEstimator(two)
    film: Any = ScriptedFilm(estimator, 90, tmp_path / "film")
    resumed = observe_film(film, estimator, moving_camera=True, work=work)
    assert 0 < estimator.observed < 90
    assert len(resumed) == len(whole)
    for a, b in zip(resumed, whole, strict=True):
        for name in ("frames", "keypoints_px", "confidence", "camera_turn", "times_s"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_a_folder_of_another_film_is_refused_or_begun_again(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"other")
    observed(two, 60, tmp_path / "one", work=work)
    with pytest.raises(BadInputError, match="another's"):
        observed(two, 60, tmp_path / "two", work=work)
    assert len(observed(two, 60, tmp_path / "two", work=work, start_over=True)) == 2


def test_films_without_anybody_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nobody was seen"):
        observed(lambda _: [], 30, tmp_path / "film")
    with pytest.raises(BadInputError, match="nobody was seen"):
        observed(lambda frame: [Figure(300, 180, 120, RED)] if frame < 4 else [], 60, tmp_path / "film")


def test_looking_ends_when_asked(tmp_path: Path) -> None:
    (track, *_) = observed(two, 90, tmp_path / "film", most_s=0.8)
    assert track.num_frames == 24


def test_values_made_ahead_come_in_order_and_errors_where_they_happened() -> None:
    def values() -> Any:
        yield from range(20)
        raise ValueError("here")

    seen = []
    with pytest.raises(ValueError, match="here"):
        seen.extend(prefetched(values()))
    got = prefetched(iter(range(1000)))
    assert next(got) == 0
    got.close()
    assert list(prefetched([])) == []
