"""Contextual pairs for mixed training (MotionStreamer, section 3.3): two clips joined where no real transition exists.

Joining is inertialised: from the cut on, the second clip plays with an added offset of root and joint rotations that
starts at the first clip's pose and velocity and dies away, so neither pose nor velocity jumps. Feet do not slide: see
`footwork`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.text.footwork import planted, settle_feet
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.motion import Motion, turned
from kinestream.rotations import (
    quat_conjugate,
    quat_from_rotvec,
    quat_multiply,
    quat_rotate,
    quat_unrolled,
    quat_yaw,
    rotvec_from_quat,
)

FRAMES_A_LATENT = 4
BLEND_S = 0.6
# The first frame of a clip has no velocity, and the blend needs two frames of the second clip before the cut.
MIN_START = 2
MAX_OFFSET_SPEED_RADPS = 6.0


def find_cut(
    first: Float[Tensor, "a 272"], second: Float[Tensor, "b 272"], *, earliest: int, latest_start: int
) -> tuple[int, int, float]:
    """Where to leave the first clip and enter the second so that the bodies are most alike there.

    Gives (frames kept of the first, a multiple of 4 and at least `earliest`; start frame in the second, from 2 to
    `latest_start`; cost in metres). Poses and velocities are compared in heading space, feet count four times.
    """
    ends = torch.arange(-(-earliest // FRAMES_A_LATENT) * FRAMES_A_LATENT, first.shape[0] + 1, FRAMES_A_LATENT)
    starts = torch.arange(MIN_START, max(MIN_START, min(latest_start, second.shape[0] - 2)) + 1)
    if len(ends) == 0 or second.shape[0] < MIN_START + 2:
        lengths = f"{first.shape[0]} and {second.shape[0]} frames"
        raise BadInputError(f"too short to join: {lengths}, of the first at least {earliest} are to be kept")
    a, b = _comparable(first[ends - 1]), _comparable(second[starts - 1])
    cost = torch.cdist(a, b)
    best = int(cost.argmin())
    end, start = best // len(starts), best % len(starts)
    return int(ends[end]), int(starts[start]), float(cost[end, start])


def _comparable(features: Float[Tensor, "n 272"]) -> Float[Tensor, "n d"]:
    weights = torch.ones(MOTION272.num_joints)
    weights[[7, 8, 10, 11]] = 2.0  # ankles and toes; squared by the distance
    scale = (weights / weights.square().sum().sqrt())[:, None]
    positions = MOTION272.take(features, "positions").unflatten(-1, (-1, 3)) * scale
    # What a joint travels in a fifth of a second counts like a distance.
    velocities = MOTION272.take(features, "velocities").unflatten(-1, (-1, 3)) * scale * 6.0
    root = MOTION272.take(features, "root_velocity") * 6.0
    return torch.cat((positions.flatten(1), velocities.flatten(1), root), dim=1)


def join(first: Motion, second: Motion, start: int, *, blend_s: float = BLEND_S) -> Motion:
    """`first`, then `second` from frame `start` on, moved to go on from there and blended over `blend_s` seconds.

    Both on SMPL-22 at 30 fps. Frames of `first` stay as they are. BadInputError when `start` is below 2 or a clip is
    too short.
    """
    if start < MIN_START or start >= second.num_frames or first.num_frames < 2:
        raise BadInputError(f"cannot join at frame {start} of {second.num_frames} after {first.num_frames} frames")
    moved = _placed_after(first, second, start)
    fps = first.fps
    seconds = torch.arange(1, second.num_frames - start + 1, dtype=torch.float32) / fps
    rotations = quat_unrolled(moved.local_rotations)
    before = quat_unrolled(first.local_rotations[-2:])
    offsets = rotvec_from_quat(quat_multiply(before, quat_conjugate(rotations[start - 2 : start])))
    speed = _limited((offsets[1] - offsets[0]) * fps, MAX_OFFSET_SPEED_RADPS)
    fading = _decay(offsets[1], speed, seconds, blend_s)
    blended = quat_multiply(quat_from_rotvec(fading), rotations[start:])
    root = moved.root_position_m[start:] + _root_offset(first, moved, start, seconds, blend_s)
    joined = replace(
        first,
        local_rotations=quat_unrolled(torch.cat((first.local_rotations, blended))),
        root_position_m=torch.cat((first.root_position_m, root)),
        name=f"{first.name}+{second.name}",
    )
    return settle_feet(joined, first.num_frames, planted(first)[-1].tolist(), planted(second)[start:])


def _placed_after(first: Motion, second: Motion, start: int) -> Motion:
    """The second clip turned and moved so that its frame before `start` has the last frame's heading and place."""
    turn = quat_multiply(
        quat_yaw(first.local_rotations[-1, 0]), quat_conjugate(quat_yaw(second.local_rotations[start - 1, 0]))
    )
    shift = first.root_position_m[-1] - quat_rotate(turn, second.root_position_m[start - 1])
    shift[1] = 0.0
    return turned(second, turn, shift)


def _root_offset(first: Motion, moved: Motion, start: int, seconds: Tensor, blend_s: float) -> Float[Tensor, "t 3"]:
    """Height fades back to the second clip's; on the ground the difference in velocity fades and the way gone stays."""
    before = first.root_position_m[-2:] - moved.root_position_m[start - 2 : start]
    speed = (before[1] - before[0]) * first.fps
    fading = _decay(before[1][None], speed[None], seconds, blend_s)[:, 0]
    u = (seconds / blend_s).clamp(max=1.0)
    travelled = blend_s * (u - 2.5 * u**4 + 3.0 * u**5 - u**6)  # integral of 1 - smootherstep
    offset = speed * travelled[:, None]
    offset[:, 1] = fading[:, 1]
    return offset


def _limited(vectors: Float[Tensor, "... 3"], largest: float) -> Float[Tensor, "... 3"]:
    length = vectors.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    limited: Tensor = vectors * (largest / length).clamp(max=1.0)
    return limited


def _decay(
    value: Float[Tensor, "n 3"], speed: Float[Tensor, "n 3"], seconds: Float[Tensor, "t"], duration_s: float
) -> Float[Tensor, "t n 3"]:
    """The quintic that starts with this value and speed and no acceleration, and rests at 0 after `duration_s`."""
    d = duration_s
    t = seconds.clamp(max=d)[:, None, None]
    c3 = -(20.0 * value + 12.0 * speed * d) / (2.0 * d**3)
    c4 = (30.0 * value + 16.0 * speed * d) / (2.0 * d**4)
    c5 = -(12.0 * value + 6.0 * speed * d) / (2.0 * d**5)
    curve: Tensor = value + speed * t + c3 * t**3 + c4 * t**4 + c5 * t**5
    return curve
