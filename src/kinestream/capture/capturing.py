"""Capture in one call, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.body import body_from_track
from kinestream.capture.film import Film
from kinestream.capture.landmarks import PersonTrack
from kinestream.errors import BadInputError
from kinestream.motion import Motion

# Below this mean confidence of a person's landmarks a frame is a guess.
UNSURE = 0.5


@dataclass(frozen=True, eq=False)
class Captured:
    """One person: the motion in the world, and the track of landmarks that it was solved from."""

    motion: Motion
    track: PersonTrack

    @property
    def confidence(self) -> NDArray[np.float32]:
        """[T]: mean confidence of the landmarks in each frame of the film; 0 where the person was hidden."""
        return np.asarray(self.track.confidence.mean(axis=1), np.float32)

    def unsure_spans_s(self) -> list[tuple[float, float]]:
        """Stretches of the film (start, end; seconds) in which the person was hidden or hardly seen."""
        unsure = np.concatenate(([False], self.confidence < UNSURE, [False])).astype(np.int8)
        starts, stops = np.flatnonzero(np.diff(unsure) == 1), np.flatnonzero(np.diff(unsure) == -1)
        times, step = self.track.times_s, 1.0 / self.track.fps
        return [(float(times[a]), float(times[b - 1]) + step) for a, b in zip(starts, stops, strict=True)]

    def report(self) -> dict[str, Any]:
        """What is known about the capture, for people and JSON."""
        track = self.track
        return {
            "person": track.person,
            "shot": track.shot + 1,
            "start_s": round(float(track.times_s[0]), 3),
            "end_s": round(float(track.times_s[-1]), 3),
            "seen": round(float(track.seen.mean()), 4),
            "confidence": round(float(track.confidence[track.seen].mean()), 4),
            "unsure_s": [[round(a, 3), round(b, 3)] for a, b in self.unsure_spans_s()],
            "focal_px": round(track.focal_px, 1),
            "focal_known": track.focal_known,
            "frames": self.motion.num_frames,
            "fps": round(self.motion.fps, 4),
        }


def capture_film(
    path: str | Path,
    *,
    person: str = "all",
    height_m: float | None = None,
    fps: float | None = None,
    moving_camera: bool = False,
    focal_px: float | None = None,
    work: Path | None = None,
    models: Path | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
) -> list[Captured]:
    """The persons of a film as motions in the world, the most prominent first.

    `person` is "all", "largest" or a number from 1. `height_m` the person's height, `fps` the motions' rate (None: the
    film's), `moving_camera` measures the camera's turn, `focal_px` its focal length in pixels of the upright picture,
    `work` a folder that keeps what was seen so that a stopped run goes on, `models` a folder with the networks (None:
    mediapipe's installed files). `on_frame(done, total or None)` is called as pictures are finished.
    Raises BadInputError for what is no film, films without anybody, and persons who aren't there.
    """
    from kinestream.capture.blazepose import BlazePose
    from kinestream.capture.observing import observe_film

    checked(person)
    with Film(path) as film:
        tracks = observe_film(
            film,
            BlazePose(models),
            work=work,
            moving_camera=moving_camera,
            focal_px=focal_px,
            on_frame=on_frame,
        )
    return [Captured(body_from_track(track, height_m=height_m, fps=fps), track) for track in chosen(tracks, person)]


def checked(person: str) -> str:
    """The choice of persons as it was given; BadInputError where it is none."""
    if person not in ("all", "largest") and not (person.isascii() and person.isdigit() and int(person) > 0):
        raise BadInputError(f"expected a person as all, largest or a number from 1, got {person[:40]!r}")
    return person


def chosen(tracks: Sequence[PersonTrack], person: str) -> list[PersonTrack]:
    """Of tracks with the most prominent first, those that "all", "largest" or a number names."""
    if checked(person) == "all":
        return list(tracks)
    number = 1 if person == "largest" else int(person)
    if number > len(tracks):
        raise BadInputError(f"expected a person from 1 to {len(tracks)}, got {number}: so many were seen")
    return [tracks[number - 1]]
