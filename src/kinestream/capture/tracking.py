"""Persons followed from picture to picture, with ids that survive crossing and short occlusion.

Every person's crop moves with them, the detector finds those who are new or were lost, and what was seen is given to
persons at once, by where each was going and what each looks like (Kuhn's assignment): so two who cross do not swap, and
two crops that slid onto one person do not stay there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.assignment import assign
from kinestream.capture.blazepose import Observation, PersonEstimator
from kinestream.capture.crops import Crop, person_crop
from kinestream.capture.landmarks import landmark

FloatArray = NDArray[np.float32]
Picture = NDArray[np.uint8]

MIN_PRESENCE = 0.5
# A new person must be surer than one who is known.
MIN_NEW_SCORE = 0.6
# The detector looks at every fifth picture, and at every second while somebody is missing.
DETECT_EVERY = 5
DETECT_EVERY_MISSING = 2
# A hidden person is waited for this long.
MAX_HIDDEN_S = 2.0
# Distances in radii of a person's circle (half their crop): two observations of one person, and how far somebody can
# be from where they were expected, at once and after each hidden picture.
_SAME_RADII = 0.28
_JUMP_RADII = 0.55
_JUMP_HIDDEN_RADII = 0.12
_MOST_JUMP_RADII = 3.0
_APPEARANCE_WEIGHT = 0.6
_LEAST_LIKENESS = 0.35
_MOST_COST = 10.0
_TRUNK = tuple(landmark(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"))
_KNEES = (landmark("left_knee"), landmark("right_knee"))


@dataclass(frozen=True, eq=False)
class Followed:
    """A person as last seen: landmarks [33, 2], speed [2] in pixels a picture, crop, colours [128], pictures hidden."""

    person: int
    points_px: FloatArray
    speed_px: FloatArray
    crop: Crop
    colours: FloatArray
    hidden: int = 0

    @property
    def radius_px(self) -> float:
        """Half the side of the crop."""
        return 0.5 * self.crop.side_px

    def expected_crop(self) -> Crop:
        """Where to look in the next picture."""
        ahead = self.speed_px * (1 + self.hidden)
        return replace(self.crop, x_px=self.crop.x_px + float(ahead[0]), y_px=self.crop.y_px + float(ahead[1]))


class Tracker:
    """Follows all persons of one shot. `state` is all it remembers; put it back to go on where it stopped."""

    def __init__(self, estimator: PersonEstimator, fps: float) -> None:
        self._estimator = estimator
        self._most_hidden = max(2, round(MAX_HIDDEN_S * fps))
        self.state: tuple[Followed, ...] = ()
        self.next_person = 1
        self.since_detection = DETECT_EVERY

    def forget(self) -> None:
        """A new shot: nobody is known any more."""
        self.state, self.since_detection = (), DETECT_EVERY

    def step(self, rgb: Picture) -> list[tuple[int, Observation]]:
        """The persons seen in the next picture, by id."""
        seen = [(1.0, each) for each in self._followed(rgb)]
        missing = len(seen) < len(self.state) or not self.state
        self.since_detection += 1
        if self.since_detection >= (DETECT_EVERY_MISSING if missing else DETECT_EVERY):
            self.since_detection = 0
            seen += self._detected(rgb, [each for _, each in seen])
        sure = _different([each for _, each in seen])
        scores = {id(each): score for score, each in seen}
        colours = [appearance(rgb, each.points_px) for each in sure]
        costs = np.array([[_cost(person, o, c) for o, c in zip(sure, colours, strict=True)] for person in self.state])
        pairs = assign(costs.reshape(len(self.state), len(sure)), _MOST_COST)
        of_row, of_column = dict(pairs), {column: row for row, column in pairs}
        found, state = [], []
        for row, person in enumerate(self.state):
            if row in of_row:
                observation = sure[of_row[row]]
                alone = _alone(observation, sure)
                state.append(_moved(person, observation, colours[of_row[row]] if alone else person.colours))
                found.append((person.person, observation))
            elif person.hidden < self._most_hidden:
                state.append(replace(person, hidden=person.hidden + 1, speed_px=0.9 * person.speed_px))
        for column, observation in enumerate(sure):
            if column in of_column or scores[id(observation)] < MIN_NEW_SCORE or not _body(observation):
                continue
            if not _alone(observation, [each for _, each in found], 0.45):
                continue
            still = np.zeros(2, np.float32)
            state.append(
                Followed(self.next_person, observation.points_px, still, observation.next_crop, colours[column])
            )
            found.append((self.next_person, observation))
            self.next_person += 1
        self.state = tuple(state)
        return found

    def _followed(self, rgb: Picture) -> list[Observation]:
        seen = []
        for person in self.state:
            if person.hidden == 0:
                observation = self._estimator.observe(rgb, person.expected_crop())
                if _plausible(observation, person.radius_px):
                    seen.append(observation)
        return seen

    def _detected(self, rgb: Picture, seen: Sequence[Observation]) -> list[tuple[float, Observation]]:
        """What the detector finds where nobody was followed to; looked at twice, so that the crop fits the body."""
        fresh = []
        for detection in self._estimator.detect(rgb):
            centre, radius = detection.hips_px, max(detection.radius_px, 1.0)
            if any(np.hypot(*(centre - (o.next_crop.x_px, o.next_crop.y_px))) < 0.35 * radius for o in seen):
                continue
            first = self._estimator.observe(rgb, person_crop(detection.hips_px, detection.end_px))
            if not _plausible(first, radius):
                continue
            second = self._estimator.observe(rgb, first.next_crop)
            if _plausible(second, radius):
                fresh.append((detection.score, second))
        return fresh


def _plausible(observation: Observation, radius_px: float) -> bool:
    """Somebody is there, and of a size that a body can change to between two pictures."""
    ratio = observation.next_crop.side_px / max(2.0 * radius_px, 1.0)
    return observation.presence >= MIN_PRESENCE and 0.4 < ratio < 2.5


def _body(observation: Observation) -> bool:
    """Enough of a body to begin with: a trunk that is seen, or a head and shoulders."""
    confidence = observation.confidence
    return bool(confidence[list(_TRUNK)].mean() > 0.5 or confidence[: _TRUNK[1] + 1].mean() > 0.8)


def distance_radii(a: Observation, b: Observation) -> float:
    """Mean distance of two observations' landmarks, in radii of the smaller one."""
    weight = np.minimum(a.confidence, b.confidence) + 1e-3
    apart = np.linalg.norm(a.points_px - b.points_px, axis=1)
    radius = max(0.5 * min(a.next_crop.side_px, b.next_crop.side_px), 1.0)
    return float((weight * apart).sum() / weight.sum() / radius)


def _different(seen: Sequence[Observation]) -> list[Observation]:
    """Observations of different persons, the surest of each."""
    kept: list[Observation] = []
    for observation in sorted(seen, key=lambda each: -float(each.confidence.mean())):
        if all(distance_radii(observation, other) > _SAME_RADII for other in kept):
            kept.append(observation)
    return kept


def _cost(person: Followed, observation: Observation, colours: FloatArray) -> float:
    """How far from what was expected; _MOST_COST and more where it can't be this person."""
    radius = max(person.radius_px, 1.0)
    allowed = min(_JUMP_RADII + _JUMP_HIDDEN_RADII * person.hidden, _MOST_JUMP_RADII)
    expected = person.points_px + person.speed_px * (1 + person.hidden)
    if person.hidden:
        where = observation.points_px[list(_TRUNK)].mean(0) - expected[list(_TRUNK)].mean(0)
        apart = float(np.linalg.norm(where)) / radius
    else:
        weight = observation.confidence + 1e-3
        apart = float((weight * np.linalg.norm(observation.points_px - expected, axis=1)).sum() / weight.sum()) / radius
    likeness = float(np.minimum(person.colours, colours).sum())
    if apart > allowed or (person.hidden and likeness < _LEAST_LIKENESS):
        return 2.0 * _MOST_COST
    return apart / allowed + _APPEARANCE_WEIGHT * (1.0 - likeness) * 2.0


def _moved(person: Followed, observation: Observation, colours: FloatArray) -> Followed:
    moved = observation.points_px[list(_TRUNK)].mean(0) - person.points_px[list(_TRUNK)].mean(0)
    speed = 0.5 * person.speed_px + 0.5 * moved / (1 + person.hidden)
    learnt = 0.95 * person.colours + 0.05 * colours
    return Followed(person.person, observation.points_px, speed, observation.next_crop, learnt / learnt.sum())


def _alone(observation: Observation, seen: Sequence[Observation], share: float = 0.1) -> bool:
    """No other person's box covers more than `share` of this one's."""
    low, high = bounds(observation.points_px)
    area = max(float(np.prod(high - low)), 1.0)
    for other in seen:
        if other is not observation:
            other_low, other_high = bounds(other.points_px)
            sides = np.minimum(high, other_high) - np.maximum(low, other_low)
            if float(np.prod(np.maximum(sides, 0.0))) > share * area:
                return False
    return True


def bounds(points_px: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Top left and bottom right corner of points [P, 2]."""
    return points_px.min(axis=0), points_px.max(axis=0)


def appearance(rgb: Picture, points_px: FloatArray) -> FloatArray:
    """[128]: shares of 64 colours on the trunk and on the thighs, together 1."""
    across, along = np.meshgrid(np.linspace(0.2, 0.8, 8), np.linspace(0.1, 0.9, 10))
    a, b, c, d = (points_px[k] for k in _TRUNK)
    x, y = across[..., None], along[..., None]
    trunk = (1 - y) * ((1 - x) * a + x * b) + y * ((1 - x) * c + x * d)
    steps = np.linspace(0.1, 0.7, 20)[:, None]
    thighs = np.concatenate(
        [points_px[h] + steps * (points_px[k] - points_px[h]) for h, k in zip(_TRUNK[2:], _KNEES, strict=True)]
    )
    return np.concatenate([0.6 * _shares(rgb, trunk.reshape(-1, 2)), 0.4 * _shares(rgb, thighs)]).astype(np.float32)


def _shares(rgb: Picture, places: NDArray[np.floating]) -> FloatArray:
    height, width = rgb.shape[:2]
    column = np.clip(places[:, 0], 0, width - 1).astype(np.int64)
    row = np.clip(places[:, 1], 0, height - 1).astype(np.int64)
    cells = rgb[row, column].astype(np.int64) // 64
    counts = np.bincount(cells[:, 0] * 16 + cells[:, 1] * 4 + cells[:, 2], minlength=64)
    return np.asarray(counts / counts.sum(), np.float32)
