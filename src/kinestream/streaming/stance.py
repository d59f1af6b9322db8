"""When a foot stands and where it is shown, frame by frame, in plain numbers: no future is needed.

Vectors are (x, y, z) in metres, Y up, the floor at y = 0. All that is remembered from frame to frame is in `Carriage`
and `Foot`. "Given" is what the model decoded, "shown" what leaves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Vector = tuple[float, float, float]

# A toe comes to stand when it is this low and slow, and leaves when it is higher or faster than the second numbers.
STAND_HEIGHT_M, LEAVE_HEIGHT_M = 0.03, 0.05
STAND_SPEED_MPS, LEAVE_SPEED_MPS = 0.35, 0.6
# A standing foot is drawn along where it would be further than this from where it is given; one that comes to stand is
# not further than the second.
DRAWN_M, CATCH_M = 0.08, 0.04
# A foot is let go when its leg falls short of it by this.
SHORT_M = 0.03
# Corrections come and go as a critically damped spring does: after a fifth of a second an eighth is left.
SPRING_PER_S = 18.0
# A leg is straightened to at most this share of its length, harder and harder on the way.
STRETCH = 0.99
# Toes are held above the first height, softly from the second on; a leg lifts its foot for that by at most so much.
SOLE_M, SOLE_SOFT_M = -0.003, 0.002
RAISE_M = 0.1
# The body is carried up at once where a standing toe would sink, and down this slowly, so far, where both would hover.
SETTLE_S = 1.0
LOWERED_M = 0.015
# A body that drifts over two standing feet is carried back this fast, and to where it is given this slowly later.
FOLLOW_PER_S, RETURN_PER_S = 3.0, 1.0


class Carriage(NamedTuple):
    """How far the whole body is carried, how fast that changes, and the height to which it is going."""

    place: Vector
    rate: Vector
    height: float


class Toe(NamedTuple):
    """A toe as it is given: height, speed in metres a second, and whether the heel is down."""

    height: float
    speed: float
    flat: bool


class Leg(NamedTuple):
    """Where a leg's hip and ankle are given, and the leg's length."""

    hip: Vector
    ankle: Vector
    length: float


class Foot(NamedTuple):
    """A foot's toe after a frame.

    `given`, `shown` and its `velocity`; where it stands (`anchor`, only while it `stands`); `gap`, what is left of the
    way from the wanted place to the shown one, and its `rate` a second.
    """

    given: Vector
    shown: Vector
    velocity: Vector
    anchor: Vector
    gap: Vector
    rate: Vector
    stands: bool


def begin_carriage(toes: Sequence[Toe]) -> Carriage:
    """The carriage of a first frame: a body that stands does so on the floor, at once."""
    bearing = [toe for toe in toes if toe.speed < LEAVE_SPEED_MPS and toe.height < LEAVE_HEIGHT_M]
    flat = any(toe.flat for toe in bearing)
    height = max(-min(toe.height for toe in bearing), -LOWERED_M if flat else 0.0) if bearing else 0.0
    return Carriage((0.0, height, 0.0), (0.0, 0.0, 0.0), height)


def carried(now: Carriage, toes: Sequence[Toe], feet: Sequence[Foot], dt: float) -> Carriage:
    """The carriage of the next frame, from its toes and from the feet of the frame before."""
    height = now.height
    bearing = [toe for toe in toes if toe.speed < LEAVE_SPEED_MPS and toe.height + now.place[1] < LEAVE_HEIGHT_M]
    if bearing:
        need = max(-min(toe.height for toe in bearing), -LOWERED_M)
        if need > height:
            height = need
        elif any(toe.flat for toe in bearing):
            # Rolling over raised toes is no hovering.
            height = need + (height - need) * math.exp(-dt / SETTLE_S)
    pull_x, pull_z, spring = -now.place[0], -now.place[2], RETURN_PER_S
    if all(foot.stands for foot in feet):
        pull_x = sum(foot.anchor[0] - foot.given[0] for foot in feet) / len(feet)
        pull_z = sum(foot.anchor[2] - foot.given[2] for foot in feet) / len(feet)
        spring = FOLLOW_PER_S
    x, rate_x = _faded(-pull_x, now.rate[0], spring, dt)
    y, rate_y = _faded(now.place[1] - height, now.rate[1], SPRING_PER_S, dt)
    z, rate_z = _faded(-pull_z, now.rate[2], spring, dt)
    place = (now.place[0] + pull_x + x, height + y, now.place[2] + pull_z + z)
    return Carriage(place, (rate_x, rate_y, rate_z), height)


def begin_foot(given: Vector, after: Vector, dt: float) -> Foot:
    """The foot before a first frame in which its toe is at `given`, going to `after`: it came as it goes."""
    moves = _minus(after, given)
    before = _minus(given, moves)
    velocity = (moves[0] / dt, moves[1] / dt, moves[2] / dt)
    return Foot(before, _wanted(before, before, False), velocity, before, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), False)


def followed(foot: Foot, given: Vector, leg: Leg, dt: float) -> Foot:
    """The foot in the next frame, in which its toe is given there."""
    anchor = _rest(foot) if not foot.stands else foot.anchor
    stands = _stays(foot, given, dt) if foot.stands else _catches(foot, given, anchor, dt)
    apart = _apart(anchor, given)
    if stands and apart > DRAWN_M:
        anchor = _plus(given, _minus(anchor, given), DRAWN_M / apart)
    gap, rate = foot.gap, foot.rate
    before, wanted = _wanted(foot.given, anchor, stands), _wanted(given, anchor, stands)
    if stands != foot.stands:
        # Go on from where the foot is and as it moves, whatever is wanted from now on.
        gap = _minus(foot.shown, before)
        rate = _plus(foot.velocity, _minus(wanted, before), -1.0 / dt)
    faded = [_faded(g, r, SPRING_PER_S, dt) for g, r in zip(gap, rate, strict=True)]
    gap, rate = (faded[0][0], faded[1][0], faded[2][0]), (faded[0][1], faded[1][1], faded[2][1])
    goal = _plus(wanted, gap, 1.0)
    shown = _reached(given, (goal[0], max(goal[1], min(SOLE_M, wanted[1])), goal[2]), leg)
    moves = _minus(shown, foot.shown)
    return Foot(given, shown, (moves[0] / dt, moves[1] / dt, moves[2] / dt), anchor, gap, rate, stands)


def above_floor(height: float) -> float:
    """A height kept from sinking: unchanged above the sole's soft height, never under its hard one."""
    if height >= SOLE_SOFT_M:
        return height
    room = SOLE_SOFT_M - SOLE_M
    return min(SOLE_M + room * math.exp((height - SOLE_SOFT_M) / room), height + RAISE_M)


def _stays(foot: Foot, given: Vector, dt: float) -> bool:
    slow = math.dist(given, foot.given) < LEAVE_SPEED_MPS * dt
    short = math.hypot(foot.anchor[0] + foot.gap[0] - foot.shown[0], foot.anchor[2] + foot.gap[2] - foot.shown[2])
    return slow and given[1] < LEAVE_HEIGHT_M and short < SHORT_M


def _catches(foot: Foot, given: Vector, anchor: Vector, dt: float) -> bool:
    slow = math.dist(given, foot.given) < STAND_SPEED_MPS * dt
    return slow and given[1] < STAND_HEIGHT_M and _apart(anchor, given) < CATCH_M


def _rest(foot: Foot) -> Vector:
    """Where a foot that is shown moving comes to rest by itself."""
    return _plus(foot.shown, foot.velocity, 1.0 / SPRING_PER_S)


def _wanted(given: Vector, anchor: Vector, stands: bool) -> Vector:
    height = above_floor(given[1])
    return (anchor[0], height, anchor[2]) if stands else (given[0], height, given[2])


def _reached(given: Vector, goal: Vector, leg: Leg) -> Vector:
    """Where the toe comes to on the way to `goal` when the ankle goes along and the leg keeps its length."""
    ankle = _plus(leg.ankle, _minus(goal, given), 1.0)
    reach, now = math.dist(ankle, leg.hip), math.dist(leg.ankle, leg.hip)
    if reach <= now:
        return goal
    room = max(STRETCH * leg.length - now, 1e-4)
    back = (now + room * (1.0 - math.exp((now - reach) / room))) / reach - 1.0
    return _plus(goal, _minus(ankle, leg.hip), back)


def _faded(gap: float, rate: float, spring_per_s: float, dt: float) -> tuple[float, float]:
    """A critically damped spring's next gap and rate, exactly."""
    decay, pull = math.exp(-spring_per_s * dt), rate + spring_per_s * gap
    return (gap + pull * dt) * decay, (rate - spring_per_s * pull * dt) * decay


def _apart(a: Vector, b: Vector) -> float:
    """Distance on the ground."""
    return math.hypot(a[0] - b[0], a[2] - b[2])


def _minus(a: Vector, b: Vector) -> Vector:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


def _plus(a: Vector, b: Vector, share: float) -> Vector:
    return (a[0] + share * b[0], a[1] + share * b[1], a[2] + share * b[2])
