"""Find a skeleton's natural rest pose: a body that stands in a T- or A-pose, faces +Z and has its head up.

Files agree neither on what zero rotations mean nor on the axes of a bone; the rest pose is the bridge between any two
skeletons. In order: the zero pose where it is natural, what the family of bone names is known for, a T-pose in an
example recording's first frame, and what the example's movements tell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.rotations import quat_about_axis, quat_conjugate, quat_from_matrix, quat_multiply, quat_rotate
from kinestream.skeleton.bone_names import USER_MAP, BoneFamily, BoneMap, bone_families
from kinestream.skeleton.humanoid import SIDES, HumanoidRig
from kinestream.skeleton.rest_estimate import estimated_rest
from kinestream.skeleton.skeleton import Skeleton, forward_kinematics
from kinestream.skeleton.up_axis import nearest_axis, recorded_up, turn_to_y


class Recording(Protocol):
    """What a motion has that a rest pose can be learnt from."""

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


_IDENTITY = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
_UP = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)


def humanoid_rig(
    skeleton: Skeleton,
    bones: BoneMap,
    *,
    offsets_m: Float[Tensor, "j 3"] | None = None,
    example: Recording | None = None,
) -> HumanoidRig:
    """The skeleton with the rest pose that can be found for it.

    `offsets_m` replaces the skeleton's offsets where a recording animates translations; `example` is a recording on
    this skeleton. Raises BadInputError when no rest pose is found.
    """
    rig = known_rig(skeleton, bones, offsets_m=offsets_m)
    if rig is not None:
        return rig
    zero = _zero_pose(skeleton, bones, offsets_m)
    if example is not None:
        return _learnt_rig(replace(zero, rest_world=_IDENTITY.expand(skeleton.num_joints, 4)), example)
    raise BadInputError(
        f"skeleton {skeleton.name!r}: zero rotations are no standing T- or A-pose ({implausible_rest(zero)}), and none "
        f"is known for bones named as {bones.family!r}; a recording on this skeleton would show how its bones lie"
    )


def known_rig(
    skeleton: Skeleton, bones: BoneMap, *, offsets_m: Float[Tensor, "j 3"] | None = None
) -> HumanoidRig | None:
    """The skeleton in its zero pose or its family's T-pose, as `humanoid_rig`; None where neither is natural."""
    zero = _zero_pose(skeleton, bones, offsets_m)
    if implausible_rest(zero) is None:
        return zero
    families = bone_families() if bones.family == USER_MAP else (zero.family,)
    for family in families:
        if family is not None and family.rest_frames and all(role in family.rest_frames for role in zero.joint_of):
            rest, origin = _family_rest(zero, family), f"T-pose of {family.name}"
            known = replace(zero, rest_world=rest, world_to_y_up=_IDENTITY, origin=origin, exact=False, family=family)
            if implausible_rest(known) is None:
                return known
    return None


def rest_up(skeleton: Skeleton, bones: BoneMap) -> str | None:
    """The axis along which the zero pose stands ("y", "z", "-x", ...); None where it is no natural pose."""
    zero = _zero_pose(skeleton, bones, None)
    if implausible_rest(zero) is not None:
        return None
    return nearest_axis(quat_rotate(quat_conjugate(zero.world_to_y_up), _UP))


def _zero_pose(skeleton: Skeleton, bones: BoneMap, offsets_m: Float[Tensor, "j 3"] | None) -> HumanoidRig:
    offsets = (skeleton.offsets_m if offsets_m is None else offsets_m).double()
    rest = _IDENTITY.expand(skeleton.num_joints, 4)
    rig = HumanoidRig(skeleton, bones, offsets, rest, _IDENTITY, "zero pose", family=_family(bones))
    turn = _turn_to_front(rig)
    rest = turn.repeat(skeleton.num_joints, 1)
    for role, twist in (rig.family.rest_twist_rad if rig.family is not None else {}).items():
        if role in rig.joint_of:
            about_x = quat_about_axis(torch.tensor(twist, dtype=torch.float64), "X")
            rest[rig.joint_of[role]] = quat_multiply(about_x, turn)
    return replace(rig, rest_world=rest, world_to_y_up=_up_turn(turn))


def _family(bones: BoneMap) -> BoneFamily | None:
    return next((family for family in bone_families() if family.name == bones.family), None)


def _family_rest(rig: HumanoidRig, family: BoneFamily) -> Float[Tensor, "j 4"]:
    role_of = {joint: role for role, joint in rig.joint_of.items()}
    roles = list(family.rest_frames)
    frames = dict(zip(roles, _frames(family), strict=True))
    rest: list[Tensor] = []
    for joint, parent in enumerate(rig.skeleton.parents):
        frame = frames.get(role_of.get(joint, ""))
        rest.append(frame if frame is not None else rest[parent] if parent >= 0 else _IDENTITY)
    return torch.stack(rest)


def _frames(family: BoneFamily) -> Float[Tensor, "r 4"]:
    x = torch.tensor([axes["x"] for axes in family.rest_frames.values()], dtype=torch.float64)
    y = torch.tensor([axes["y"] for axes in family.rest_frames.values()], dtype=torch.float64)
    x = torch.nn.functional.normalize(x, dim=-1)
    y = torch.nn.functional.normalize(y - (y * x).sum(-1, keepdim=True) * x, dim=-1)
    return quat_from_matrix(torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1))


def _learnt_rig(rig: HumanoidRig, example: Recording) -> HumanoidRig:
    """The rest pose from a recording: its first frame where that is a T-pose, else from how the limbs bend."""
    positions, world = forward_kinematics(
        example.skeleton,
        example.local_rotations.double(),
        example.root_position_m.double(),
        None if example.joint_translations_m is None else example.joint_translations_m.double(),
    )
    up = turn_to_y(recorded_up(positions, rig.joint_of, "y")[0])
    positions, world = quat_rotate(up, positions), quat_multiply(up.expand_as(world), world)
    first = replace(rig, rest_world=world[0], world_to_y_up=up, origin="first frame", exact=False)
    first = replace(first, rest_world=quat_multiply(_turn_to_front(first, level=True).expand_as(world[0]), world[0]))
    if implausible_rest(first) is None and _is_t_pose(first):
        return first
    rest, feet_are_flat = estimated_rest(rig, positions, world, example.fps)
    origin = "estimated from the recording"
    return replace(rig, rest_world=rest, world_to_y_up=up, origin=origin, exact=False, feet_are_flat=feet_are_flat)


def _turn_to_front(rig: HumanoidRig, *, level: bool = False) -> Float[Tensor, "4"]:
    """The rotation that stands a rest pose upright facing +Z.

    Snaps to right angles when within 25 degrees of them; `level` keeps +Y up and only turns about it, without snapping.
    """
    position, joint = rig.rest_positions_m, rig.joint_of
    hips = (position[joint["left_hip"]] + position[joint["right_hip"]]) / 2.0
    shoulders = (position[joint["left_shoulder"]] + position[joint["right_shoulder"]]) / 2.0
    up = _UP if level else torch.nn.functional.normalize(shoulders - hips, dim=0)
    left = position[joint["left_hip"]] - position[joint["right_hip"]]
    left = torch.nn.functional.normalize(left - (left @ up) * up, dim=0)
    axes = torch.stack((left, up, torch.linalg.cross(left, up)), dim=0)
    if not level:
        largest = axes.abs().argmax(dim=1, keepdim=True)
        snapped = torch.zeros_like(axes).scatter_(1, largest, axes.gather(1, largest).sign())
        if float((axes * snapped).sum(dim=1).min()) > 0.906 and abs(float(torch.linalg.det(snapped)) - 1.0) < 1e-6:
            axes = snapped
    return quat_from_matrix(axes)


def _up_turn(turn: Float[Tensor, "4"]) -> Float[Tensor, "4"]:
    """What turns the recording's up axis to +Y, when the zero pose stands along another axis."""
    return turn_to_y(nearest_axis(quat_rotate(quat_conjugate(turn), _UP)))


def implausible_rest(rig: HumanoidRig) -> str | None:
    """Why a rest pose is no standing T- or A-pose; None when it is one."""
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        for role in (f"{side}_hip", f"{side}_knee"):
            _, down, _ = _components(rig, role, (0.0, -1.0, 0.0))
            if down < 0.7:
                return f"the {side} leg does not point down"
        for role in (f"{side}_shoulder", f"{side}_elbow"):
            outward, up, forward = _components(rig, role, (sign, 0.0, 0.0))
            if outward * sign < 0.1 and up > -0.8:
                return f"the {side} arm does not point to its side"
            if up > 0.6 or abs(forward) > 0.8:
                return f"the {side} arm points up, forward or back"
        foot, ankle = rig.joint_of.get(f"{side}_foot"), rig.joint_of[f"{side}_ankle"]
        if foot is not None:
            toe = rig.rest_positions_m[foot] - rig.rest_positions_m[ankle]
            if float(toe.norm()) > 0.01 and float(toe[2]) < 0.2 * float(toe.norm()):
                return f"the {side} toes do not point forward"
    return None


def _components(rig: HumanoidRig, role: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
    """World components of a limb's rest direction (for legs the second is how far it points down)."""
    direction = rig.bone_direction(role)
    x, y, z = default if direction is None else (float(v) for v in direction)
    return (x, -y, z) if role.endswith(("_hip", "_knee")) else (x, y, z)


def _is_t_pose(rig: HumanoidRig) -> bool:
    """Whether legs are straight, arms out to the sides (T or A) and the shoulders' line is parallel to the hips'."""
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        if any(_components(rig, f"{side}_{part}", (0.0, -1.0, 0.0))[1] < 0.94 for part in ("hip", "knee")):
            return False
        upper = _components(rig, f"{side}_shoulder", (sign, 0.0, 0.0))
        fore = _components(rig, f"{side}_elbow", (sign, 0.0, 0.0))
        bend = sum(a * b for a, b in zip(upper, fore, strict=True))
        if upper[0] * sign < 0.5 or abs(upper[2]) > 0.35 or bend < 0.9:
            return False
    position, joint = rig.rest_positions_m, rig.joint_of
    shoulders = position[joint["left_shoulder"]] - position[joint["right_shoulder"]]
    return float(shoulders[0]) > 0.98 * float(shoulders.norm())
