"""A frame as receivers want it: Unity's axes, a T-pose for rest, one row a joint."""

from __future__ import annotations

from typing import NamedTuple

from kinestream.motion import Motion
from kinestream.skeleton.t_pose import smpl22_t_pose

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

# Unity's HumanBodyBones (and VRM's bones), in the order of SMPL-22's joints.
UNITY_BONES = (
    "Hips", "LeftUpperLeg", "RightUpperLeg", "Spine", "LeftLowerLeg", "RightLowerLeg", "Chest", "LeftFoot", "RightFoot",
    "UpperChest", "LeftToes", "RightToes", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftUpperArm",
    "RightUpperArm", "LeftLowerArm", "RightLowerArm", "LeftHand", "RightHand",
)  # fmt: skip


class LiveFrame(NamedTuple):
    """One frame of a body in Unity's axes: left-handed, Y up, the body faces +Z and its left hand points to -X; metres.

    Rotations are xyzw, away from a T-pose: `local` relative to the parent bone, `world` in the world. `offsets` are
    where bones rest in their parents, `positions` where joints are in the world. All in the order of `UNITY_BONES`.
    """

    number: int
    time_s: float
    local: list[Quaternion]
    world: list[Quaternion]
    positions: list[Vector]
    offsets: list[Vector]


def live_frames(motion: Motion, first: int) -> list[LiveFrame]:
    """The frames of an SMPL-22 motion, numbered from `first`."""
    pose = smpl22_t_pose()
    local, world, positions = pose(motion.local_rotations, motion.root_position_m)
    offsets = [unity_position(row) for row in pose.skeleton.offsets_m.tolist()]
    rows = zip(local.tolist(), world.tolist(), positions.tolist(), strict=True)
    return [
        LiveFrame(
            number,
            number / motion.fps,
            [unity_rotation(q) for q in turns],
            [unity_rotation(q) for q in turns_in_world],
            [unity_position(p) for p in places],
            offsets,
        )
        for number, (turns, turns_in_world, places) in enumerate(rows, start=first)
    ]


def unity_position(ours: list[float]) -> Vector:
    """A point in Unity's axes: the world seen in a mirror at x = 0."""
    x, y, z = ours
    return (-x, y, z)


def unity_rotation(ours: list[float]) -> Quaternion:
    """The rotation (wxyz) in Unity's axes, as xyzw."""
    w, x, y, z = ours
    return (x, -y, -z, w)
