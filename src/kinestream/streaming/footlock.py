"""Foot locking: standing feet hold still and the body stands on the floor, in a stream and without delay.

The decoder blurs contacts: its bodies stand a centimetre or two too low and their standing feet slide. Frame by frame,
`stance` says which feet stand and where both toes are to be shown; here the legs follow by two-bone inverse kinematics
about hip and knee, and the feet keep their orientation. The model's latents and features stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.features import MOTION272
from kinestream.nn.streaming import select_rows, zero_inactive
from kinestream.skeleton import smpl22
from kinestream.skeleton.foot_placement import NEGLIGIBLE_SHIFT_M
from kinestream.skeleton.humanoid import SIDES
from kinestream.skeleton.leg_arrays import Values, conjugate, dot, multiply, turned_legs, world_transforms
from kinestream.streaming.stance import Carriage, Foot, Leg, Toe, begin_carriage, begin_foot, carried, followed

# A joint may sink this far before the body is lifted: below it nobody sees it, and lifting at 0 would shake with noise.
FLOOR_TOLERANCE_M = 0.01
# The heel is down when the ankle is higher than the toe by less: at rest it is 5 cm.
FLAT_M = 0.06
_CARRIAGE, _FOOT = 8, 19
_DT = 1.0 / MOTION272.fps


class Pose(NamedTuple):
    """Frames of bodies: SMPL-22 local rotations [B, T, 22, 4] (wxyz) and root positions [B, T, 3] in metres."""

    local_rotations: Float[Tensor, "b t 22 4"]
    root_position_m: Float[Tensor, "b t 3"]


class FootLockState(NamedTuple):
    """What is remembered of each row, fp64: body [B, 8] (`Carriage`, then whether it began) and feet [B, 2, 19]."""

    body: Float[Tensor, "b 8"]
    feet: Float[Tensor, "b 2 19"]


class FootLock:
    """Streaming stage on posed frames at 30 fps; rows are independent and it runs on the CPU.

    Chunks of any length give the same motion as the whole, but that the first step looks one frame ahead where it
    has one, to know whether a foot moves.
    """

    def __init__(self) -> None:
        skeleton = smpl22()
        roles = ("hip", "knee", "ankle", "foot")
        legs = np.array([[skeleton.index(f"{side}_{role}") for side in SIDES] for role in roles])
        bones = skeleton.offsets_m[legs[1:3]].norm(dim=-1).sum(dim=0)
        self._skeleton = skeleton
        self._legs, self._bent_joints = legs, legs[:3].reshape(-1)
        self._lengths: list[float] = bones.tolist()
        self._others = np.setdiff1d(np.arange(skeleton.num_joints), legs[3])

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> FootLockState:
        """Before the first frame. Always fp64 on the CPU, where the rule runs: `device` and `dtype` don't count."""
        return FootLockState(
            torch.zeros(batch_size, _CARRIAGE, dtype=torch.float64),
            torch.zeros(batch_size, len(SIDES), _FOOT, dtype=torch.float64),
        )

    def step(
        self, pose: Pose, state: FootLockState, active: Bool[Tensor, " b"] | None = None
    ) -> tuple[Pose, FootLockState]:
        """The next frames with their feet locked; rows where `active` is False keep their state and give zeros."""
        batch, frames, joints = pose.local_rotations.shape[:3]
        local = pose.local_rotations.detach().cpu().double().numpy().reshape(batch * frames, joints, 4)
        roots = pose.root_position_m.detach().cpu().double().numpy().reshape(batch * frames, 3)
        world = world_transforms(self._skeleton, local, roots)
        positions = world[..., :3, 3]
        legs = positions[self._legs].transpose(0, 2, 1, 3)
        hips, _, ankles, toes = legs.reshape(len(legs), batch, frames, len(SIDES), 3).tolist()
        lowest = positions[self._others, :, 1].min(axis=0).reshape(batch, frames).tolist()
        rows = [
            self._row(hip, ankle, toe, low, body, feet)
            for hip, ankle, toe, low, body, feet in zip(
                hips, ankles, toes, lowest, state.body.tolist(), state.feet.tolist(), strict=True
            )
        ]
        shifts = np.array([row.shifts for row in rows]).reshape(batch * frames, len(SIDES), 3)
        bent, knee_heights = self._bent(local, legs, world, shifts)
        places = np.array([row.places for row in rows]).reshape(batch * frames, 3)
        # A leg that is bent may push its knee down, where a body kneels.
        places[:, 1] += np.maximum(-FLOOR_TOLERANCE_M - places[:, 1] - knee_heights, 0.0)
        rotations = pose.local_rotations.clone()
        turned = torch.from_numpy(bent).to(rotations).unflatten(0, (batch, frames))
        rotations[:, :, self._bent_joints] = turned
        shown = Pose(rotations, torch.from_numpy(roots + places).to(rotations).unflatten(0, (batch, frames)))
        after = FootLockState(
            torch.tensor([row.body for row in rows], dtype=torch.float64),
            torch.tensor([row.feet for row in rows], dtype=torch.float64),
        )
        return zero_inactive(active, shown), select_rows(active, after, state)

    def _row(
        self,
        hips: Sequence[Sequence[Sequence[float]]],
        ankles: Sequence[Sequence[Sequence[float]]],
        toes: Sequence[Sequence[Sequence[float]]],
        lowest: Sequence[float],
        body: Sequence[float],
        feet: Sequence[Sequence[float]],
    ) -> _Row:
        carriage, begun = _carriage(body)
        standing = [_foot(foot) for foot in feet]
        before = [_moved(foot.given, carriage.place, -1.0) for foot in standing]
        if not begun:
            ahead = toes[min(1, len(toes) - 1)]
            before = [_moved(now, _moved(after, now, -1.0), -1.0) for now, after in zip(toes[0], ahead, strict=True)]
        places, shifts = [], []
        for hip, ankle, toe, low in zip(hips, ankles, toes, lowest, strict=True):
            given = [
                Toe(now[1], math.dist(now, old) / _DT, heel[1] - now[1] < FLAT_M)
                for now, old, heel in zip(toe, before, ankle, strict=True)
            ]
            if begun:
                carriage = carried(carriage, given, standing, _DT)
            else:
                carriage, begun = begin_carriage(given), True
                standing = [
                    begin_foot(_moved(now, carriage.place), _moved(after, carriage.place), _DT)
                    for now, after in zip(toe, ahead, strict=True)
                ]
            place = carriage.place
            standing = [
                followed(foot, _moved(t, place), Leg(_moved(h, place), _moved(a, place), length), _DT)
                for foot, t, h, a, length in zip(standing, toe, hip, ankle, self._lengths, strict=True)
            ]
            before = [(t[0], t[1], t[2]) for t in toe]
            depth = -min(low + place[1], *(foot.shown[1] for foot in standing))
            places.append((place[0], place[1] + max(depth - FLOOR_TOLERANCE_M, 0.0), place[2]))
            shifts.append([_moved(foot.shown, foot.given, -1.0) for foot in standing])
        return _Row(
            places,
            shifts,
            [*carriage.place, *carriage.rate, carriage.height, 1.0],
            [[value for vector in foot[:6] for value in vector] + [float(foot.stands)] for foot in standing],
        )

    def _bent(self, local: Values, legs: Values, world: Values, shifts: Values) -> tuple[Values, Values]:
        """Local rotations [N, 6, 4] of legs whose ankles are shifted, their feet with them; the lower knee's height."""
        hip, knee, ankle, _ = legs
        # A leg whose ankle stays keeps its rotations bit for bit.
        moved = dot(shifts, shifts)[..., 0] > NEGLIGIBLE_SHIFT_M**2
        rotations = local[:, self._legs[:3]]
        pelvis = np.broadcast_to(local[:, :1], rotations[:, 0].shape)
        thigh = multiply(pelvis, rotations[:, 0])
        shin = multiply(thigh, rotations[:, 1])
        foot = multiply(shin, rotations[:, 2])
        forward = world[self._legs[0], :, :3, 2].transpose(1, 0, 2)
        new_thigh, new_shin, bone = turned_legs(thigh, shin, knee - hip, ankle - knee, shifts, forward)
        parents = np.stack((pelvis, new_thigh, new_shin), axis=1)
        turned = multiply(conjugate(parents), np.stack((new_thigh, new_shin, foot), axis=1))
        rotations = np.where(moved[:, None, :, None], turned, rotations)
        heights = np.where(moved, hip[..., 1] + bone[..., 1], knee[..., 1])
        return rotations.reshape(len(local), -1, 4), heights.min(axis=-1)


class _Row(NamedTuple):
    """One row's frames: where the body is carried (and lifted, where a joint sinks all the same), how far each ankle is
    shifted against it, and the state after them."""

    places: list[tuple[float, float, float]]
    shifts: list[list[tuple[float, float, float]]]
    body: list[float]
    feet: list[list[float]]


def _carriage(row: Sequence[float]) -> tuple[Carriage, bool]:
    return Carriage((row[0], row[1], row[2]), (row[3], row[4], row[5]), row[6]), row[7] > 0.5


def _foot(row: Sequence[float]) -> Foot:
    given, shown, velocity, anchor, gap, rate = ((row[k], row[k + 1], row[k + 2]) for k in range(0, 18, 3))
    return Foot(given, shown, velocity, anchor, gap, rate, row[18] > 0.5)


def _moved(point: Sequence[float], by: Sequence[float], share: float = 1.0) -> tuple[float, float, float]:
    return (point[0] + share * by[0], point[1] + share * by[1], point[2] + share * by[2])
