"""Motion: the one value that everything exchanges, and what can be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.rotations import (
    quat_conjugate,
    quat_multiply,
    quat_normalize,
    quat_rotate,
    quat_slerp,
    quat_yaw,
)
from kinestream.skeleton import Skeleton, forward_kinematics

# A foot is in contact when its joint moves slower than this and is lower than this above its own lowest height.
CONTACT_SPEED_MPS = 0.25
CONTACT_HEIGHT_M = 0.06
FOOT_JOINTS = ("left_ankle", "left_foot", "right_ankle", "right_foot")


@dataclass(frozen=True, eq=False)
class Motion:
    """A skeleton moving in time.

    `local_rotations` [T, J, 4] (wxyz, in the parent's frame), `root_position_m` [T, 3] (world position of joint 0),
    `fps` frames per second. `joint_translations_m` [T, J, 3] holds the joints' translations in their parents' frames
    where a file animates them; None means the skeleton's rest offsets. Y is up, metres.
    Raises BadInputError for wrong shapes, numbers that are not finite, or a rate that is not positive.
    """

    skeleton: Skeleton
    local_rotations: Float[Tensor, "t j 4"]
    root_position_m: Float[Tensor, "t 3"]
    fps: float
    joint_translations_m: Float[Tensor, "t j 3"] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        frames, joints = self.root_position_m.shape[0], self.skeleton.num_joints
        if tuple(self.local_rotations.shape) != (frames, joints, 4) or tuple(self.root_position_m.shape) != (frames, 3):
            raise BadInputError(
                f"motion {self.name!r}: expected rotations [T, {joints}, 4] and root positions [T, 3], got "
                f"{tuple(self.local_rotations.shape)} and {tuple(self.root_position_m.shape)}"
            )
        if frames == 0:
            raise BadInputError(f"motion {self.name!r}: expected at least one frame, got none")
        if not (0.0 < self.fps < 100_000.0):
            raise BadInputError(f"motion {self.name!r}: expected a positive frame rate, got {self.fps}")
        extra = self.joint_translations_m
        if extra is not None and tuple(extra.shape) != (frames, joints, 3):
            raise BadInputError(
                f"motion {self.name!r}: expected joint translations [T, {joints}, 3], got {tuple(extra.shape)}"
            )
        tensors = (
            (self.local_rotations, self.root_position_m)
            if extra is None
            else (self.local_rotations, self.root_position_m, extra)
        )
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise BadInputError(
                f"motion {self.name!r}: rotations and positions must be finite numbers (found NaN or infinity)"
            )

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        return int(self.root_position_m.shape[0])

    @property
    def duration_s(self) -> float:
        """Frames over rate, in seconds."""
        return self.num_frames / self.fps

    def joint_positions_m(self) -> Float[Tensor, "t j 3"]:
        """World positions of all joints in metres."""
        return self._pose()[0]

    def world_rotations(self) -> Float[Tensor, "t j 4"]:
        """World orientations of all joints (wxyz)."""
        return self._pose()[1]

    def _pose(self) -> tuple[Tensor, Tensor]:
        return forward_kinematics(self.skeleton, self.local_rotations, self.root_position_m, self.joint_translations_m)

    def slice(self, start: int, stop: int | None = None) -> Motion:
        """Frames `start` to `stop` (exclusive) as a motion of its own."""
        extra = self.joint_translations_m
        return replace(
            self,
            local_rotations=self.local_rotations[start:stop],
            root_position_m=self.root_position_m[start:stop],
            joint_translations_m=None if extra is None else extra[start:stop],
        )


def resample(motion: Motion, fps: float) -> Motion:
    """The same movement at another rate: slerp of rotations, linear positions; the first frame stays where it was."""
    if fps == motion.fps:
        return motion
    if not 0.0 < fps < 100_000.0:
        raise BadInputError(f"expected a positive frame rate, got {fps}")
    count = int((motion.num_frames - 1) / motion.fps * fps + 1e-6) + 1
    where = torch.arange(count, dtype=torch.float64) * (motion.fps / fps)
    return replace(at_frames(motion, where), fps=float(fps))


def at_frames(motion: Motion, where: Float[Tensor, "u"]) -> Motion:
    """The poses at fractions of frames: slerp of rotations, linear positions; beyond the ends the poses there."""
    last = motion.num_frames - 1
    where = where.double().clamp(0.0, last)
    low = where.floor().long()
    high = (low + 1).clamp(max=last)
    t = (where - low).to(motion.root_position_m)

    def linear(values: Tensor) -> Tensor:
        weight = t.reshape(-1, *([1] * (values.ndim - 1)))
        return values[low] * (1 - weight) + values[high] * weight

    extra = motion.joint_translations_m
    return replace(
        motion,
        local_rotations=quat_slerp(motion.local_rotations[low], motion.local_rotations[high], t[:, None]),
        root_position_m=linear(motion.root_position_m),
        joint_translations_m=None if extra is None else linear(extra),
    )


def mirrored_name(name: str) -> str:
    """The other side's joint name: left_ and right_ exchanged."""
    for a, b in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(a):
            return b + name[len(a) :]
    return name


def mirror(motion: Motion) -> Motion:
    """Left and right exchanged (reflection in the plane x = 0); for skeletons with left_/right_ names such as SMPL-22.

    The joints' axes must be those of a T-pose at identity rotations; SMPL's rest offsets are a little asymmetric, so
    positions mirror to within that asymmetry.
    """
    names = motion.skeleton.joint_names
    if not any(name.startswith("left_") for name in names) or motion.joint_translations_m is not None:
        raise BadInputError("mirror needs a skeleton with left_... and right_... joints: retarget to smpl22 first")
    order = [motion.skeleton.index(mirrored_name(name)) for name in names]
    flip_q = motion.local_rotations.new_tensor((1.0, 1.0, -1.0, -1.0))
    flip_x = motion.root_position_m.new_tensor((-1.0, 1.0, 1.0))
    return replace(
        motion,
        local_rotations=motion.local_rotations[:, order] * flip_q,
        root_position_m=motion.root_position_m * flip_x,
    )


def turned(motion: Motion, rotation: Float[Tensor, "4"], translation_m: Float[Tensor, "3"]) -> Motion:
    """The whole motion rotated about the origin, then moved."""
    rotations = motion.local_rotations.clone()
    rotations[:, 0] = quat_multiply(rotation.expand_as(rotations[:, 0]), rotations[:, 0])
    return replace(
        motion, local_rotations=rotations, root_position_m=quat_rotate(rotation, motion.root_position_m) + translation_m
    )


def ground(motion: Motion) -> Motion:
    """Moved up or down so that the lowest joint of the whole motion is at height 0 (MotionStreamer's floor)."""
    lowest = motion.joint_positions_m()[..., 1].min()
    shift = torch.zeros(3).to(motion.root_position_m)
    shift[1] = -lowest
    return replace(motion, root_position_m=motion.root_position_m + shift)


def face_forward(motion: Motion) -> Motion:
    """Turned about Y and moved on the ground so that the first frame faces +Z above the origin."""
    turn = quat_conjugate(quat_yaw(quat_normalize(motion.local_rotations[0, 0])))
    start = motion.root_position_m[0].clone()
    start[1] = 0.0
    return turned(motion, turn, -quat_rotate(turn, start))


def foot_contacts(motion: Motion) -> Bool[Tensor, "t 4"]:
    """Whether left ankle, left toe, right ankle, right toe stand: slow and near their own lowest height.

    Needs the SMPL-22 joint names (retarget first). A joint's rest height differs from foot to foot, so the height is
    measured from the joint's 5th percentile over the motion.
    """
    joints = [motion.skeleton.index(name) for name in FOOT_JOINTS]
    return contacts_from_positions(motion.joint_positions_m()[:, joints], motion.fps)


def contacts_from_positions(feet_m: Float[Tensor, "t f 3"], fps: float) -> Bool[Tensor, "t f"]:
    """Contacts of given foot joints: slower than CONTACT_SPEED_MPS, lower than CONTACT_HEIGHT_M above their low."""
    if feet_m.shape[0] < 2:
        return torch.ones(feet_m.shape[:2], dtype=torch.bool)
    velocity = torch.gradient(feet_m, dim=0)[0] * fps
    low = torch.quantile(feet_m[..., 1], 0.05, dim=0)
    contacts: Tensor = (velocity.norm(dim=-1) < CONTACT_SPEED_MPS) & (feet_m[..., 1] < low + CONTACT_HEIGHT_M)
    return contacts


def in_joint_order(motion: Motion, skeleton: Skeleton, tolerance_m: float = 1e-3) -> Motion | None:
    """The motion on `skeleton` when its own is the same but for the joints' order (files reorder them); else None."""
    own = motion.skeleton
    if set(own.joint_names) != set(skeleton.joint_names):
        return None
    order = [own.index(name) for name in skeleton.joint_names]
    for joint, source in enumerate(order):
        parent, own_parent = skeleton.parents[joint], own.parents[source]
        if (parent < 0) != (own_parent < 0) or (parent >= 0 and order[parent] != own_parent):
            return None
    if not torch.allclose(own.offsets_m[order][1:], skeleton.offsets_m[1:], atol=tolerance_m):
        return None
    extra = motion.joint_translations_m
    return replace(
        motion,
        skeleton=skeleton,
        local_rotations=motion.local_rotations[:, order],
        joint_translations_m=None if extra is None else extra[:, order],
    )


def concatenate(motions: Sequence[Motion]) -> Motion:
    """One after the other as they stand; all need the same skeleton and rate and no animated translations."""
    if not motions:
        raise BadInputError("expected at least one motion to concatenate, got none")
    first = motions[0]
    for other in motions[1:]:
        if other.skeleton.joint_names != first.skeleton.joint_names or other.fps != first.fps:
            raise BadInputError("motions can be concatenated only when they have the same joints and frame rate")
    if any(motion.joint_translations_m is not None for motion in motions):
        raise BadInputError("motions with animated joint translations cannot be concatenated: retarget them first")
    return replace(
        first,
        local_rotations=torch.cat([motion.local_rotations for motion in motions]),
        root_position_m=torch.cat([motion.root_position_m for motion in motions]),
    )
