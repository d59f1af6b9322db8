"""Rigs built from SMPL-22 with other sizes, rest poses, axes and names, and movements whose truth is known on each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kinestream.motion import Motion
from kinestream.rotations import (
    quat_about_axis,
    quat_conjugate,
    quat_from_rotvec,
    quat_multiply,
    quat_normalize,
    quat_rotate,
)
from kinestream.skeleton import Skeleton, smpl22

MOTIONBUILDER = {
    "pelvis": "Hips",
    "spine1": "LowerBack",
    "spine2": "Spine",
    "spine3": "Spine1",
    "neck": "Neck",
    "head": "Head",
    **{
        f"{side}_{role}": f"{side.title()}{bone}"
        for side in ("left", "right")
        for role, bone in (
            ("hip", "UpLeg"),
            ("knee", "Leg"),
            ("ankle", "Foot"),
            ("foot", "ToeBase"),
            ("collar", "Shoulder"),
            ("shoulder", "Arm"),
            ("elbow", "ForeArm"),
            ("wrist", "Hand"),
        )
    },
}


def walk_and_wave(frames: int = 90) -> Motion:
    """A made-up movement on SMPL-22 that bends every joint: steps, a raised and waving arm, a bow and a turning head.

    The left foot stands flat in the first third.
    """
    time = torch.arange(frames) / 30.0
    rotvec = torch.zeros(frames, 22, 3)
    names = smpl22().joint_names
    generator = torch.Generator().manual_seed(5)
    for joint in range(1, 22):
        rate, phase, size = torch.rand(3, generator=generator).tolist()
        axis = torch.randn(3, generator=generator)
        bump = 0.12 * (0.4 + size) * torch.sin(2 * math.pi * (0.3 + rate) * time + 6.0 * phase)
        rotvec[:, joint] = bump[:, None] * axis / axis.norm()
    step = torch.sin(2 * math.pi * 0.8 * time)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotvec[:, names.index(f"{side}_hip"), 0] -= 0.35 * sign * step
        rotvec[:, names.index(f"{side}_knee")] = 0.0
        rotvec[:, names.index(f"{side}_knee"), 0] = 0.5 + 0.4 * sign * step
        rotvec[:, names.index(f"{side}_shoulder"), 2] -= sign * (0.9 + 0.3 * step)
        rotvec[:, names.index(f"{side}_elbow")] = 0.0
        rotvec[:, names.index(f"{side}_elbow"), 1] = -sign * (0.8 + 0.6 * step)
    rotvec[:, names.index("spine2"), 0] += 0.25 * (1 - torch.cos(2 * math.pi * 0.25 * time))
    rotvec[:, 0, 1] = 0.4 * time
    root = torch.stack((0.3 * time, 0.92 + 0.02 * step, 0.8 * time), dim=-1)
    return Motion(smpl22(), quat_from_rotvec(rotvec), root, 30.0, name="made up")


@dataclass(frozen=True)
class Rig:
    """A skeleton made from SMPL-22: `own` [22, 4] turns SMPL's joint axes into the rig's; world `turn` and `scale`."""

    skeleton: Skeleton
    own: Tensor
    turn: Tensor
    scale: float
    above: int

    def motion(self, body: Motion) -> Motion:
        """What `body` (on SMPL-22) is on this rig, exactly."""
        world = quat_multiply(quat_multiply(self.turn, body.world_rotations()), quat_conjugate(self.own))
        local = torch.zeros(body.num_frames, self.skeleton.num_joints, 4)
        local[..., 0] = 1.0
        for joint, parent in enumerate(smpl22().parents):
            mine = joint + self.above
            local[:, mine] = (
                world[:, joint] if parent < 0 else quat_multiply(quat_conjugate(world[:, parent]), world[:, joint])
            )
        pelvis = quat_rotate(self.turn, body.root_position_m) * self.scale
        if not self.above:
            return Motion(self.skeleton, quat_normalize(local), pelvis, body.fps)
        translations = self.skeleton.offsets_m.expand(body.num_frames, -1, -1).clone()
        translations[:, 1] = pelvis
        return Motion(self.skeleton, quat_normalize(local), torch.zeros_like(pelvis), body.fps, translations)


def build_rig(
    *,
    scale: float = 1.0,
    own: Tensor | None = None,
    turn: Tensor | None = None,
    names: dict[str, str] | None = None,
    root_above: bool = False,
    fingers: bool = False,
) -> Rig:
    """A rig whose zero pose is SMPL's rest pose with every joint j turned by `own[j]` (world), then all by `turn`.

    Joint axes at zero rotation are the world's, as in BVH files. `root_above` adds a joint above the pelvis, `fingers`
    an extra bone at each hand.
    """
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0])
    own = identity.expand(22, 4) if own is None else own
    turn = identity if turn is None else turn
    # A joint at zero rotation stands where SMPL's stands turned by `own`; the whole rig is then turned by `turn`.
    total = quat_multiply(turn, own)
    body = smpl22()
    offsets = body.offsets_m * scale
    for joint, parent in enumerate(body.parents):
        if parent >= 0:
            offsets[joint] = quat_rotate(total[parent], body.offsets_m[joint] * scale)
    offsets[0] = 0.0
    joint_names = [(names or MOTIONBUILDER)[role] for role in body.joint_names]
    parents = list(body.parents)
    if root_above:
        joint_names, parents = ["root", *joint_names], [-1, *(p + 1 for p in parents)]
        offsets = torch.cat((torch.zeros(1, 3), offsets))
    if fingers:
        for side in ("left", "right"):
            parents.append(joint_names.index((names or MOTIONBUILDER)[f"{side}_wrist"]))
            joint_names.append(f"{side}_finger_bone")
            offsets = torch.cat((offsets, torch.tensor([[0.08 * scale, 0.01, 0.0]])))
    skeleton = Skeleton("rig", tuple(joint_names), tuple(parents), offsets)
    return Rig(skeleton, total, turn, scale, int(root_above))


def a_pose(degrees: float) -> Tensor:
    """`own` for a rig that rests with its arms lowered by so much."""
    own = torch.zeros(22, 4)
    own[:, 0] = 1.0
    for side, sign in (("left", -1.0), ("right", 1.0)):
        lowered = quat_about_axis(torch.tensor(sign * math.radians(degrees)), "Z")
        for part in ("shoulder", "elbow", "wrist"):
            own[smpl22().index(f"{side}_{part}")] = lowered
    return own


def random_axes(seed: int) -> Tensor:
    """`own` for a rig with arbitrary axes in every joint: its zero pose is a tangle."""
    return quat_normalize(torch.randn(22, 4, generator=torch.Generator().manual_seed(seed)))


def bone_angles_deg(a: Motion, b: Motion) -> Tensor:
    """Angles [T, 21] between the bones (parent to joint) of two motions on SMPL-22."""
    parents = list(a.skeleton.parents[1:])

    def bones(motion: Motion) -> Tensor:
        positions = motion.joint_positions_m().double()
        return positions[:, 1:] - positions[:, parents]

    first, second = bones(a), bones(b)
    return torch.rad2deg(torch.atan2(torch.linalg.cross(first, second).norm(dim=-1), (first * second).sum(-1)))
