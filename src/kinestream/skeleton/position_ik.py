"""From recorded marker positions to a body's rotations, in closed form for all frames at once.

What positions leave open is decided plausibly: the twist of a limb comes from the hinge of its elbow or knee where that
is bent, and goes over smoothly to a neutral one where it is straight; constant offsets between markers and joints are
estimated from the recording. All tensors are float64, metres, Y up; rotations are world orientations (wxyz) away from
SMPL-22's rest pose unless they are called local.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.rotations import (
    quat_about_axis,
    quat_between,
    quat_conjugate,
    quat_from_matrix,
    quat_from_rotvec,
    quat_multiply,
    quat_normalize,
    quat_rotate,
    quat_unrolled,
    quat_yaw,
    rotvec_from_quat,
)
from kinestream.skeleton.foot_placement import shift_ankles

# A limb's twist is seen where its hinge is bent: the weight is the squared sine of the bend, and 1
# beyond a right angle. A neutral twist has this
# weight, and the sum is smoothed over this time where the bend is less than 45 degrees.
NEUTRAL_WEIGHT = 0.04
TWIST_SMOOTHING_S = 0.12
# How far an estimated joint centre may stray from where it is expected (the fit's prior, in metres and samples).
_CENTRE_RIDGE = 20.0
# Ankles are moved to where they were seen by at most this much.
_MAX_ANKLE_SHIFT_M = 0.06


def frame_from_axes(main: Float[Tensor, "t 3"], second: Float[Tensor, "t 3"], axes: str) -> Float[Tensor, "t 4"]:
    """Orientations whose axis `axes[0]` is `main` and whose axis `axes[1]` is as near to `second` as it can be."""
    a = torch.nn.functional.normalize(main, dim=-1)
    b = torch.nn.functional.normalize(second - (second * a).sum(-1, keepdim=True) * a, dim=-1)
    columns: list[Tensor | None] = [None, None, None]
    i, j = "xyz".index(axes[0]), "xyz".index(axes[1])
    k = 3 - i - j
    columns[i], columns[j] = a, b
    third = torch.linalg.cross(a, b, dim=-1)
    columns[k] = third if (j - i) % 3 == 1 else -third
    return quat_unrolled(quat_from_matrix(torch.stack([c for c in columns if c is not None], dim=-1)))


def mean_rotation(q: Float[Tensor, "t 4"]) -> Float[Tensor, "4"]:
    """The mean of rotations that lie near each other."""
    aligned = torch.where((q * q[:1]).sum(-1, keepdim=True) < 0, -q, q)
    return quat_normalize(aligned.mean(dim=0))


def joint_centre(
    frame: Float[Tensor, "t 4"],
    marker_m: Float[Tensor, "t 3"],
    next_joint_m: Float[Tensor, "t 3"],
    expected_m: tuple[float, float, float],
) -> Float[Tensor, "3"]:
    """Where a joint lies from its marker, in the frame of its segment: there the next joint keeps its distance.

    A sphere fitted to the next joint's places by linear least squares, drawn to the expected offset.
    """
    seen = quat_rotate(quat_conjugate(frame), next_joint_m - marker_m)
    prior = seen.new_tensor(expected_m)
    shifted = seen - prior
    rows = torch.cat((2.0 * shifted, torch.ones_like(shifted[:, :1])), dim=1)
    squares = shifted.square().sum(-1)
    ridge = torch.diag(rows.new_tensor((_CENTRE_RIDGE,) * 3 + (0.0,)))
    solved = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ squares)
    centre: Tensor = prior + solved[:3].clamp(-0.05, 0.05)
    return centre


def level_floor(
    heights_m: Float[Tensor, "t"], fps: float, window_s: float = 2.0, smoothing_s: float = 0.6
) -> Float[Tensor, "t"]:
    """The floor under a recording whose height drifts: the lower envelope of its lowest points, smoothed.

    What is above the floor for less than `window_s` (a raised foot, a jump) does not lift it.
    """
    reach = max(int(window_s * fps / 2), 1)
    if len(heights_m) <= 2 * reach:
        return heights_m.min().expand_as(heights_m).clone()
    low = -_window_max(-heights_m, reach)
    return smoothed(_window_max(low, reach)[:, None], smoothing_s * fps)[:, 0]


def smoothed(values: Float[Tensor, "t d"], sigma: float) -> Float[Tensor, "t d"]:
    """Gaussian mean over time with the ends held."""
    reach = max(int(3 * sigma), 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=values.dtype) / max(sigma, 1e-6)) ** 2)
    padded = torch.cat((values[:1].expand(reach, -1), values, values[-1:].expand(reach, -1)))
    mean: Tensor = torch.nn.functional.conv1d(padded.T[:, None], (kernel / kernel.sum())[None, None])[:, 0].T
    return mean


def _window_max(values: Float[Tensor, "t"], reach: int) -> Float[Tensor, "t"]:
    padded = torch.cat((values[:1].expand(reach), values, values[-1:].expand(reach)))
    return padded.unfold(0, 2 * reach + 1, 1).amax(dim=1)


def hinged_limb(
    above: Float[Tensor, "t 4"],
    rest_bone: Float[Tensor, "3"],
    rest_hinge: Float[Tensor, "3"],
    upper: Float[Tensor, "t 3"],
    lower: Float[Tensor, "t 3"],
    fps: float,
    neutral: Float[Tensor, "t 3"] | None = None,
) -> tuple[Float[Tensor, "t 4"], Float[Tensor, "t 4"]]:
    """World orientations of a limb's upper and lower bone from their directions.

    `rest_bone` is the upper bone's rest direction, `rest_hinge` the axis about which the limb bends (by the right hand)
    and `above` the orientation it hangs from. Where the limb is straight the hinge goes towards `neutral` (None: where
    a swing without twist leaves it).
    """
    bone = rest_bone.expand_as(upper)
    swing = quat_multiply(quat_between(quat_rotate(above, bone), upper), above)
    along = torch.nn.functional.normalize(upper, dim=-1)
    square = rest_hinge - (rest_hinge @ rest_bone) * rest_bone / rest_bone.square().sum()
    side = quat_rotate(swing, torch.nn.functional.normalize(square, dim=-1).expand_as(upper))
    other = torch.linalg.cross(along, side, dim=-1)
    seen = torch.linalg.cross(along, torch.nn.functional.normalize(lower, dim=-1), dim=-1)
    folded = (along * torch.nn.functional.normalize(lower, dim=-1)).sum(-1, keepdim=True) < 0.0
    weight = torch.where(folded, torch.ones_like(seen[:, :1]), seen.square().sum(-1, keepdim=True))
    direction = torch.nn.functional.normalize(seen, dim=-1) * weight
    wanted = (
        side
        if neutral is None
        else torch.nn.functional.normalize(neutral - (neutral * along).sum(-1, keepdim=True) * along, dim=-1)
    )
    total = direction + NEUTRAL_WEIGHT * wanted
    plane = torch.stack(((total * side).sum(-1), (total * other).sum(-1)), dim=-1)
    plane = torch.lerp(smoothed(plane, TWIST_SMOOTHING_S * fps), plane, ((weight - 0.15) / 0.35).clamp(0.0, 1.0))
    angle = torch.atan2(plane[:, 1], plane[:, 0])
    twist = torch.cat((torch.cos(angle / 2)[:, None], torch.sin(angle / 2)[:, None] * along), dim=-1)
    upper_world = quat_multiply(twist, swing)
    lower_world = quat_multiply(quat_between(quat_rotate(upper_world, bone), lower), upper_world)
    return upper_world, lower_world


def bounded_turn(turn: Float[Tensor, "t 4"], free_rad: float, most_rad: float) -> Float[Tensor, "t 4"]:
    """Rotations as they are up to an angle, and smoothly less than that beyond: never more than `most_rad`."""
    vector = rotvec_from_quat(turn)
    angle = vector.norm(dim=-1, keepdim=True)
    room = most_rad - free_rad
    allowed = free_rad + room * torch.tanh((angle - free_rad).clamp_min(0.0) / room)
    return quat_from_rotvec(vector * (torch.minimum(angle, allowed) / angle.clamp_min(1e-9)))


def named_sideways(
    lines: Float[Tensor, "t 3"], seldom: float = 0.025
) -> tuple[Float[Tensor, "t 3"], Bool[Tensor, " t"]]:
    """Lines between a right and a left marker with +X ahead, and which had to be turned: the two had changed places.

    Where fewer than `seldom` of them point the other way, they really did, and nothing is turned.
    """
    turned = lines[:, 0] < 0.0
    if float(turned.double().mean()) < seldom:
        turned = torch.zeros_like(turned)
    return torch.where(turned[:, None], -lines, lines), turned


def level_knee(
    hip_m: Float[Tensor, "t 3"],
    knee_m: Float[Tensor, "t 3"],
    ankle_m: Float[Tensor, "t 3"],
    sideways: Float[Tensor, "t 3"],
) -> Float[Tensor, "1"]:
    """How far knee markers lie to the side, along `sideways`, of the plane that legs bend in: their median distance."""
    along = torch.nn.functional.normalize(ankle_m - hip_m, dim=-1)
    side = torch.nn.functional.normalize(sideways - (sideways * along).sum(-1, keepdim=True) * along, dim=-1)
    return ((knee_m - hip_m) * side).sum(-1).median()[None]


def flat_foot_offset(
    frame: Float[Tensor, "t 4"], heel_m: Float[Tensor, "t 3"], toe_m: Float[Tensor, "t 3"], fps: float
) -> Float[Tensor, "4"]:
    """What a foot's measured frame must be multiplied with to be level, on average, while the foot stands.

    Standing: heel and toes among the lower half of their heights, and of these the slower half.
    """
    ends = torch.stack((heel_m, toe_m), dim=1)
    speed = torch.zeros_like(heel_m[:, 0])
    if len(ends) > 2:
        speed = torch.gradient(ends, dim=0)[0].norm(dim=-1).amax(dim=1) * fps
    height = ends[..., 1].mean(dim=1)
    low = height <= height.quantile(0.5)
    standing = low & (speed <= speed[low].quantile(0.5))
    return mean_rotation(quat_multiply(quat_conjugate(frame[standing]), quat_yaw(frame[standing])))


def placed_ankles(
    thigh: Float[Tensor, "t 2 4"],
    shin: Float[Tensor, "t 2 4"],
    bones_m: tuple[Float[Tensor, "2 3"], Float[Tensor, "2 3"]],
    hips_m: Float[Tensor, "t 2 3"],
    ankles_m: Float[Tensor, "t 2 3"],
) -> tuple[Float[Tensor, "t 2 4"], Float[Tensor, "t 2 4"]]:
    """Thigh and shin orientations whose ankles lie where they were seen, or as near as the leg and 6 cm allow."""
    upper = quat_rotate(thigh, bones_m[0].expand(*thigh.shape[:2], 3))
    lower = quat_rotate(shin, bones_m[1].expand(*shin.shape[:2], 3))
    shift = ankles_m - (hips_m + upper + lower)
    length = shift.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    shift = shift * (length.clamp_max(_MAX_ANKLE_SHIFT_M) / length)
    ahead = quat_rotate(thigh, torch.tensor((0.0, 0.0, 1.0), dtype=thigh.dtype).expand_as(upper))
    return shift_ankles(thigh, shin, upper, lower, shift, ahead)


def pitch_offset(seen: Float[Tensor, "t 3"], rest: Float[Tensor, "3"]) -> Float[Tensor, "4"]:
    """The turn about X that takes the rest direction to the mean of the seen ones, both in the same segment's frame."""
    mean = torch.nn.functional.normalize(seen, dim=-1).mean(dim=0)
    angle = math.atan2(float(mean[2]), float(mean[1])) - math.atan2(float(rest[2]), float(rest[1]))
    return quat_about_axis(torch.tensor(angle, dtype=seen.dtype), "X")
