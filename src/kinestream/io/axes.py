"""Bring a motion whose rest pose or world has another axis up to Y up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.rotations import quat_conjugate, quat_multiply, quat_rotate
from kinestream.skeleton.bone_finding import bone_map
from kinestream.skeleton.rest_pose import rest_up
from kinestream.skeleton.skeleton import Skeleton
from kinestream.skeleton.up_axis import recorded_up, turn_to_y

# So many frames show how a recording stands.
_LOOKED_AT = 200


@dataclass(frozen=True)
class FoundUp:
    """The up axes of a rest pose (None: no natural one) and of the recorded world, what told the latter, and whether a
    human body is recognised at all."""

    rest: str | None
    world: str
    how: str
    body: bool = True


def find_up(
    skeleton: Skeleton, motion: Motion | None, given: str | None, custom: str, *, rest_decides: bool = True
) -> FoundUp:
    """The axes of a file whose axes are as they stand in it; `custom` is what its format says where nothing shows.

    `rest_decides`: a natural rest pose says what to expect; not so for formats whose rest pose is fixed (SMPL).
    """
    try:
        bones = bone_map(skeleton)
        rest = rest_up(skeleton, bones)
    except BadInputError:
        return FoundUp(None, given or custom, "given" if given else "the format's custom; no body is recognised", False)
    if given is not None:
        return FoundUp(rest, given, "given")
    expected = (rest if rest_decides else None) or custom
    if motion is None:
        return FoundUp(rest, expected, "rest pose" if rest else "the format's custom")
    joint_of = {role: skeleton.index(bone) for role, bone in bones.bone_of.items()}
    frames = spread_frames(motion).joint_positions_m()
    world, shown = recorded_up(frames, joint_of, expected)
    told = [*(["rest pose"] if rest == world and rest_decides else []), *(["movement"] if shown else [])]
    return FoundUp(rest, world, " and ".join(told) or "the format's custom")


def spread_frames(motion: Motion) -> Motion:
    """A few hundred frames at most, spread over the whole motion."""
    stride = -(-motion.num_frames // _LOOKED_AT)
    extra = motion.joint_translations_m
    return replace(
        motion,
        local_rotations=motion.local_rotations[::stride],
        root_position_m=motion.root_position_m[::stride],
        joint_translations_m=None if extra is None else extra[::stride],
    )


def turned_skeleton(skeleton: Skeleton, turn: Float[Tensor, "4"]) -> Skeleton:
    """The same bones with all joints' own axes turned: the rest pose turns as a whole."""
    tips = {
        name: tuple(quat_rotate(turn, torch.tensor(tip, dtype=torch.float64)).tolist())
        for name, tip in skeleton.end_sites.items()
    }
    offsets = quat_rotate(turn, skeleton.offsets_m.double()).float()
    return replace(skeleton, offsets_m=offsets, end_sites={name: (x, y, z) for name, (x, y, z) in tips.items()})


def turned_axes(motion: Motion, rest_turn: Float[Tensor, "4"], world_turn: Float[Tensor, "4"]) -> Motion:
    """The motion with its rest pose turned by one rotation (float64) and its world by another.

    World positions turn by `world_turn` whatever `rest_turn` is: that one only changes the axes in which joints turn.
    """
    rest, world = rest_turn.to(motion.local_rotations), world_turn.to(motion.local_rotations)
    undo = quat_conjugate(rest)
    first = motion.local_rotations[:, :1]
    if torch.equal(rest_turn, turn_to_y("y")):
        local = torch.cat((quat_multiply(world, first), motion.local_rotations[:, 1:]), dim=1)
        skeleton, extra = motion.skeleton, motion.joint_translations_m
    else:
        rotated = quat_multiply(quat_multiply(rest, motion.local_rotations[:, 1:]), undo)
        local = torch.cat((quat_multiply(quat_multiply(world, first), undo), rotated), dim=1)
        skeleton = turned_skeleton(motion.skeleton, rest_turn)
        extra = motion.joint_translations_m
        extra = None if extra is None else quat_rotate(rest, extra)
    return replace(
        motion,
        skeleton=skeleton,
        local_rotations=local,
        root_position_m=quat_rotate(world, motion.root_position_m),
        joint_translations_m=extra,
    )


def upright(motion: Motion, found: FoundUp) -> Motion:
    """The motion, read with its file's axes, with Y up in its world and, where it stands, its rest pose."""
    if found.world == "y" and found.rest in (None, "y"):
        return motion
    return turned_axes(motion, turn_to_y(found.rest or "y"), turn_to_y(found.world))
