"""A humanoid rig: which joint of a skeleton plays which role, and how its bones lie in a natural rest pose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.rotations import quat_conjugate, quat_rotate
from kinestream.skeleton.bone_names import BoneFamily, BoneMap
from kinestream.skeleton.skeleton import Skeleton

SIDES: tuple[str, str] = ("left", "right")

LIMB_BONES: Mapping[str, str] = {
    f"{side}_{start}": f"{side}_{end}"
    for side in SIDES
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
"""Bones whose directions are carried over exactly, by the roles of their two joints."""

# An End Site further from its foot than this is no part of the sole.
_MAX_SOLE_LEGS = 0.35


@dataclass(frozen=True, eq=False)
class HumanoidRig:
    """A skeleton with roles and a rest pose.

    `offsets_m` [J, 3] are the rest offsets (float64). `rest_world` [J, 4] are world orientations (float64, wxyz) in the
    rest pose, which faces +Z with Y up. `world_to_y_up` [4] turns the recording's world so that its up axis becomes +Y.
    `origin` says where the rest pose comes from. `exact`: whether it is the rig's own, so that its feet are this
    body's; `feet_are_flat`: whether its feet are known to stand flat, as in all but a pose estimated without contacts.
    """

    skeleton: Skeleton
    bones: BoneMap
    offsets_m: Float[Tensor, "j 3"]
    rest_world: Float[Tensor, "j 4"]
    world_to_y_up: Float[Tensor, "4"]
    origin: str
    exact: bool = True
    feet_are_flat: bool = True
    family: BoneFamily | None = None

    @cached_property
    def joint_of(self) -> dict[str, int]:
        """Joint indices by role."""
        index = {name: i for i, name in enumerate(self.skeleton.joint_names)}
        return {role: index[bone] for role, bone in self.bones.bone_of.items()}

    @cached_property
    def rest_positions_m(self) -> Float[Tensor, "j 3"]:
        """World joint positions in the rest pose, the root at the origin."""
        parents = self.skeleton.parents
        bones = quat_rotate(self.rest_world[[max(p, 0) for p in parents]], self.offsets_m)
        bones[0] = 0.0
        positions = [bones[0]]
        for joint, parent in enumerate(parents[1:], start=1):
            positions.append(positions[parent] + bones[joint])
        return torch.stack(positions)

    @cached_property
    def leg_length_m(self) -> float:
        """Thigh plus shin, the mean of both legs."""
        starts = [self.joint_of[role] for role in LIMB_BONES if role.endswith(("_hip", "_knee"))]
        ends = [self.joint_of[end] for role, end in LIMB_BONES.items() if role.endswith(("_hip", "_knee"))]
        return float((self.rest_positions_m[ends] - self.rest_positions_m[starts]).norm(dim=-1).sum()) / 2.0

    @cached_property
    def sole_points(self) -> tuple[tuple[int, tuple[float, float, float]], ...]:
        """What may touch the floor: (joint, point in its frame) for ankles, toes and their End Sites."""
        roles = [f"{side}_{part}" for side in SIDES for part in ("ankle", "foot")]
        joints = [self.joint_of[role] for role in roles if role in self.joint_of]
        points = [(joint, (0.0, 0.0, 0.0)) for joint in joints]
        for joint in joints:
            tip = self.skeleton.end_sites.get(self.skeleton.joint_names[joint])
            if tip is not None and sum(x * x for x in tip) ** 0.5 < _MAX_SOLE_LEGS * self.leg_length_m:
                points.append((joint, tip))
        return tuple(points)

    def sole_positions_m(
        self, positions: Float[Tensor, "*t j 3"], world: Float[Tensor, "*t j 4"]
    ) -> Float[Tensor, "*t s 3"]:
        """World positions of `sole_points` for given poses of all joints."""
        joints = [joint for joint, _ in self.sole_points]
        tips = positions.new_tensor([tip for _, tip in self.sole_points])
        return positions[..., joints, :] + quat_rotate(world[..., joints, :], tips)

    @cached_property
    def ankle_height_m(self) -> float:
        """Height of a standing body's ankles above the floor; from the lowest sole point unless the family knows."""
        if self.family is not None and self.family.ankle_height_over_leg is not None:
            return self.family.ankle_height_over_leg * self.leg_length_m
        ankles = [self.joint_of[f"{side}_ankle"] for side in SIDES]
        soles = self.sole_positions_m(self.rest_positions_m, self.rest_world)
        return float(self.rest_positions_m[ankles, 1].mean() - soles[:, 1].min())

    @property
    def standing_is_known(self) -> bool:
        """Whether `ankle_height_m` is a fact of the family; otherwise a recording's contacts say it better."""
        return self.family is not None and self.family.ankle_height_over_leg is not None

    @cached_property
    def hip_centre_m(self) -> Float[Tensor, "3"]:
        """Midpoint of the hip joints in the pelvis' own frame."""
        position, joint = self.rest_positions_m, self.joint_of
        middle = (position[joint["left_hip"]] + position[joint["right_hip"]]) / 2.0 - position[joint["pelvis"]]
        return quat_rotate(quat_conjugate(self.rest_world[joint["pelvis"]]), middle)

    @cached_property
    def spine_chain(self) -> tuple[int, ...]:
        """Joints from the pelvis to the chest, which carries neck and arms."""
        return spine_chain(self.skeleton, self.joint_of)

    @cached_property
    def head_chain(self) -> tuple[int, ...]:
        """Joints above the chest up to the head; empty when the rig has neither neck nor head."""
        joint = self.joint_of
        first, last = joint.get("neck", joint.get("head")), joint.get("head", joint.get("neck"))
        return () if first is None or last is None else path_down(self.skeleton, first, last)

    def bone_direction(self, role: str) -> Float[Tensor, "3"] | None:
        """Unit world direction of a limb bone in the rest pose; None where the rig does not say."""
        return self._bone_directions[role]

    @cached_property
    def _bone_directions(self) -> dict[str, Tensor | None]:
        directions: dict[str, Tensor | None] = {}
        for role, end in LIMB_BONES.items():
            joint, child = self.joint_of.get(role), self.joint_of.get(end)
            tip = None if joint is None else self.skeleton.end_sites.get(self.skeleton.joint_names[joint])
            if joint is not None and child is not None:
                bone = self.rest_positions_m[child] - self.rest_positions_m[joint]
            elif joint is not None and tip is not None:
                bone = quat_rotate(self.rest_world[joint], torch.tensor(tip, dtype=torch.float64))
            else:
                directions[role] = None
                continue
            length = float(bone.norm())
            directions[role] = bone / length if length > 1e-6 else None
        return directions


def path_down(skeleton: Skeleton, first: int, last: int) -> tuple[int, ...]:
    """Joints from `first` down to its descendant `last`; BadInputError when it is none."""
    path = [last]
    while path[-1] != first:
        path.append(skeleton.parents[path[-1]])
        if path[-1] < 0:
            names = skeleton.joint_names
            raise BadInputError(
                f"skeleton {skeleton.name!r}: bone {names[last]!r} is expected below {names[first]!r} in the hierarchy "
                "and is not; give a map file that names the right bones"
            )
    return tuple(reversed(path))


def spine_chain(skeleton: Skeleton, joint_of: Mapping[str, int]) -> tuple[int, ...]:
    """Joints from the pelvis to the one that carries both arms; a neck that carries the arms does not count."""
    arms = [joint_of.get(f"{side}_collar", joint_of[f"{side}_shoulder"]) for side in SIDES]
    left, right = (path_down(skeleton, 0, arm) for arm in arms)
    chest = max(set(left) & set(right))
    if chest in (joint_of.get("neck"), joint_of.get("head")):
        chest = skeleton.parents[chest]
    named = [joint_of[role] for role in ("spine3", "spine2", "spine1") if role in joint_of]
    path = path_down(skeleton, 0, chest)
    if joint_of["pelvis"] not in path:
        return path_down(skeleton, joint_of["pelvis"], named[0]) if named else (joint_of["pelvis"],)
    return path_down(skeleton, joint_of["pelvis"], chest)
