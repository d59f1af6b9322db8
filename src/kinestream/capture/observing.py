"""From a film to the tracks of its persons: in chunks that are kept in a folder, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.blazepose import PersonEstimator
from kinestream.capture.consistency import lost, unflipped
from kinestream.capture.crops import Crop
from kinestream.capture.film import ASSUMED_FOCAL_DIAGONALS, Film, FilmInfo, FilmPicture
from kinestream.capture.landmarks import LANDMARKS, PersonTrack
from kinestream.capture.prefetch import prefetched
from kinestream.capture.shots import with_shots
from kinestream.capture.tracking import Followed, Tracker, bounds
from kinestream.capture.turning import TurnMeter
from kinestream.errors import BadInputError
from kinestream.io.arrays import read_arrays, write_npz
from kinestream.io.atomic import atomic_path

CHUNK_FRAMES = 256
# Persons seen for less than this are passers-by or mistakes.
MIN_SEEN_S = 0.4
_COLUMNS = ("frame", "shot", "person", "points_px", "depth_px", "world_m", "confidence")
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Rows:
    """What was seen, a row for every person in every picture, and each picture's time and the camera's turn."""

    seen: dict[str, NDArray[Any]]
    times_s: NDArray[np.float64]
    shots: NDArray[np.int64]
    turns: NDArray[np.float32] | None


def observe_film(
    film: Film,
    estimator: PersonEstimator,
    *,
    work: Path | None = None,
    moving_camera: bool = False,
    focal_px: float | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
    most_s: float | None = None,
    start_over: bool = False,
) -> list[PersonTrack]:
    """The tracks of all persons of a film, the one who is seen largest and longest first.

    `work` is a folder that keeps what was seen, chunk by chunk; a second call goes on where the first was stopped.
    `moving_camera` measures the camera's turn from the background. `focal_px` of the upright picture, else the film's
    own, else an assumed one. `on_frame(done, total or None)` is called as pictures are finished; `most_s` ends
    after so many seconds. Where `work` holds another film's: `start_over`, or BadInputError.
    Raises BadInputError where nobody is seen.
    """
    known = focal_px or film.info.focal_px
    focal = known or ASSUMED_FOCAL_DIAGONALS * float(np.hypot(film.info.width_px, film.info.height_px))
    kept = _Work(work, _key(film, moving_camera, focal if moving_camera else None), start_over)
    total = film.info.num_frames or None
    if most_s is not None:
        total = min(total or sys.maxsize, round(most_s * film.info.fps))
    tracker = Tracker(estimator, film.info.fps)
    meter = TurnMeter(focal) if moving_camera else None
    done = kept.resume(tracker, meter)
    chunk = _Chunk(moving_camera)
    for picture, shot in _from(film, done, most_s):
        chunk.add(picture, shot, tracker, meter, kept.last_shot)
        kept.last_shot = shot
        if on_frame is not None:
            on_frame(picture.number + 1, total)
        if chunk.frames >= CHUNK_FRAMES:
            kept.add(chunk, tracker, meter)
            chunk = _Chunk(moving_camera)
    if chunk.frames:
        kept.add(chunk, tracker, meter)
    return tracks_from_rows(kept.rows(), film.info, focal, bool(known))


def _from(film: Film, done: int, most_s: float | None) -> Iterator[tuple[FilmPicture, int]]:
    """Pictures with their shots, decoded ahead; those that are done already only go by the cut finder."""
    first_s: float | None = None
    for picture, shot in prefetched(with_shots(film.pictures())):
        first_s = picture.time_s if first_s is None else first_s
        if most_s is not None and picture.time_s - first_s >= most_s:
            return
        if picture.number >= done:
            yield picture, shot


class _Chunk:
    """Rows of some pictures while they are collected."""

    def __init__(self, turning: bool) -> None:
        self._rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._times: list[float] = []
        self._shots: list[int] = []
        self._turns: list[NDArray[np.float32]] | None = [] if turning else None

    @property
    def frames(self) -> int:
        return len(self._times)

    def add(
        self, picture: FilmPicture, shot: int, tracker: Tracker, meter: TurnMeter | None, last_shot: int | None
    ) -> None:
        if shot != last_shot:
            tracker.forget()
            if meter is not None:
                meter.forget()
        found = tracker.step(picture.rgb)
        for person, observation in found:
            values = (picture.number, shot, person) + tuple(
                getattr(observation, name) for name in ("points_px", "depth_px", "world_m", "confidence")
            )
            for name, value in zip(_COLUMNS, values, strict=True):
                self._rows[name].append(value)
        self._times.append(picture.time_s)
        self._shots.append(shot)
        if meter is not None and self._turns is not None:
            boxes = [np.concatenate(bounds(observation.points_px)) for _, observation in found]
            self._turns.append(meter.step(picture.rgb, boxes))

    def arrays(self) -> dict[str, NDArray[Any]]:
        count, shapes = len(LANDMARKS), {"points_px": (2,), "depth_px": (), "world_m": (3,), "confidence": ()}
        arrays: dict[str, NDArray[Any]] = {}
        for name in _COLUMNS:
            if name in shapes:
                arrays[name] = np.array(self._rows[name], np.float32).reshape(-1, count, *shapes[name])
            else:
                arrays[name] = np.array(self._rows[name], np.int64)
        arrays["times_s"] = np.array(self._times, np.float64)
        arrays["shots"] = np.array(self._shots, np.int64)
        if self._turns is not None:
            arrays["turns"] = np.array(self._turns, np.float32).reshape(-1, 3, 3)
        return arrays


class _Work:
    """Finished chunks: in a folder where there is one, else in memory."""

    def __init__(self, folder: Path | None, key: str, start_over: bool) -> None:
        self._folder, self._chunks = folder, list[dict[str, NDArray[Any]]]()
        self._count = 0
        self.last_shot: int | None = None
        if folder is None:
            return
        folder.mkdir(exist_ok=True)
        note = folder / "capture.json"
        if note.is_file() and _read_note(note) != key and start_over:
            for chunk in folder.glob("chunk-*.npz"):
                chunk.unlink()
        elif note.is_file() and _read_note(note) != key:
            raise BadInputError(
                f"{folder}: expected what was seen in this film with these options, and it holds another's; "
                "name another folder, or remove this one to begin again"
            )
        with atomic_path(note) as temporary:
            temporary.write_text(json.dumps({"key": key}), encoding="utf-8")

    def resume(self, tracker: Tracker, meter: TurnMeter | None) -> int:
        """How many pictures are done; the tracker and the meter remember what they knew then."""
        if self._folder is None:
            return 0
        done = 0
        while (path := self._path(self._count)).is_file():
            arrays = read_arrays(path, ("times_s", "shots"))
            done += len(arrays["times_s"])
            self.last_shot = int(arrays["shots"][-1])
            self._count += 1
        if self._count:
            names = ("state_next", *(f"state_{field.name}" for field in fields(Followed)), "state_meter")
            _restore(tracker, meter, read_arrays(self._path(self._count - 1), names))
        return done

    def add(self, chunk: _Chunk, tracker: Tracker, meter: TurnMeter | None) -> None:
        arrays = chunk.arrays()
        if self._folder is None:
            self._chunks.append(arrays)
        else:
            write_npz(self._path(self._count), {**arrays, **_state(tracker, meter)})
        self._count += 1

    def rows(self) -> Rows:
        """Everything that was seen."""
        if self._folder is not None:
            names = (*_COLUMNS, "times_s", "shots")
            self._chunks = []
            for number in range(self._count):
                path = self._path(number)
                turning = ("turns",) if "turns" in np.load(path).files else ()
                self._chunks.append(dict(read_arrays(path, (*names, *turning))))
        joined = {name: np.concatenate([chunk[name] for chunk in self._chunks]) for name in self._chunks[0]}
        times, shots, turns = joined.pop("times_s"), joined.pop("shots"), joined.pop("turns", None)
        return Rows(joined, times, shots, turns)

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"chunk-{number:05d}.npz"


def _read_note(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("key")
    except (OSError, ValueError, AttributeError):
        return None


def _key(film: Film, moving_camera: bool, focal_px: float | None) -> str:
    """What the chunks depend on: the film's bytes (its ends, for a long one) and the options."""
    digest = hashlib.sha256(f"{_VERSION} {moving_camera} {focal_px}".encode())
    if film.path.is_file():
        size = film.path.stat().st_size
        digest.update(str(size).encode())
        with film.path.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read(1 << 20))
    return digest.hexdigest()


def _state(tracker: Tracker, meter: TurnMeter | None) -> dict[str, NDArray[Any]]:
    people = tracker.state
    state: dict[str, NDArray[Any]] = {"state_next": np.array([tracker.next_person, tracker.since_detection])}
    for field in fields(Followed):
        values = [getattr(person, field.name) for person in people]
        if field.name == "crop":
            values = [(c.x_px, c.y_px, c.side_px, c.turn_rad) for c in values]
        state[f"state_{field.name}"] = np.array(values, np.float64)
    state["state_meter"] = np.zeros((0, 0)) if meter is None else meter.state()
    return state


def _restore(tracker: Tracker, meter: TurnMeter | None, state: dict[str, Any]) -> None:
    tracker.next_person, tracker.since_detection = (int(value) for value in state["state_next"])
    people = []
    for k in range(len(state["state_person"])):
        crop = Crop(*(float(value) for value in state["state_crop"][k]))
        points, speed, colours = (
            state[f"state_{name}"][k].astype(np.float32) for name in ("points_px", "speed_px", "colours")
        )
        people.append(
            Followed(int(state["state_person"][k]), points, speed, crop, colours, int(state["state_hidden"][k]))
        )
    tracker.state = tuple(people)
    if meter is not None:
        meter.restore(state["state_meter"])


def tracks_from_rows(rows: Rows, info: FilmInfo, focal_px: float, focal_known: bool) -> list[PersonTrack]:
    """Tracks of the persons in the rows, gaps interpolated, the most prominent first. BadInputError for nobody."""
    least = max(2, round(MIN_SEEN_S * info.fps))
    tracks = []
    for person in np.unique(rows.seen["person"]):
        mine = np.flatnonzero(rows.seen["person"] == person)
        if len(mine) >= min(least, len(rows.times_s)):
            tracks.append(_track(int(person), mine, rows, (info.width_px, info.height_px), focal_px, focal_known))
    if not tracks:
        raise BadInputError(
            f"nobody was seen in the film's {len(rows.times_s)} pictures for {MIN_SEEN_S} s or longer; expected a "
            "person who is at least a tenth of the picture's height, lit, and not cut off at the hips"
        )
    tracks.sort(key=_prominence, reverse=True)
    return [replace(track, person=number) for number, track in enumerate(tracks, start=1)]


def _track(
    person: int, mine: NDArray[np.int64], rows: Rows, size: tuple[int, int], focal_px: float, focal_known: bool
) -> PersonTrack:
    at = rows.seen["frame"][mine]
    seen = unflipped({name: rows.seen[name][mine] for name in _COLUMNS[3:]}, rows.times_s[at])
    there = ~lost(seen["points_px"])
    at, seen = at[there], {name: values[there] for name, values in seen.items()}
    frames = np.arange(at[0], at[-1] + 1)
    times = rows.times_s[frames]
    values = {name: _filled(seen[name], rows.times_s[at], times) for name in _COLUMNS[3:]}
    hidden = ~np.isin(frames, at)
    values["confidence"][hidden] = 0.0
    points = values["points_px"]
    turns = None
    if rows.turns is not None:
        # From each frame's camera to the first one's: the first of this person, not of the film.
        turns = np.einsum("ji,tjk->tik", rows.turns[frames[0]], rows.turns[frames]).astype(np.float32)
    return PersonTrack(
        person,
        int(rows.seen["shot"][mine[0]]),
        frames,
        times,
        points,
        values["depth_px"],
        values["world_m"],
        values["confidence"],
        np.concatenate((points.min(axis=1), points.max(axis=1)), axis=1),
        size,
        focal_px,
        focal_known,
        turns,
    )


def _filled(values: NDArray[Any], at_s: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values [N, ...] known at some times, linear between them, at all times."""
    flat = values.reshape(len(values), -1)
    after = np.clip(np.searchsorted(at_s, times_s), 1, max(len(at_s) - 1, 1))
    if len(at_s) == 1:
        return np.repeat(values, len(times_s), axis=0).astype(np.float32)
    low, high = at_s[after - 1], at_s[after]
    share = np.clip((times_s - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)[:, None]
    out = flat[after - 1] * (1.0 - share) + flat[after] * share
    return out.reshape(len(times_s), *values.shape[1:]).astype(np.float32)


def _prominence(track: PersonTrack) -> float:
    """How large, how long and how surely a person is seen; less where they never move: a poster, a figure."""
    sides = np.maximum(track.boxes_px[:, 2:] - track.boxes_px[:, :2], 1.0)
    area = float(np.sqrt(np.prod(sides, axis=1)).mean())
    sure = float(track.confidence.mean())
    return area * sure * int(track.seen.sum()) * (0.1 if is_still(track) else 1.0)


def is_still(track: PersonTrack) -> bool:
    """Whether a person who is seen for two seconds or more never moves: their landmarks stay within their noise."""
    if track.times_s[-1] - track.times_s[0] < 2.0 or track.camera_turn is not None:
        return False
    radius = float(np.linalg.norm(track.boxes_px[:, 2:] - track.boxes_px[:, :2], axis=1).mean())
    spread = np.quantile(track.keypoints_px, (0.1, 0.9), axis=0)
    return bool(np.median(np.linalg.norm(spread[1] - spread[0], axis=-1)) < 0.012 * radius)
