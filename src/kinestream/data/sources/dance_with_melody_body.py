"""A dancer's body from prepared markers of Dance with Melody: rotations of SMPL-22's joints, and what is left over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from kinestream.data.dance.standing_root import filled
from kinestream.data.sources.dance_with_melody_markers import LEFT, RIGHT, SIDES, Prepared, Side
from kinestream.motion import Motion
from kinestream.rotations import (
    quat_about_axis,
    quat_between,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    quat_slerp,
    quat_unrolled,
)
from kinestream.skeleton import Skeleton, forward_kinematics, smpl22
from kinestream.skeleton.position_ik import (
    bounded_turn,
    flat_foot_offset,
    frame_from_axes,
    hinged_limb,
    joint_centre,
    level_knee,
    named_sideways,
    pitch_offset,
    placed_ankles,
    smoothed,
)

# Which joint's orientation carries each marker, for the residual.
_CARRIER = {
    0: "head", 1: "head", 2: "pelvis", 7: "pelvis", 16: "pelvis", 3: "right_collar", 12: "left_collar",
    4: "right_elbow", 5: "right_elbow", 6: "right_elbow", 22: "right_elbow", 13: "left_elbow", 14: "left_elbow",
    15: "left_elbow", 21: "left_elbow", 8: "right_knee", 17: "left_knee", 9: "right_ankle", 10: "right_ankle",
    11: "right_ankle", 18: "left_ankle", 19: "left_ankle", 20: "left_ankle",
}  # fmt: skip
_ANKLE_TO_TIP_M = 0.18  # of a foot of SMPL's size, from the ankle to the tip of the toes
_UP = torch.tensor((0.0, 1.0, 0.0), dtype=torch.float64)
# Shoulder girdles move freely up to the first of these and hardly beyond the second; heads likewise turn on the chest.
_COLLAR_RAD = (0.25, 0.5)
_HEAD_TWIST_RAD = (0.7, 1.2)
_HEAD_TILT_RAD = (0.5, 0.8)
# The line between the head's two markers is not level when it is not from side to side; it is unknown where it shrinks.
_SLANTED_RAD = 0.2
_SHRUNK = 0.9
_HEAD_SMOOTHING_S = 0.1


@dataclass(frozen=True, eq=False)
class Solved:
    """A dance on the dancer's own proportions and how its head's markers are named.

    `head_swapped`: the two have changed places; `head_pair` says which of two pairs of the head's sides they are on.
    """

    motion: Motion
    head_swapped: Bool[Tensor, " t"]
    head_pair: Bool[Tensor, " t"]


def solve(given: Prepared, fps: float, name: str = "") -> Solved:
    """Rotations of SMPL-22's joints on a skeleton with the dancer's proportions; the floor is near y = 0."""
    return _Solver(given, fps).solve(name)


def residual_mm(solved: Solved, given: Prepared) -> dict[str, float]:
    """How far markers are from where the body carries them (each at its median place on its bone), in millimetres.

    Each take has its own places, and each pair that the head's markers may be on. The mean and 95th percentile over all
    markers and frames, and the worst marker's mean.
    """
    motion, share, markers = solved.motion, given.share, given.markers_m.clone()
    markers[solved.head_swapped, :2] = markers[solved.head_swapped, :2].flip(1)
    positions, world = forward_kinematics(
        motion.skeleton, motion.local_rotations.double(), motion.root_position_m.double()
    )
    errors = []
    for marker, joint_name in _CARRIER.items():
        joint = motion.skeleton.index(joint_name)
        carried = quat_rotate(quat_conjugate(world[:, joint]), markers[:, marker] - positions[:, joint])
        place = torch.zeros_like(carried)
        pairs = [solved.head_pair, ~solved.head_pair] if joint_name == "head" else [torch.ones_like(solved.head_pair)]
        for pair in pairs:
            places = [carried[mask & pair].median(dim=0).values for mask in given.takes if bool((mask & pair).any())]
            if places:
                place[pair] = torch.lerp(places[0], places[-1], share[pair, None])
        errors.append((carried - place).norm(dim=-1) * 1000.0)
    every = torch.stack(errors)
    return {
        "mean": round(float(every.mean()), 1),
        "p95": round(float(every.flatten().sort().values[int(0.95 * (every.numel() - 1))]), 1),
        "worst_marker_mean": round(float(every.mean(dim=1).max()), 1),
    }


class _Solver:
    """One recording's orientations, from the trunk outwards; `world` holds them by joint index.

    What is constant on a body is fitted by take (`_by_take`) and faded where takes are.
    """

    def __init__(self, given: Prepared, fps: float) -> None:
        self.m, self.share, self.takes, self.fps = given.markers_m, given.share, given.takes, fps
        count = len(self.m)
        self.rest = smpl22().offsets_m.double().clone()
        self.index = smpl22().index
        self.world = torch.zeros(count, smpl22().num_joints, 4, dtype=torch.float64)
        self.world[..., 0] = 1.0
        self.at = torch.zeros(count, smpl22().num_joints, 3, dtype=torch.float64)

    def solve(self, name: str) -> Solved:
        self._pelvis()
        self._trunk()
        swapped, pair = self._head()
        for side in SIDES:
            self._arm(side)
        self._legs()
        parents = smpl22().parents
        local = self.world.clone()
        for joint, parent in enumerate(parents[1:], start=1):
            local[:, joint] = quat_multiply(quat_conjugate(self.world[:, parent]), self.world[:, joint])
        skeleton = Skeleton("dancer", smpl22().joint_names, parents, self.rest.float())
        motion = Motion(skeleton, quat_unrolled(local).float(), self.at[:, 0].float(), self.fps, name=name)
        return Solved(motion, swapped, pair)

    def _by_take(self, fit: Callable[[Tensor], Tensor]) -> Tensor:
        """What `fit` finds on each take's frames, for every frame [T, d]; rotations stay unit quaternions."""
        fitted = [fit(mask) for mask in self.takes]
        if len(fitted) == 1:
            return fitted[0].expand(len(self.m), -1)
        if fitted[0].shape[-1] == 4:
            return quat_slerp(fitted[0].expand(len(self.m), 4), fitted[1].expand(len(self.m), 4), self.share)
        return torch.lerp(fitted[0], fitted[1], self.share[:, None])

    def _length(self, bone: Tensor) -> Tensor:
        length: Tensor = bone[self.takes[0]].norm(dim=-1).median()
        return length

    def _between(self, a: int, b: int) -> Tensor:
        return 0.5 * (self.m[:, a] + self.m[:, b])

    def _pelvis(self) -> None:
        m, rest = self.m, self.rest
        middle, shoulders = self._between(RIGHT.hip, LEFT.hip), self._between(RIGHT.shoulder, LEFT.shoulder)
        frame = frame_from_axes(m[:, LEFT.hip] - m[:, RIGHT.hip], m[:, 2] - middle, "xy")
        upwards = quat_rotate(quat_conjugate(frame), shoulders - middle)
        chest = rest[[3, 6, 9]].sum(0) + 0.5 * (rest[13] + rest[16] + rest[14] + rest[17])
        straight = chest - 0.5 * (rest[1] + rest[2])
        pelvis = quat_multiply(frame, self._by_take(lambda mask: pitch_offset(upwards[mask], straight)))
        hips = {}
        for side in SIDES:
            expected = (-0.02 * side.sign, -0.08, -0.02)
            hips[side.name] = self._centre(pelvis, side.hip, side.knee, expected)
        width = float(self._length(hips["left"] - hips["right"]))
        half = 0.5 * (rest[1] + rest[2])
        for joint, sign in ((1, 1.0), (2, -1.0)):
            rest[joint] = torch.stack((half[0] + sign * 0.5 * width, half[1], half[2]))
        self.world[:, 0] = pelvis
        centre = 0.5 * (hips["left"] + hips["right"])
        self.at[:, 0] = centre - quat_rotate(pelvis, half.expand_as(centre))
        for joint in (1, 2):
            self.at[:, joint] = self.at[:, 0] + quat_rotate(pelvis, rest[joint].expand_as(centre))
        self.hips = hips

    def _centre(self, frame: Tensor, marker: int, following: int, expected: tuple[float, float, float]) -> Tensor:
        """A joint's places, from a marker near it and the next joint's marker."""
        at, after = self.m[:, marker], self.m[:, following]
        offset = self._by_take(lambda mask: joint_centre(frame[mask], at[mask], after[mask], expected))
        return at + quat_rotate(frame, offset)

    def _trunk(self) -> None:
        m, rest, world = self.m, self.rest, self.world
        middle = self._between(RIGHT.shoulder, LEFT.shoulder)
        frame = frame_from_axes(m[:, LEFT.shoulder] - m[:, RIGHT.shoulder], middle - m[:, 2], "xy")
        above = quat_rotate(quat_conjugate(frame), quat_rotate(world[:, 0], _UP.expand_as(middle)))
        chest = quat_multiply(frame, self._by_take(lambda mask: pitch_offset(above[mask], _UP)))
        joints = {
            side.name: self._centre(chest, side.shoulder, side.elbow, (-0.01 * side.sign, -0.05, 0.0)) for side in SIDES
        }
        centre = 0.5 * (joints["left"] + joints["right"])
        to_shoulders = 0.5 * (rest[13] + rest[16] + rest[14] + rest[17])
        straight = rest[[3, 6, 9]].sum(0) + to_shoulders
        scale = float((centre - self.at[:, 0])[self.takes[0]].norm(dim=-1).quantile(0.8) / straight.norm())
        for joint in (3, 6, 9, 12, 13, 14):
            rest[joint] *= scale
        to_shoulders = 0.5 * (rest[13] + rest[16] + rest[14] + rest[17])
        middle_turn = quat_slerp(world[:, 0], chest, 0.5)
        self.at[:, 3] = self.at[:, 0] + quat_rotate(world[:, 0], rest[3].expand_as(centre))
        target = centre - quat_rotate(chest, to_shoulders.expand_as(centre)) - self.at[:, 3]
        bone = quat_rotate(middle_turn, (rest[6] + rest[9]).expand_as(centre))
        lower = quat_multiply(quat_between(bone, target), middle_turn)
        world[:, 3], world[:, 6], world[:, 9] = lower, lower, chest
        self.at[:, 6] = self.at[:, 3] + quat_rotate(lower, rest[6].expand_as(centre))
        self.at[:, 9] = self.at[:, 6] + quat_rotate(lower, rest[9].expand_as(centre))
        for side, collar, shoulder in ((LEFT, 13, 16), (RIGHT, 14, 17)):
            self._collar(collar, shoulder, joints[side.name])

    def _collar(self, collar: int, shoulder: int, joint: Tensor) -> None:
        """The collar bone turns by what the shoulder is away from where it usually is on the chest."""
        rest, chest = self.rest, self.world[:, 9]
        seen = quat_rotate(quat_conjugate(chest), joint - self.at[:, 9])
        usual = self._by_take(lambda mask: seen[mask].median(dim=0).values[None])
        rest[shoulder] *= float(usual[0, 0] / (rest[collar] + rest[shoulder])[0])
        rest[collar] = seen[self.takes[0]].median(dim=0).values - rest[shoulder]
        bone = rest[shoulder].expand_as(joint)
        turn = bounded_turn(quat_between(bone, bone + seen - usual), *_COLLAR_RAD)
        self.world[:, collar] = quat_multiply(chest, turn)
        self.at[:, collar] = self.at[:, 9] + quat_rotate(chest, rest[collar].expand_as(joint))
        self.at[:, shoulder] = self.at[:, collar] + quat_rotate(self.world[:, collar], bone)

    def _head(self) -> tuple[Tensor, Tensor]:
        """Neck and head: tilted as the middle of the head's markers moves over the neck, turned as their line turns.

        Neither shows where the head looks: on average, straight ahead. The markers' names change places (all waltzes)
        and change between two pairs of the head's markers, which are told apart by the slant of their line; each pair
        has its own average.
        """
        m, rest, world, chest = self.m, self.rest, self.world, self.world[:, 9]
        neck = self.at[:, 9] + quat_rotate(chest, rest[12].expand_as(self.at[:, 9]))
        line = quat_rotate(quat_conjugate(chest), m[:, 1] - m[:, 0])
        length = line.norm(dim=-1)
        line, swapped = named_sideways(line)
        slant = torch.asin((line[:, 1] / length.clamp_min(1e-6)).clamp(-1.0, 1.0))
        pair = (slant < 0.0) & (float(slant.abs().median()) > _SLANTED_RAD)
        angle = torch.atan2(-line[:, 2], line[:, 0])
        over = quat_rotate(quat_conjugate(chest), self._between(0, 1) - neck)
        known = torch.zeros_like(pair)
        tilt = torch.zeros_like(chest)
        tilt[:, 0] = 1.0
        for mask in (take & side for take in self.takes for side in (pair, ~pair)):
            if not bool(mask.any()):
                continue
            angle[mask] -= angle[mask].median()
            usual = over[mask].median(dim=0).values
            tilt[mask] = quat_between(usual.expand_as(over[mask]), over[mask])
            known |= mask & (length > _SHRUNK * length[mask].median())
        angle = torch.remainder(angle + torch.pi, 2.0 * torch.pi) - torch.pi
        angle = smoothed(filled(angle[:, None], known), _HEAD_SMOOTHING_S * self.fps)[:, 0]
        twist = bounded_turn(quat_about_axis(angle, "Y"), *_HEAD_TWIST_RAD)
        turn = quat_multiply(bounded_turn(tilt, *_HEAD_TILT_RAD), twist)
        world[:, 12] = quat_multiply(chest, quat_slerp(torch.eye(4).double()[:1].expand_as(turn), turn, 0.5))
        world[:, 15] = quat_multiply(chest, turn)
        return swapped, pair

    def _arm(self, side: Side) -> None:
        m, rest = self.m, self.rest
        collar, shoulder, elbow, wrist = (
            self.index(f"{side.name}_{part}") for part in ("collar", "shoulder", "elbow", "wrist")
        )
        hand = m[:, list(side.wrist)].mean(dim=1)
        upper, lower = m[:, side.elbow] - self.at[:, shoulder], hand - m[:, side.elbow]
        hinge = torch.tensor((0.0, -side.sign, 0.0)).double()
        world = hinged_limb(self.world[:, collar], rest[elbow], hinge, upper, lower, self.fps)
        self.world[:, shoulder], self.world[:, elbow] = world
        self.world[:, wrist] = world[1]
        for joint, seen in ((elbow, upper), (wrist, lower)):
            rest[joint] *= float(self._length(seen) / rest[joint].norm())

    def _legs(self) -> None:
        m, rest, world = self.m, self.rest, self.world
        thighs, shins, feet = [], [], []
        for side in SIDES:
            knee, ankle, foot = (self.index(f"{side.name}_{part}") for part in ("knee", "ankle", "foot"))
            feet.append(self._foot(side))
            sideways = torch.tensor((1.0, 0.0, 0.0)).double()
            neutral = quat_rotate(feet[-1], sideways.expand(len(m), 3)) + quat_rotate(
                world[:, 0], sideways.expand(len(m), 3)
            )
            middle = self._knee(side, neutral)
            upper, lower = middle - self.hips[side.name], m[:, side.ankle] - middle
            thigh, shin = hinged_limb(world[:, 0], rest[knee], sideways, upper, lower, self.fps, neutral=neutral)
            for joint, seen in ((knee, upper), (ankle, lower)):
                rest[joint] *= float(self._length(seen) / rest[joint].norm())
            rest[foot] *= float(self._length(m[:, side.toe] - m[:, side.ankle])) / _ANKLE_TO_TIP_M
            thighs.append(thigh)
            shins.append(shin)
        self._place(torch.stack(thighs, 1), torch.stack(shins, 1))
        for foot_turn, side in zip(feet, SIDES, strict=True):
            for part in ("ankle", "foot"):
                world[:, self.index(f"{side.name}_{part}")] = foot_turn

    def _knee(self, side: Side, sideways: Tensor) -> Tensor:
        """The knee's middle: its marker lies beside it."""
        hip, knee, ankle = self.hips[side.name], self.m[:, side.knee], self.m[:, side.ankle]
        beside = self._by_take(lambda mask: level_knee(hip[mask], knee[mask], ankle[mask], sideways[mask]))
        return knee - beside * torch.nn.functional.normalize(sideways, dim=-1)

    def _foot(self, side: Side) -> Tensor:
        ankle, heel, toe = self.m[:, side.ankle], self.m[:, side.heel], self.m[:, side.toe]
        frame = frame_from_axes(toe - heel, ankle - 0.5 * (heel + toe), "zy")
        return quat_multiply(
            frame, self._by_take(lambda mask: flat_foot_offset(frame[mask], heel[mask], toe[mask], self.fps))
        )

    def _place(self, thigh: Tensor, shin: Tensor) -> None:
        """Bend the legs so that the feet are where they were seen."""
        rest, index = self.rest, self.index
        hips = self.at[:, [index("left_hip"), index("right_hip")]]
        bones = (
            rest[[index("left_knee"), index("right_knee")]],
            rest[[index("left_ankle"), index("right_ankle")]],
        )
        thigh, shin = placed_ankles(thigh, shin, bones, hips, self.m[:, [LEFT.ankle, RIGHT.ankle]])
        for k, side in enumerate(SIDES):
            self.world[:, index(f"{side.name}_hip")] = thigh[:, k]
            self.world[:, index(f"{side.name}_knee")] = shin[:, k]
