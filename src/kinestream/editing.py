"""Everyday cuts of motions: a piece, another speed, in place, a loop without a seam, several files as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.motion import Motion, at_frames, mirror, resample, turned
from kinestream.rotations import (
    quat_about_axis,
    quat_angle_rad,
    quat_conjugate,
    quat_from_rotvec,
    quat_multiply,
    quat_normalize,
    quat_rotate,
    quat_slerp,
    quat_unrolled,
    quat_yaw,
    rotvec_from_quat,
)
from kinestream.skeleton import Skeleton, forward_kinematics

# Sways of about a second stay in place with the body, slower travel is taken out.
_TRAVEL_S = 0.5
# A cycle that ends so near to where it began is closed on the spot; one that ends farther away travels.
_SAME_PLACE_M = 0.1
_SAME_HEADING_RAD = math.radians(10.0)
# How long velocities at a loop's ends take to become one.
_VELOCITY_BLEND_S = 0.5
# What a difference of 1 m/s counts against one of 1 m where cuts of a loop are compared.
_VELOCITY_WEIGHT_S = 0.1
# Joints that are partners rest within so much of the body's size of each other's mirror images.
_PARTNER_SHARE = 0.03
# Frames that may begin a loop: so many at most are compared with all others.
_STARTS = 300


def between(motion: Motion, start_s: float = 0.0, end_s: float | None = None) -> Motion:
    """The frames from `start_s` to `end_s` (seconds; None: the end), each at the nearest frame, `end_s` excluded.

    Raises BadInputError where that leaves no frame of the motion.
    """
    stop = motion.num_frames if end_s is None else min(round(end_s * motion.fps), motion.num_frames)
    start = round(start_s * motion.fps)
    if not 0 <= start < stop:
        asked = f"{start_s:g} s to {'the end' if end_s is None else f'{end_s:g} s'}"
        raise BadInputError(f"no frame lies in {asked}; the motion lasts {motion.duration_s:.3f} s")
    return motion.slice(start, stop)


def retimed(motion: Motion, speed: float) -> Motion:
    """The movement `speed` times as fast, at the same frame rate."""
    if not (math.isfinite(speed) and speed > 0.0):
        raise BadInputError(f"expected a speed above 0 (2 is twice as fast), got {speed}")
    count = int((motion.num_frames - 1) / speed + 1e-6) + 1
    return at_frames(motion, torch.arange(count, dtype=torch.float64) * speed)


def in_place(motion: Motion) -> Motion:
    """Without travel over the ground: the body stays above its first frame's place, steps and sways about it.

    Travel is the root's path, smoothed over about a second; height and heading stay as they are.
    """
    path = motion.root_position_m[:, [0, 2]].double().numpy()
    pad = min(motion.num_frames - 1, math.ceil(4 * _TRAVEL_S * motion.fps))
    # Reflected through the end points, so that a straight way at one speed is taken out to its ends.
    padded = np.pad(path, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd") if pad else path
    smooth = gaussian_filter1d(padded, _TRAVEL_S * motion.fps, axis=0, mode="nearest")[pad : pad + len(path)]
    root = motion.root_position_m.clone()
    root[:, [0, 2]] -= torch.from_numpy(smooth - smooth[:1]).to(root)
    return replace(motion, root_position_m=root)


def mirrored(motion: Motion) -> Motion:
    """Left and right exchanged, on any skeleton whose rest pose is its own mirror image in a plane x = constant.

    Skeletons with left_/right_ names go by these (`kinestream.motion.mirror`), others by where their joints rest.
    Raises BadInputError where a joint has no partner.
    """
    if any(name.startswith("left_") for name in motion.skeleton.joint_names) and motion.joint_translations_m is None:
        return mirror(motion)
    order = _mirror_partners(motion.skeleton)
    flip_q, flip_x = (motion.root_position_m.new_tensor(v) for v in ((1.0, 1.0, -1.0, -1.0), (-1.0, 1.0, 1.0)))
    extra = motion.joint_translations_m
    return replace(
        motion,
        local_rotations=motion.local_rotations[:, order] * flip_q,
        root_position_m=motion.root_position_m * flip_x,
        joint_translations_m=None if extra is None else extra[:, order] * flip_x,
    )


def _mirror_partners(skeleton: Skeleton) -> list[int]:
    """Each joint's partner on the other side (itself on the middle line), from the rest pose."""
    still = torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(1, skeleton.num_joints, 4)
    rest = forward_kinematics(skeleton, still, torch.zeros(1, 3))[0][0].double()
    beyond = rest.clone()  # the middle of all that hangs from a joint: tells joints apart that rest at one place
    for joint in reversed(range(skeleton.num_joints)):
        beyond[joint] = torch.stack([rest[joint], *(beyond[child] for child in skeleton.children(joint))]).mean(dim=0)
    seen = torch.cat((rest, beyond), dim=-1)
    flipped = torch.cat((rest, beyond), dim=-1)
    flipped[:, [0, 3]] = 2 * rest[0, 0] - flipped[:, [0, 3]]
    near = _PARTNER_SHARE * float((rest.amax(dim=0) - rest.amin(dim=0)).max())
    partner = [-1] * skeleton.num_joints
    for joint in range(skeleton.num_joints):
        parent = skeleton.parents[joint]
        others = skeleton.children(partner[parent]) if parent >= 0 else (joint,)
        apart = [(float((seen[other] - flipped[joint]).norm()), other) for other in others]
        distance, partner[joint] = min(apart, default=(math.inf, joint))
        if distance > near:
            raise _no_partner(skeleton.joint_names[joint])
    for joint, other in enumerate(partner):
        if partner[other] != joint:
            raise _no_partner(skeleton.joint_names[joint])
    return partner


def _no_partner(name: str) -> BadInputError:
    return BadInputError(
        f"mirror: joint {name!r} has no partner on the other side in the rest pose, which must be symmetric and face "
        "+Z or -Z; retarget to smpl22 first (--to smpl22)"
    )


@dataclass(frozen=True)
class Loop:
    """A motion whose last frame is its first one again, and where it was cut (`stop` included).

    `travels`: the last frame stands farther on (or turned) and the next cycle goes on from there; else it is the first
    one exactly. `seam_m` is how far joints lay apart, on average, before the ends were blended.
    """

    motion: Motion
    start: int
    stop: int
    travels: bool
    seam_m: float


def looped(motion: Motion, *, travels: bool | None = None, shortest_s: float | None = None) -> Loop:
    """The best cycle of the motion, its ends blended so that pose and velocity go on from the last frame to the first.

    The cut whose ends are most alike in pose and velocity is taken, at least `shortest_s` long (None: half the motion).
    What remains between the ends is spread over the whole cycle. `travels` None closes a cycle on the spot when it ends
    within 0.1 m and 10 degrees of where it began. Raises BadInputError for motions too short to hold a cycle.
    """
    shortest = math.ceil((motion.duration_s / 2 if shortest_s is None else shortest_s) * motion.fps)
    shortest = max(shortest, 4)
    if motion.num_frames < shortest + 3:
        raise BadInputError(
            f"expected at least {shortest + 3} frames to cut a loop from, got {motion.num_frames}; give a longer piece"
        )
    start, stop, seam_m = _best_cut(motion, shortest, on_the_spot=travels is False)
    if travels is None:
        root = motion.root_position_m[[start, stop]][:, [0, 2]]
        turn = quat_angle_rad(*quat_yaw(motion.local_rotations[[start, stop], 0]))
        travels = float((root[1] - root[0]).norm()) > _SAME_PLACE_M or float(turn) > _SAME_HEADING_RAD
    return Loop(_closed(motion, start, stop, travels), start, stop, travels, seam_m)


def _best_cut(motion: Motion, shortest: int, on_the_spot: bool) -> tuple[int, int, float]:
    """The two frames, neither of them at an end, that are most alike; and how far joints lie apart between them."""
    positions = motion.joint_positions_m()
    ground = motion.root_position_m * positions.new_tensor((1.0, 0.0, 1.0))
    away = quat_conjugate(quat_yaw(motion.local_rotations[:, 0]))
    if on_the_spot:
        away = away[:1].expand_as(away)
    velocity = quat_rotate(away[:, None], torch.gradient(positions, dim=0)[0] * motion.fps)
    local = quat_rotate(away[:, None], positions - ground[:, None])
    features = torch.cat((local, _VELOCITY_WEIGHT_S * velocity), dim=-1).flatten(1)
    last = motion.num_frames - 2
    starts = torch.arange(1, last - shortest + 1)
    starts = starts[:: -(-len(starts) // _STARTS)]
    cost = torch.cdist(features[starts], features[1 + shortest : last + 1])
    stops = torch.arange(1 + shortest, last + 1)
    cost = cost.masked_fill(stops[None] < starts[:, None] + shortest, torch.inf)
    row, column = divmod(int(cost.argmin()), cost.shape[1])
    start, stop = int(starts[row]), int(stops[column])
    return start, stop, float((local[start] - local[stop]).norm(dim=-1).mean())


@dataclass(frozen=True)
class _Seam:
    """How differences between frames `start` and `stop` are spread over the frames between them (both included).

    Half of a pose's difference is added at each end and fades by a smooth step through the cycle; velocities' halves
    fade within _VELOCITY_BLEND_S and leave the end poses alone. `velocity_share` is in frames.
    """

    start: int
    stop: int
    pose_share: Float[Tensor, "n"]
    velocity_share: Float[Tensor, "n"]

    @classmethod
    def between(cls, start: int, stop: int, fps: float) -> _Seam:
        frame = torch.arange(stop - start + 1, dtype=torch.float64)
        reach = min(_VELOCITY_BLEND_S * fps, (stop - start) / 2)
        u = frame / (stop - start)
        return cls(
            start, stop, u * u * (3 - 2 * u) - 0.5, -0.5 * (_fading(frame, reach) + _fading(frame.flip(0), reach))
        )

    def rotations(self, q: Float[Tensor, "t j 4"]) -> Float[Tensor, "n j 4"]:
        """The cycle's frames of joints' rotations, both ends alike."""
        pose, velocity = self.pose_share[:, None, None], self.velocity_share[:, None, None]
        gap = rotvec_from_quat(quat_multiply(quat_conjugate(q[self.stop]), q[self.start]))
        half = quat_from_rotvec(gap / 2)
        change = quat_rotate(half, _spin(q, self.start)) - quat_rotate(quat_conjugate(half), _spin(q, self.stop))
        moved = quat_multiply(q[self.start : self.stop + 1], quat_from_rotvec(pose * gap))
        return quat_multiply(moved, quat_from_rotvec(velocity * change))

    def places(self, p: Float[Tensor, "t ..."]) -> Float[Tensor, "n ..."]:
        """The cycle's frames of positions, both ends alike."""
        shape = (-1, *([1] * (p.ndim - 1)))
        gap, change = p[self.start] - p[self.stop], _step(p, self.start) - _step(p, self.stop)
        cycle = p[self.start : self.stop + 1]
        return cycle + self.pose_share.reshape(shape) * gap + self.velocity_share.reshape(shape) * change

    def travel(
        self, pelvis: Float[Tensor, "t 4"], root_m: Float[Tensor, "t 3"]
    ) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
        """The cycle's root where heading and place on the ground go on: only height, tilt and velocities are alike."""
        cycle = slice(self.start, self.stop + 1)
        heading = quat_yaw(pelvis)
        tilt = self.rotations(quat_multiply(quat_conjugate(heading), pelvis)[:, None])[:, 0]
        turning = _spin(heading, self.start)[1] - _spin(heading, self.stop)[1]
        headed = quat_multiply(heading[cycle], quat_about_axis(self.velocity_share * turning, "Y"))
        ahead = [quat_rotate(quat_conjugate(heading[i]), _step(root_m, i)) for i in (self.start, self.stop)]
        change = self.velocity_share[:, None] * ((ahead[0] - ahead[1]) * root_m.new_tensor((1.0, 0.0, 1.0)))
        root = root_m[cycle] + quat_rotate(headed, change)
        root[:, 1] = self.places(root_m[:, 1])
        return quat_multiply(headed, tilt), root


def _closed(motion: Motion, start: int, stop: int, travels: bool) -> Motion:
    seam = _Seam.between(start, stop, motion.fps)
    q, root = motion.local_rotations.double(), motion.root_position_m.double()
    local, position = seam.rotations(q), seam.places(root)
    if travels:
        local[:, 0], position = seam.travel(q[:, 0], root)
    extra = motion.joint_translations_m
    return replace(
        motion,
        local_rotations=local.to(motion.local_rotations),
        root_position_m=position.to(motion.root_position_m),
        joint_translations_m=None if extra is None else seam.places(extra.double()).to(extra),
    )


def joined(motions: Sequence[Motion], blend_s: float = 0.25) -> Motion:
    """One after the other: each goes on from the one before it, its start blended with that one's end.

    During `blend_s` both run, the earlier one fading out; 0 cuts hard. Rates become the first one's. Raises
    BadInputError for other joints, animated joint translations, or a motion shorter than its blends.
    """
    if not motions:
        raise BadInputError("expected at least one motion to join, got none")
    if not (math.isfinite(blend_s) and blend_s >= 0.0):
        raise BadInputError(f"expected a blend of 0 seconds or more, got {blend_s}")
    whole = motions[0]
    overlap = round(blend_s * whole.fps)
    for number, motion in enumerate(motions):
        if motion.skeleton.joint_names != whole.skeleton.joint_names:
            raise BadInputError(f"motion {number + 1} ({motion.name!r}) has other joints than the first: retarget it")
        if motion.joint_translations_m is not None:
            raise BadInputError(f"motion {number + 1} ({motion.name!r}) animates joints' translations: retarget it")
        following = resample(motion, whole.fps)
        blends = overlap * (1 if number in (0, len(motions) - 1) else 2)
        if len(motions) > 1 and following.num_frames <= blends:
            raise BadInputError(
                f"motion {number + 1} ({motion.name!r}) lasts {motion.duration_s:.3f} s, too short for blends of "
                f"{blend_s:g} s; give a shorter --blend"
            )
        if number:
            whole = _appended(whole, following, overlap)
    return whole


def _appended(before: Motion, after: Motion, overlap: int) -> Motion:
    """`after` behind `before`, so put that during the blend of `overlap` frames both are at one place, headed alike."""
    shared = max(overlap, 1)
    end, start = before.slice(before.num_frames - shared), after.slice(0, shared)
    turn = quat_multiply(_mean_heading(end), quat_conjugate(_mean_heading(start)))
    flat = before.root_position_m.new_tensor((1.0, 0.0, 1.0))
    away = (end.root_position_m.mean(dim=0) - quat_rotate(turn, start.root_position_m.mean(dim=0))) * flat
    after = turned(after, turn, away)
    t = (torch.arange(overlap, dtype=torch.float32) + 1) / (overlap + 1)
    t = t * t * (3 - 2 * t)
    kept = before.num_frames - overlap
    old, new = before.local_rotations[kept:], after.local_rotations[:overlap]
    old_root, new_root = before.root_position_m[kept:], after.root_position_m[:overlap]
    return replace(
        before,
        local_rotations=torch.cat(
            (before.local_rotations[:kept], quat_slerp(old, new, t[:, None]), after.local_rotations[overlap:])
        ),
        root_position_m=torch.cat(
            (
                before.root_position_m[:kept],
                old_root + t[:, None] * (new_root - old_root),
                after.root_position_m[overlap:],
            )
        ),
    )


def _mean_heading(motion: Motion) -> Float[Tensor, "4"]:
    """The heading over a few frames: hips swing about it at every step."""
    q = quat_unrolled(quat_yaw(motion.local_rotations[:, 0]))
    return quat_normalize(q.mean(dim=0))


def _fading(frame: Tensor, reach: float) -> Tensor:
    """Rises from 0 with slope 1 and is 0 again from `reach` on."""
    return frame * (1 - frame / reach).clamp(min=0.0) ** 2


def _step(p: Tensor, frame: int) -> Tensor:
    """The mean change to and from a frame."""
    return (p[frame + 1] - p[frame - 1]) / 2


def _spin(q: Tensor, frame: int) -> Tensor:
    """The mean turn to and from a frame, as a rotation vector in the turned frame."""
    after = rotvec_from_quat(quat_multiply(quat_conjugate(q[frame]), q[frame + 1]))
    before = rotvec_from_quat(quat_multiply(quat_conjugate(q[frame - 1]), q[frame]))
    return (after + before) / 2
