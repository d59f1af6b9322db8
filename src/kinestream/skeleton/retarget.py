"""Carry a motion from one humanoid skeleton to another, through world orientations and rest poses.

For every joint the source's turn away from its rest pose, in the world, is applied to the target's rest pose; limb bones
take the source's directions exactly. Spine and neck chains of different lengths are resampled along the chain. The root
follows the hips' centre, scaled by leg length, and is set so that standing feet stand on the floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.rotations import quat_between, quat_conjugate, quat_multiply, quat_rotate, quat_slerp, quat_unrolled
from kinestream.skeleton.bone_names import BoneMap, bone_map
from kinestream.skeleton.foot_placement import shift_ankles, toe_anchor_shift
from kinestream.skeleton.rest_pose import LIMB_BONES, HumanoidRig, humanoid_rig
from kinestream.skeleton.retarget_report import RetargetReport, measure_retarget
from kinestream.skeleton.skeleton import Skeleton, forward_kinematics

Floor = Literal["contacts", "rest"]

# An ankle stands when it moves slower than this share of the leg length per second.
_STANCE_LEGS_PER_S = 0.2
# Toes higher than this share of the leg length are not held in place; below, the hold fades in.
_TOE_FADE_LEGS = 0.1
_LEG_PARTS = ("hip", "knee", "ankle", "foot")


class _MotionFields(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]
    skeleton: Skeleton
    local_rotations: Tensor
    root_position_m: Tensor
    fps: float
    joint_translations_m: Tensor | None


AnyMotion = TypeVar("AnyMotion", bound=_MotionFields)


def retarget(
    motion: AnyMotion,
    target_skeleton: Skeleton,
    *,
    source_map: Mapping[str, str] | None = None,
    target_map: Mapping[str, str] | None = None,
    floor: Floor = "contacts",
) -> tuple[AnyMotion, RetargetReport]:
    """The same movement on another humanoid skeleton, with a report of what was matched and how well.

    `source_map` and `target_map` name bones by hand ({"their bone": "smpl22 joint"}); otherwise names are recognised.
    The result keeps the target's names, rest pose and bone lengths; bones without a counterpart stay at rest.
    `floor`: "contacts" finds the height of standing ankles in the recording where the family does not fix it, "rest"
    trusts the rest pose. Raises BadInputError when bones or rest poses cannot be found.
    """
    source = humanoid_rig(
        motion.skeleton, bone_map(motion.skeleton, source_map), offsets_m=_recorded_offsets(motion)
    )
    target = humanoid_rig(target_skeleton, bone_map(target_skeleton, target_map))
    return Retargeter(source, target)(motion, floor=floor)


def _recorded_offsets(motion: _MotionFields) -> Tensor | None:
    extra = motion.joint_translations_m
    return None if extra is None else extra.median(dim=0).values


@dataclass(frozen=True, eq=False)
class Retargeter:
    """Retargets many motions between the same two rigs; calibration is done once."""

    source: HumanoidRig
    target: HumanoidRig

    @cached_property
    def scale(self) -> float:
        """Target leg length over source leg length."""
        return self.target.leg_length_m / self.source.leg_length_m

    @cached_property
    def _drivers(self) -> dict[int, tuple[int, int, float]]:
        """Per driven target joint: two source joints and the weight of the second."""
        drivers: dict[int, tuple[int, int, float]] = {}
        source, target = self.source, self.target
        for role, joint in target.joint_of.items():
            driver = _source_joint(source, role)
            drivers[joint] = (driver, driver, 0.0)
        drivers |= _chain_drivers(_spine_places(source), _spine_places(target))
        if target.head_chain:
            places = _head_places(source) or {source.spine_chain[-1]: 0.0}
            drivers |= _chain_drivers(places, _head_places(target))
        return dict(sorted(drivers.items()))

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        source, target = self.source, self.target
        joints = list(self._drivers)
        driven = set(joints)
        corrections = torch.zeros(target.skeleton.num_joints, 4, dtype=torch.float64)
        corrections[:, 0] = 1.0
        for role, joint in target.joint_of.items():
            correction = self._rest_correction(role)
            if correction is not None:
                corrections[joint] = correction
        after = quat_multiply(corrections, target.rest_world)
        first, second, weight = (list(column) for column in zip(*self._drivers.values(), strict=True))
        blended = [k for k, w in enumerate(weight) if w > 0.0]
        anchors = []
        for joint in joints:
            parent = target.skeleton.parents[joint]
            while parent >= 0 and parent not in driven:
                parent = target.skeleton.parents[parent]
            anchors.append(joints.index(parent) if parent >= 0 else len(joints))
        undo_rest = quat_conjugate(source.rest_world)
        return {
            "joints": torch.tensor(joints),
            "first": torch.tensor(first),
            "before": undo_rest[first].float(),
            "blended": torch.tensor(blended, dtype=torch.long),
            "second": torch.tensor(second)[blended],
            "second_before": undo_rest[second].float()[blended],
            "weight": torch.tensor(weight, dtype=torch.float32)[blended],
            "after": after[joints].float(),
            "anchors": torch.tensor(anchors),
            "source_up": source.world_to_y_up.float(),
            "target_down": quat_conjugate(target.world_to_y_up).float(),
        }

    def _rest_correction(self, role: str) -> Tensor | None:
        """Turns the target's rest bone to the direction that the source's has at rest; hands follow their forearm."""
        if role.endswith("_wrist"):
            return self._rest_correction(role.replace("_wrist", "_elbow"))
        if role not in LIMB_BONES:
            return None
        ours, theirs = self.target.bone_direction(role), self.source.bone_direction(role)
        return None if ours is None or theirs is None else quat_between(ours, theirs)

    def __call__(self, motion: AnyMotion, *, floor: Floor = "contacts") -> tuple[AnyMotion, RetargetReport]:
        """Retarget one motion of the source rig's skeleton."""
        source_positions, source_world = forward_kinematics(
            motion.skeleton, motion.local_rotations, motion.root_position_m, motion.joint_translations_m
        )
        tensors = self._tensors
        turn = quat_multiply(source_world[:, tensors["first"]], tensors["before"])
        if len(tensors["blended"]):
            other = quat_multiply(source_world[:, tensors["second"]], tensors["second_before"])
            turn[:, tensors["blended"]] = quat_slerp(turn[:, tensors["blended"]], other, tensors["weight"])
        world = quat_multiply(quat_multiply(tensors["source_up"], turn), tensors["after"])
        up_positions = quat_rotate(tensors["source_up"], source_positions)
        pelvis_world = world[:, list(self._drivers).index(self.target.joint_of["pelvis"])]
        pelvis = self._pelvis_position(up_positions, quat_multiply(tensors["source_up"], source_world), pelvis_world)
        ankle_height = self._source_ankle_height(up_positions, motion.fps, floor)
        pelvis[:, 1] += self.target.ankle_height_m - self.scale * ankle_height
        world = self._placed_feet(world, up_positions, ankle_height)
        result = self._assemble(motion, world, pelvis)
        return result, measure_retarget(self.source, self.target, up_positions, self._up_positions(result), self.scale)

    @cached_property
    def _legs(self) -> dict[str, Tensor] | None:
        """Rows of both legs among the driven joints, their bones at identity and the feet's difference in shape."""
        roles = [f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "foot")]
        source, target = self.source, self.target
        if not all(role in source.joint_of and role in target.joint_of for role in roles):
            return None
        rows = list(self._drivers)
        legs = {part: [target.joint_of[f"{side}_{part}"] for side in ("left", "right")] for part in _LEG_PARTS}

        def bone(rig: HumanoidRig, start: str, end: str) -> Tensor:
            joint, position = rig.joint_of, rig.rest_positions_m
            return torch.stack([position[joint[f"{s}_{end}"]] - position[joint[f"{s}_{start}"]] for s in ("left", "right")])

        def own(start: str, end: str) -> Tensor:
            undo = quat_conjugate(target.rest_world[legs[start]])
            return quat_rotate(undo, bone(target, start, end)).float()

        return {
            **{part: torch.tensor([rows.index(j) for j in legs[part]]) for part in _LEG_PARTS},
            "thigh_bone": own("hip", "knee"),
            "shin_bone": own("knee", "ankle"),
            "undo_foot": quat_conjugate(target.rest_world[legs["ankle"]]).float(),
            "source_toes": torch.tensor([source.joint_of[f"{s}_foot"] for s in ("left", "right")]),
            "source_toe_drop": -bone(source, "ankle", "foot")[:, 1].float(),
            "difference": (bone(target, "ankle", "foot") - self.scale * bone(source, "ankle", "foot")).float(),
        }

    def _placed_feet(self, world: Tensor, source_positions: Tensor, ankle_height_m: float) -> Tensor:
        legs = self._legs
        if legs is None or float(legs["difference"].abs().max()) < 1e-3:
            return world
        toe_height = source_positions[:, legs["source_toes"], 1] - (ankle_height_m - legs["source_toe_drop"])
        planted = (1.0 - toe_height / (_TOE_FADE_LEGS * self.source.leg_length_m)).clamp(0.0, 1.0)
        weight = planted**2 * (3.0 - 2.0 * planted)
        thigh, shin = world[:, legs["hip"]], world[:, legs["knee"]]
        shift = toe_anchor_shift(quat_multiply(world[:, legs["ankle"]], legs["undo_foot"]), legs["difference"])
        thigh_bone, shin_bone = quat_rotate(thigh, legs["thigh_bone"]), quat_rotate(shin, legs["shin_bone"])
        thigh, shin = shift_ankles(thigh, shin, thigh_bone, shin_bone, shift * weight[..., None])
        world[:, legs["hip"]], world[:, legs["knee"]] = thigh, shin
        return world

    def _pelvis_position(self, positions: Tensor, world: Tensor, pelvis_world: Tensor) -> Tensor:
        joint = self.source.joint_of["pelvis"]
        centre = positions[:, joint] + quat_rotate(world[:, joint], self.source.hip_centre_m.float())
        return self.scale * centre - quat_rotate(pelvis_world, self.target.hip_centre_m.float())

    def _source_ankle_height(self, positions: Tensor, fps: float, floor: Floor) -> float:
        if floor == "rest" or self.source.standing_is_known or positions.shape[0] < 2:
            return self.source.ankle_height_m
        ankles = positions[:, [self.source.joint_of["left_ankle"], self.source.joint_of["right_ankle"]]]
        speed = torch.gradient(ankles, dim=0)[0].norm(dim=-1) * fps
        height = ankles[..., 1]
        low = height.quantile(0.1) + 0.1 * self.source.leg_length_m
        standing = height[(speed < _STANCE_LEGS_PER_S * self.source.leg_length_m) & (height < low)]
        return float(standing.median()) if len(standing) >= 3 else self.source.ankle_height_m

    def _up_positions(self, motion: _MotionFields) -> Tensor:
        positions, _ = forward_kinematics(
            motion.skeleton, motion.local_rotations, motion.root_position_m, motion.joint_translations_m
        )
        return quat_rotate(self.target.world_to_y_up.float(), positions)

    def _assemble(self, motion: AnyMotion, world: Tensor, pelvis: Tensor) -> AnyMotion:
        tensors, skeleton, frames = self._tensors, self.target.skeleton, world.shape[0]
        world = quat_multiply(tensors["target_down"], world)
        pelvis = quat_rotate(tensors["target_down"], pelvis)
        still = world.new_tensor((1.0, 0.0, 0.0, 0.0))
        padded = torch.cat((world, still.expand(frames, 1, 4)), dim=1)
        local = still.expand(frames, skeleton.num_joints, 4).clone()
        local[:, tensors["joints"]] = quat_multiply(quat_conjugate(padded[:, tensors["anchors"]]), world)
        joint = self.target.joint_of["pelvis"]
        translations = None
        root = pelvis
        if joint != 0:
            root = skeleton.offsets_m[0].expand(frames, 3).clone()
            parent_position, above = torch.zeros(3), skeleton.parents[joint]
            while above >= 0:
                parent_position = parent_position + skeleton.offsets_m[above]
                above = skeleton.parents[above]
            translations = skeleton.offsets_m.expand(frames, -1, -1).clone()
            translations[:, joint] = pelvis - parent_position
        return replace(
            motion,
            skeleton=skeleton,
            local_rotations=quat_unrolled(local),
            root_position_m=root,
            joint_translations_m=translations,
        )


def _source_joint(source: HumanoidRig, role: str) -> int:
    """The source joint that drives a role; where there is none, the nearest one towards the pelvis."""
    fallback = {"wrist": "elbow", "foot": "ankle"}
    if role in source.joint_of:
        return source.joint_of[role]
    side, _, part = role.partition("_")
    if part in fallback:
        return _source_joint(source, f"{side}_{fallback[part]}")
    return source.spine_chain[-1]


def _spine_places(rig: HumanoidRig) -> dict[int, float]:
    """Where the middle of each spine bone lies between the pelvis' (0) and the chest's (1)."""
    chain, position = rig.spine_chain, rig.rest_positions_m
    if len(chain) == 1:
        return {chain[0]: 0.0}
    top = position[rig.head_chain[0]] if rig.head_chain else (
        position[rig.joint_of["left_shoulder"]] + position[rig.joint_of["right_shoulder"]]
    ) / 2.0
    points = [*(position[j] for j in chain), top]
    ends = torch.tensor([0.0, *(float((b - a).norm()) for a, b in zip(points, points[1:], strict=False))]).cumsum(0)
    middles = (ends[:-1] + ends[1:]) / 2.0
    span = float(middles[-1] - middles[0])
    if span < 1e-6:
        return {joint: k / (len(chain) - 1) for k, joint in enumerate(chain)}
    return {joint: float(m - middles[0]) / span for joint, m in zip(chain, middles, strict=True)}


def _head_places(rig: HumanoidRig) -> dict[int, float]:
    """Where each neck joint lies between the first (0) and the head (1); a lone joint counts as the head."""
    chain, position = rig.head_chain, rig.rest_positions_m
    if len(chain) < 2:
        return dict.fromkeys(chain, 1.0)
    lengths = [float((position[b] - position[a]).norm()) for a, b in zip(chain, chain[1:], strict=False)]
    total = sum(lengths)
    if total < 1e-6:
        return {joint: k / (len(chain) - 1) for k, joint in enumerate(chain)}
    return {joint: sum(lengths[:k]) / total for k, joint in enumerate(chain)}


def _chain_drivers(source: Mapping[int, float], target: Mapping[int, float]) -> dict[int, tuple[int, int, float]]:
    """For each target place the two source joints around it and the weight of the upper one."""
    joints, places = list(source), list(source.values())
    drivers = {}
    for joint, place in target.items():
        k = next((i for i, p in enumerate(places) if p >= place - 1e-6), len(places) - 1)
        low = max(k - 1, 0)
        gap = places[k] - places[low]
        weight = (place - places[low]) / gap if gap > 1e-6 else 0.0
        if weight > 1.0 - 1e-6:
            low, weight = k, 0.0
        drivers[joint] = (joints[low], joints[k], max(weight, 0.0))
    return drivers
