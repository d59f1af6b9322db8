"""Carry a motion from one humanoid skeleton to another, through world orientations and rest poses.

For every joint the source's turn away from its rest pose, in the world, is applied to the target's rest pose; limb
bones take the source's directions exactly. Spine and neck chains of different lengths are resampled along the chain.
The root follows the hips' centre, scaled by leg length, and is set so that standing feet stand on the floor; there a
longer or flatter foot moves its ankle instead of going through the floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.rotations import quat_conjugate, quat_multiply, quat_rotate, quat_slerp, quat_unrolled
from kinestream.skeleton.bone_finding import bone_map
from kinestream.skeleton.foot_placement import FootPlacement, level_standing_feet, standing_feet
from kinestream.skeleton.humanoid import SIDES, HumanoidRig
from kinestream.skeleton.joint_drivers import joint_drivers, rest_corrections
from kinestream.skeleton.rest_pose import Recording, humanoid_rig, known_rig
from kinestream.skeleton.retarget_report import RetargetReport, measure_retarget
from kinestream.skeleton.skeleton import Skeleton, forward_kinematics

Floor = Literal["contacts", "rest"]

# Recorded bone lengths that differ by less are those of the skeleton.
_SAME_LENGTH_M = 1e-4
# So many standing feet (and this share of them) are needed to say where the floor is; a floor this near to the rest
# pose's is that. The lowest level counts: who steps up and stays there has not raised the floor.
_MIN_STANDING = 3
_FEW_STANDING = 0.02
_SAME_LEVEL_LEGS = 0.03
_SAME_FLOOR_LEGS = 0.008
# Feet of a lone pose that are higher than this are in the air; a body that never stands and is this deep has sunk in.
_IN_THE_AIR_LEGS = 0.25
_SUNK_LEGS = 0.1


class _MotionFields(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def skeleton(self) -> Skeleton: ...
    @property
    def local_rotations(self) -> Tensor: ...
    @property
    def root_position_m(self) -> Tensor: ...
    @property
    def joint_translations_m(self) -> Tensor | None: ...
    @property
    def fps(self) -> float: ...


AnyMotion = TypeVar("AnyMotion", bound=_MotionFields)


def retarget(
    motion: AnyMotion,
    target_skeleton: Skeleton,
    *,
    source_map: Mapping[str, str] | None = None,
    target_map: Mapping[str, str] | None = None,
    target_example: Recording | None = None,
    floor: Floor = "contacts",
) -> tuple[AnyMotion, RetargetReport]:
    """The same movement on another humanoid skeleton, with a report of what was matched and how well.

    `source_map` and `target_map` name bones by hand ({"their bone": "smpl22 joint"}); otherwise names are recognised.
    `target_example` is any recording on the target's skeleton; it is looked at when neither zero rotations nor names
    tell how that skeleton's bones lie in a T-pose. The result keeps the target's names, rest pose and bone lengths;
    bones without a counterpart stay at rest. `floor`: "contacts" finds the height of standing ankles in the recording
    where the family does not fix it, "rest" trusts the rest pose.
    Raises BadInputError when bones or rest poses cannot be found.
    """
    if floor not in ("contacts", "rest"):
        raise BadInputError(f"floor is 'contacts' or 'rest', got {floor!r}")
    key = _rig_key(motion, source_map)
    retargeter = _known_retargeter(key, target_skeleton, _pairs(target_map))
    if retargeter is None:
        source_bones = bone_map(motion.skeleton, source_map, offsets_m=key.offsets())
        source = humanoid_rig(motion.skeleton, source_bones, offsets_m=key.offsets(), example=motion)
        target = humanoid_rig(target_skeleton, bone_map(target_skeleton, target_map), example=target_example)
        retargeter = Retargeter(source, target)
    return retargeter(motion, floor=floor)


class _RigKey(NamedTuple):
    """All of a source skeleton that calibration depends on, hashable."""

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_m: tuple[float, ...]
    end_sites: tuple[tuple[str, tuple[float, float, float]], ...]
    bone_map: tuple[tuple[str, str], ...] | None

    def offsets(self) -> Float[Tensor, "j 3"]:
        return torch.tensor(self.offsets_m, dtype=torch.float64).reshape(-1, 3)


def _pairs(user_map: Mapping[str, str] | None) -> tuple[tuple[str, str], ...] | None:
    return None if user_map is None else tuple(user_map.items())


def _rig_key(motion: _MotionFields, source_map: Mapping[str, str] | None) -> _RigKey:
    skeleton, extra = motion.skeleton, motion.joint_translations_m
    offsets = skeleton.offsets_m
    if extra is not None:
        recorded = extra.median(dim=0).values
        differs = ((recorded - offsets).abs().amax(dim=-1, keepdim=True) > _SAME_LENGTH_M) & _below_hips(skeleton)
        offsets = torch.where(differs, recorded, offsets)
    offsets = torch.where(_below_hips(skeleton), offsets, torch.zeros_like(offsets))
    return _RigKey(
        skeleton.joint_names,
        skeleton.parents,
        tuple(offsets.flatten().tolist()),
        tuple((name, (x, y, z)) for name, (x, y, z) in skeleton.end_sites.items()),
        _pairs(source_map),
    )


def _below_hips(skeleton: Skeleton) -> Tensor:
    """Joints from which more than one chain hangs, and all below: where they start does not shape the body."""
    counts = [0] * skeleton.num_joints
    below = [False] * skeleton.num_joints
    for parent in skeleton.parents[1:]:
        counts[parent] += 1
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        below[joint] = below[parent] or counts[parent] > 1
    return torch.tensor(below)[:, None]


@lru_cache(maxsize=16)
def _known_retargeter(
    key: _RigKey, target_skeleton: Skeleton, target_map: tuple[tuple[str, str], ...] | None
) -> Retargeter | None:
    """A calibrated retargeter where both rest poses are known without a recording; None otherwise."""
    skeleton = Skeleton("source", key.joint_names, key.parents, key.offsets().float(), dict(key.end_sites))
    source = known_rig(skeleton, bone_map(skeleton, None if key.bone_map is None else dict(key.bone_map)))
    target = known_rig(target_skeleton, bone_map(target_skeleton, None if target_map is None else dict(target_map)))
    return None if source is None or target is None else Retargeter(source, target)


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
    def _calibration(self) -> _Calibration:
        return _calibration(self.source, self.target)

    @cached_property
    def _placement(self) -> FootPlacement:
        return FootPlacement.between(self.source, self.target)

    def __call__(self, motion: AnyMotion, *, floor: Floor = "contacts") -> tuple[AnyMotion, RetargetReport]:
        """Retarget one motion of the source rig's skeleton."""
        given_positions, given_world = forward_kinematics(
            motion.skeleton, motion.local_rotations, motion.root_position_m, motion.joint_translations_m
        )
        calibration = self._calibration
        positions = quat_rotate(calibration.source_up, given_positions)
        world = quat_multiply(calibration.source_up, given_world)
        standing = standing_feet(positions, self.source, self.source.leg_length_m, motion.fps)
        ankle_height = self._source_ankle_height(positions, standing, floor)
        turn = self._turns(world, standing)
        result = quat_multiply(turn, calibration.after)
        pelvis = self._pelvis_position(positions, world, result)
        pelvis[:, 1] += self.target.ankle_height_m - self.scale * ankle_height
        padded = result.new_zeros(result.shape[0], self.target.skeleton.num_joints, 4)
        padded[:, calibration.joints] = result
        self._placement.apply(padded, pelvis, turn[:, calibration.feet], positions, ankle_height)
        result = padded[:, calibration.joints]
        moved = self._assemble(motion, result, pelvis)
        poses = (positions, world), self._pose(moved)
        report = measure_retarget(self.source, self.target, *poses, self.scale, calibration.target_rest)
        return moved, report

    def _turns(self, world: Float[Tensor, "t j 4"], standing: Tensor) -> Float[Tensor, "t d 4"]:
        """World turns away from rest for every driven target joint."""
        c = self._calibration
        turn = quat_multiply(world[:, c.first], c.before)
        if len(c.blended):
            other = quat_multiply(world[:, c.second], c.second_before)
            turn[:, c.blended] = quat_slerp(turn[:, c.blended], other, c.weight)
        if not self.source.exact:
            for rows in (c.feet, c.toes):
                if len(rows) == len(SIDES):
                    turn[:, rows] = level_standing_feet(turn[:, rows], standing)
        return turn

    def _pelvis_position(self, positions: Tensor, world: Tensor, result: Tensor) -> Float[Tensor, "t 3"]:
        joint = self.source.joint_of["pelvis"]
        centre = positions[:, joint] + quat_rotate(world[:, joint], self.source.hip_centre_m.float())
        return self.scale * centre - quat_rotate(result[:, self._calibration.pelvis], self.target.hip_centre_m.float())

    def _source_ankle_height(self, positions: Tensor, standing: Tensor, floor: Floor) -> float:
        """How high ankles are that stand on the floor, in the source's world: the lowest floor that feet stand on."""
        rig, resting = self.source, self.source.ankle_height_m
        if floor == "rest" or rig.standing_is_known:
            return resting
        levels = self._floor_levels(positions)
        leg = rig.leg_length_m
        if len(levels) == 1:
            found = float(levels.min())
            return resting + found if found < _IN_THE_AIR_LEGS * leg else resting
        if int(standing.sum()) < _MIN_STANDING:
            lowest = float(levels.quantile(0.05))
            return resting + lowest if lowest < -_SUNK_LEGS * leg else resting
        levels = levels[standing].sort().values
        first = levels[min(len(levels) - 1, max(_MIN_STANDING, int(_FEW_STANDING * len(levels))) - 1)]
        found = float(levels[levels <= first + _SAME_LEVEL_LEGS * leg].median())
        return resting if abs(found) < _SAME_FLOOR_LEGS * leg else resting + found

    def _floor_levels(self, positions: Tensor) -> Float[Tensor, "t 2"]:
        """Height of the floor for each foot if it stood on its lowest part: heel or toes, where both are known."""
        rig, rest = self.source, self.source.rest_positions_m[:, 1].float()
        ankles = [rig.joint_of[f"{side}_ankle"] for side in SIDES]
        ground = rest[ankles].mean() - rig.ankle_height_m
        levels = positions[:, ankles, 1] - (rest[ankles] - ground)
        toes = [rig.joint_of[role] for role in ("left_foot", "right_foot") if role in rig.joint_of]
        if len(toes) == len(SIDES) and rig.feet_are_flat:
            levels = torch.minimum(levels, positions[:, toes, 1] - (rest[toes] - ground))
        return levels

    def _pose(self, motion: _MotionFields) -> tuple[Float[Tensor, "t k 3"], Float[Tensor, "t k 4"]]:
        positions, world = forward_kinematics(
            motion.skeleton, motion.local_rotations, motion.root_position_m, motion.joint_translations_m
        )
        up = self.target.world_to_y_up.float()
        return quat_rotate(up, positions), quat_multiply(up, world)

    def _assemble(self, motion: AnyMotion, world: Tensor, pelvis: Tensor) -> AnyMotion:
        """The result on the target's skeleton, in the target's world; joints that nothing drives stay at rest."""
        c, skeleton, frames = self._calibration, self.target.skeleton, world.shape[0]
        world, pelvis = quat_multiply(c.target_down, world), quat_rotate(c.target_down, pelvis)
        still = world.new_tensor((1.0, 0.0, 0.0, 0.0))
        anchors = torch.cat((world, still.expand(frames, 1, 4)), dim=1)[:, c.anchors]
        local = still.expand(frames, skeleton.num_joints, 4).clone()
        local[:, c.joints] = quat_multiply(quat_conjugate(anchors), world)
        root, translations, joint = pelvis, None, self.target.joint_of["pelvis"]
        if joint != 0:
            root = skeleton.offsets_m[0].expand(frames, 3).clone()
            above, parent_position = skeleton.parents[joint], torch.zeros(3)
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


class _Calibration(NamedTuple):
    """Constants of a pair of rigs as float32; rows are driven target joints, in the target's order.

    `target_rest` [J, 4] is the pose the target takes where the source rests.
    """

    joints: Tensor
    first: Tensor
    before: Tensor
    blended: Tensor
    second: Tensor
    second_before: Tensor
    weight: Tensor
    after: Tensor
    target_rest: Tensor
    anchors: Tensor
    pelvis: int
    feet: list[int]
    toes: list[int]
    source_up: Tensor
    target_down: Tensor


def _calibration(source: HumanoidRig, target: HumanoidRig) -> _Calibration:
    drivers = joint_drivers(source, target)
    joints = list(drivers)
    row = {joint: k for k, joint in enumerate(joints)}
    first, second, weight = (list(column) for column in zip(*drivers.values(), strict=True))
    blended = [k for k, w in enumerate(weight) if w > 0.0]
    anchors = []
    for joint in joints:
        parent = target.skeleton.parents[joint]
        while parent >= 0 and parent not in row:
            parent = target.skeleton.parents[parent]
        anchors.append(row[parent] if parent >= 0 else len(joints))
    undo_rest = quat_conjugate(source.rest_world)
    after = quat_multiply(rest_corrections(source, target), target.rest_world).float()

    def rows(part: str) -> list[int]:
        return [row[target.joint_of[f"{side}_{part}"]] for side in SIDES if f"{side}_{part}" in target.joint_of]

    return _Calibration(
        joints=torch.tensor(joints),
        first=torch.tensor(first),
        before=undo_rest[first].float(),
        blended=torch.tensor(blended, dtype=torch.long),
        second=torch.tensor(second)[blended],
        second_before=undo_rest[second].float()[blended],
        weight=torch.tensor(weight, dtype=torch.float32)[blended],
        after=after[joints],
        target_rest=after,
        anchors=torch.tensor(anchors),
        pelvis=row[target.joint_of["pelvis"]],
        feet=rows("ankle"),
        toes=rows("foot"),
        source_up=source.world_to_y_up.float(),
        target_down=quat_conjugate(target.world_to_y_up).float(),
    )
