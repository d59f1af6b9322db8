"""A humanoid rig: which joint plays which role, and the world orientations of its bones in a natural rest pose.

Files agree neither on what zero rotations mean nor on the axes of a bone. What they can agree on is a body that stands
in a T- or A-pose, faces +Z and has its head up: the rest pose found here is the bridge between any two skeletons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.rotations import quat_conjugate, quat_from_matrix, quat_multiply, quat_rotate
from kinestream.skeleton.bone_names import BoneFamily, BoneMap, bone_families
from kinestream.skeleton.skeleton import Skeleton

LIMB_BONES: Mapping[str, str] = {
    f"{side}_{start}": f"{side}_{end}"
    for side in ("left", "right")
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
"""Bones whose directions are carried over exactly, by the roles of their two joints."""

_UP = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class HumanoidRig:
    """A skeleton with roles and a rest pose.

    `rest_world` [J, 4] are world orientations (float64, wxyz) in the rest pose, which faces +Z with Y up; joints without
    a role keep their zero rotation. `world_to_y_up` [4] turns the recording's world so that its up axis becomes +Y.
    `origin` says where the rest pose comes from.
    """

    skeleton: Skeleton
    bones: BoneMap
    offsets_m: Float[Tensor, "j 3"]
    rest_world: Float[Tensor, "j 4"]
    world_to_y_up: Float[Tensor, "4"]
    origin: str
    family: BoneFamily | None = None

    @cached_property
    def joint_of(self) -> dict[str, int]:
        """Joint indices by role."""
        index = {name: i for i, name in enumerate(self.skeleton.joint_names)}
        return {role: index[bone] for role, bone in self.bones.bone_of.items()}

    @cached_property
    def rest_positions_m(self) -> Float[Tensor, "j 3"]:
        """World joint positions in the rest pose, the root at the origin."""
        positions = torch.zeros_like(self.offsets_m)
        for joint, parent in enumerate(self.skeleton.parents):
            if parent >= 0:
                positions[joint] = positions[parent] + quat_rotate(self.rest_world[parent], self.offsets_m[joint])
        return positions

    @cached_property
    def leg_length_m(self) -> float:
        """Thigh plus shin, the mean of both legs."""
        position, joint = self.rest_positions_m, self.joint_of
        return sum(
            float((position[joint[f"{side}_{a}"]] - position[joint[f"{side}_{b}"]]).norm())
            for side in ("left", "right")
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ) / 2.0

    @cached_property
    def ankle_height_m(self) -> float:
        """Height of the ankles above the floor when the body stands; from the lowest foot joint unless the family knows."""
        if self.family is not None and self.family.ankle_height_over_leg is not None:
            return self.family.ankle_height_over_leg * self.leg_length_m
        ankles = [self.joint_of[f"{side}_ankle"] for side in ("left", "right")]
        feet = ankles + [self.joint_of[r] for r in ("left_foot", "right_foot") if r in self.joint_of]
        height = self.rest_positions_m[:, 1]
        return float(height[ankles].mean() - height[feet].min())

    @property
    def standing_is_known(self) -> bool:
        """Whether `ankle_height_m` is a fact of the family; otherwise a recording's contacts say it better."""
        return self.family is not None and (
            self.family.ankle_height_over_leg is not None or self.family.stands_on_lowest_joint
        )

    @cached_property
    def hip_centre_m(self) -> Float[Tensor, "3"]:
        """Midpoint of the hip joints in the pelvis' own frame."""
        position, joint = self.rest_positions_m, self.joint_of
        middle = (position[joint["left_hip"]] + position[joint["right_hip"]]) / 2.0 - position[joint["pelvis"]]
        return quat_rotate(quat_conjugate(self.rest_world[joint["pelvis"]]), middle)

    @cached_property
    def spine_chain(self) -> tuple[int, ...]:
        """Joints from the pelvis to the one that carries neck and arms."""
        joint = self.joint_of
        named = [r for r in ("spine3", "spine2", "spine1") if r in joint]
        if named:
            return self._path(joint["pelvis"], joint[named[0]])
        return (joint["pelvis"],)

    @cached_property
    def head_chain(self) -> tuple[int, ...]:
        """Joints above the chest up to the head; empty when the rig has neither neck nor head."""
        joint = self.joint_of
        first, last = joint.get("neck", joint.get("head")), joint.get("head", joint.get("neck"))
        return () if first is None or last is None else self._path(first, last)

    def _path(self, first: int, last: int) -> tuple[int, ...]:
        path = [last]
        while path[-1] != first:
            path.append(self.skeleton.parents[path[-1]])
            if path[-1] < 0:
                names = self.skeleton.joint_names
                raise BadInputError(f"bone {names[last]!r} is expected below {names[first]!r} in the hierarchy, and is not")
        return tuple(reversed(path))

    def bone_direction(self, role: str) -> Float[Tensor, "3"] | None:
        """Unit world direction of a limb bone in the rest pose; None where the rig does not say."""
        joint = self.joint_of.get(role)
        if joint is None:
            return None
        child = self.joint_of.get(LIMB_BONES[role])
        if child is not None:
            bone = self.rest_positions_m[child] - self.rest_positions_m[joint]
        else:
            tip = self.skeleton.end_sites.get(self.skeleton.joint_names[joint])
            if tip is None:
                return None
            bone = quat_rotate(self.rest_world[joint], torch.tensor(tip, dtype=torch.float64))
        length = float(bone.norm())
        return bone / length if length > 1e-6 else None


def humanoid_rig(
    skeleton: Skeleton, bones: BoneMap, *, offsets_m: Float[Tensor, "j 3"] | None = None
) -> HumanoidRig:
    """Find the rest pose of a skeleton: its zero pose where that is natural, else what its family is known for.

    `offsets_m` replaces the skeleton's offsets where a recording animates translations. Raises BadInputError when
    no natural rest pose is known.
    """
    offsets = (skeleton.offsets_m if offsets_m is None else offsets_m).double()
    family = next((f for f in bone_families() if f.name == bones.family), None)
    identity = torch.zeros(skeleton.num_joints, 4, dtype=torch.float64)
    identity[:, 0] = 1.0
    turn = _turn_to_front(HumanoidRig(skeleton, bones, offsets, identity, identity[0], "zero pose"))
    zero = HumanoidRig(skeleton, bones, offsets, turn.expand_as(identity), _up_turn(turn), "zero pose", family)
    problem = implausible_rest(zero)
    if problem is None:
        return zero
    if family is not None and family.rest_frames:
        rest = _family_rest(skeleton, bones, family)
        known = HumanoidRig(skeleton, bones, offsets, rest, identity[0], f"T-pose of the family {family.name}", family)
        family_problem = implausible_rest(known)
        if family_problem is None:
            return known
        problem = f"{problem}; in the T-pose of {family.name} {family_problem}"
    raise BadInputError(
        f"skeleton {skeleton.name!r}: its zero rotations are no standing T- or A-pose ({problem}), and no other rest pose "
        "is known for it"
    )


def _family_rest(skeleton: Skeleton, bones: BoneMap, family: BoneFamily) -> Float[Tensor, "j 4"]:
    role_of = {bone: role for role, bone in bones.bone_of.items()}
    rest = torch.zeros(skeleton.num_joints, 4, dtype=torch.float64)
    rest[:, 0] = 1.0
    for joint, parent in enumerate(skeleton.parents):
        axes = family.rest_frames.get(role_of.get(skeleton.joint_names[joint], ""))
        if axes is not None:
            rest[joint] = _frame(axes["x"], axes["y"])
        elif parent >= 0:
            rest[joint] = rest[parent]
    return rest


def _frame(x: tuple[float, float, float], y: tuple[float, float, float]) -> Float[Tensor, "4"]:
    first = torch.nn.functional.normalize(torch.tensor(x, dtype=torch.float64), dim=0)
    second = torch.tensor(y, dtype=torch.float64)
    second = torch.nn.functional.normalize(second - (second @ first) * first, dim=0)
    return quat_from_matrix(torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1))


def _turn_to_front(rig: HumanoidRig) -> Float[Tensor, "4"]:
    """The rotation that stands a zero pose upright facing +Z; snaps to right angles when it is within 25 degrees."""
    position, joint = rig.rest_positions_m, rig.joint_of
    hips = (position[joint["left_hip"]] + position[joint["right_hip"]]) / 2.0
    shoulders = (position[joint["left_shoulder"]] + position[joint["right_shoulder"]]) / 2.0
    up = torch.nn.functional.normalize(shoulders - hips, dim=0)
    left = position[joint["left_hip"]] - position[joint["right_hip"]]
    left = torch.nn.functional.normalize(left - (left @ up) * up, dim=0)
    axes = torch.stack((left, up, torch.linalg.cross(left, up)), dim=0)
    snapped = torch.zeros_like(axes)
    snapped[torch.arange(3), axes.abs().argmax(dim=1)] = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()[:, 0]
    if float((axes * snapped).sum(dim=1).min()) > 0.906 and abs(float(torch.linalg.det(snapped)) - 1.0) < 1e-6:
        axes = snapped
    return quat_from_matrix(axes)


def _up_turn(turn: Float[Tensor, "4"]) -> Float[Tensor, "4"]:
    """What turns the recording's up axis to +Y, when the zero pose stands along another axis."""
    up = quat_rotate(quat_conjugate(turn), _UP)
    axis = int(up.abs().argmax())
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    if axis == 1 and float(up[1]) > 0:
        return identity
    snapped = torch.zeros_like(up)
    snapped[axis] = up[axis].sign()
    half = 0.5**0.5
    if axis == 2:
        return torch.tensor([half, -half * float(snapped[2]), 0.0, 0.0], dtype=torch.float64)
    if axis == 0:
        return torch.tensor([half, 0.0, 0.0, half * float(snapped[0])], dtype=torch.float64)
    return torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)


def implausible_rest(rig: HumanoidRig) -> str | None:
    """Why a rest pose is no standing T- or A-pose; None when it is one."""
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for role, limit in ((f"{side}_hip", 45.0), (f"{side}_knee", 45.0)):
            direction = rig.bone_direction(role)
            if direction is not None and _degrees(direction, -_UP) > limit:
                return f"the {side} leg points {_degrees(direction, -_UP):.0f} degrees away from down"
        for role in (f"{side}_shoulder", f"{side}_elbow"):
            direction = rig.bone_direction(role)
            if direction is None:
                continue
            if float(direction[0]) * sign < 0.1 and float(direction[1]) > -0.8:
                return f"the {side} arm does not point to its side"
            if float(direction[1]) > 0.6 or abs(float(direction[2])) > 0.8:
                return f"the {side} arm points up, forward or back"
        foot, ankle = rig.joint_of.get(f"{side}_foot"), rig.joint_of[f"{side}_ankle"]
        if foot is not None:
            toe = rig.rest_positions_m[foot] - rig.rest_positions_m[ankle]
            if float(toe.norm()) > 0.01 and float(toe[2]) < 0.2 * float(toe.norm()):
                return f"the {side} toes do not point forward"
    return None


def _degrees(a: Tensor, b: Tensor) -> float:
    return float(torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(), a @ b)))
