"""Rotations as pure functions on tensors.

Conventions: quaternions are wxyz with unit norm; 6D rotations are the first two **rows** of the matrix
(Zhou et al., CVPR 2019, written by rows as MotionStreamer does); angles are radians; matrices act on column
vectors; Euler angles are intrinsic, so the order "ZXY" means R = Rz @ Rx @ Ry, as in a BVH channel list.
Every function broadcasts over leading dimensions and follows its inputs' device and dtype.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_AXES = {"X": 0, "Y": 1, "Z": 2}


def quat_normalize(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """Scale to unit norm."""
    unit: Tensor = q / q.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return unit


def quat_multiply(a: Float[Tensor, "... 4"], b: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """Hamilton product: the rotation that first applies `b`, then `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def quat_conjugate(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """The inverse of a unit quaternion."""
    return torch.cat((q[..., :1], -q[..., 1:]), dim=-1)


def quat_rotate(q: Float[Tensor, "... 4"], v: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Rotate vectors by unit quaternions."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = 2.0 * torch.linalg.cross(u, v, dim=-1)
    rotated: Tensor = v + w * t + torch.linalg.cross(u, t, dim=-1)
    return rotated


def matrix_from_quat(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix of a unit quaternion."""
    w, x, y, z = q.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    matrix: Tensor = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    return matrix


def quat_from_matrix(m: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 4"]:
    """Unit quaternion (w >= 0) of a rotation matrix; picks the best conditioned of the four formulas per element."""
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    s21, s02, s10 = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    p01, p02, p12 = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    candidates = torch.stack(
        (
            torch.stack((1 + m00 + m11 + m22, s21, s02, s10), dim=-1),
            torch.stack((s21, 1 + m00 - m11 - m22, p01, p02), dim=-1),
            torch.stack((s02, p01, 1 - m00 + m11 - m22, p12), dim=-1),
            torch.stack((s10, p02, p12, 1 - m00 - m11 + m22), dim=-1),
        ),
        dim=-2,
    )
    best = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(dim=-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    q = quat_normalize(candidates.gather(-2, index).squeeze(-2))
    return torch.where(q[..., :1] < 0, -q, q)


def rot6d_from_matrix_rows(m: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 6"]:
    """The first two rows of a rotation matrix, row after row."""
    return m[..., :2, :].flatten(-2)


def matrix_from_rot6d_rows(d: Float[Tensor, "... 6"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix from two approximate rows by Gram-Schmidt."""
    a, b = d[..., :3], d[..., 3:]
    x = torch.nn.functional.normalize(a, dim=-1)
    y = torch.nn.functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y, dim=-1)), dim=-2)


def quat_from_rotvec(v: Float[Tensor, "... 3"]) -> Float[Tensor, "... 4"]:
    """Unit quaternion of an axis-angle vector, exact at zero."""
    half = 0.5 * v.norm(dim=-1, keepdim=True)
    return torch.cat((torch.cos(half), 0.5 * torch.sinc(half / torch.pi) * v), dim=-1)


def rotvec_from_quat(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3"]:
    """Axis-angle vector with an angle of at most pi."""
    q = torch.where(q[..., :1] < 0, -q, q)
    sin_half = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sin_half, q[..., :1])
    scale = torch.where(sin_half > 1e-7, angle / sin_half.clamp_min(1e-7), torch.full_like(angle, 2.0))
    return q[..., 1:] * scale


def quat_angle_rad(a: Float[Tensor, "... 4"], b: Float[Tensor, "... 4"]) -> Float[Tensor, "..."]:
    """Angle in [0, pi] between two rotations."""
    angle: Tensor = rotvec_from_quat(quat_multiply(quat_conjugate(a), b)).norm(dim=-1)
    return angle


def quat_slerp(a: Float[Tensor, "... 4"], b: Float[Tensor, "... 4"], t: Tensor | float) -> Float[Tensor, "... 4"]:
    """Spherical interpolation along the shorter arc; `t` broadcasts against the leading dimensions."""
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    t = t[..., None] if t.ndim else t
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    angle = torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True)) * 2.0
    sin = torch.sin(angle)
    near = sin < 1e-6
    safe = torch.where(near, torch.ones_like(sin), sin)
    wa = torch.where(near, 1.0 - t, torch.sin((1.0 - t) * angle) / safe)
    wb = torch.where(near, t + torch.zeros_like(sin), torch.sin(t * angle) / safe)
    return quat_normalize(wa * a + wb * b)


def quat_about_axis(angle: Float[Tensor, "..."], axis: str) -> Float[Tensor, "... 4"]:
    """Rotation by `angle` (radians) about the coordinate axis "X", "Y" or "Z"."""
    half = 0.5 * angle
    parts = [torch.cos(half), torch.zeros_like(half), torch.zeros_like(half), torch.zeros_like(half)]
    parts[1 + _AXES[axis]] = torch.sin(half)
    return torch.stack(parts, dim=-1)


def quat_from_euler_rad(angles: Float[Tensor, "... n"], order: str) -> Float[Tensor, "... 4"]:
    """Intrinsic Euler angles in the order of their letters ("ZXY": R = Rz @ Rx @ Ry); any length of order."""
    if angles.shape[-1] != len(order) or any(letter not in _AXES for letter in order):
        raise ValueError(f"expected one angle per letter of X, Y, Z; got order {order!r} for {angles.shape[-1]} angles")
    q = torch.zeros(*angles.shape[:-1], 4, dtype=angles.dtype, device=angles.device)
    q[..., 0] = 1.0
    for i, letter in enumerate(order):
        q = quat_multiply(q, quat_about_axis(angles[..., i], letter))
    return q


def euler_from_quat_rad(q: Float[Tensor, "... 4"], order: str) -> Float[Tensor, "... 3"]:
    """Intrinsic Euler angles for three different axes; at gimbal lock the third angle is zero."""
    if sorted(order) != ["X", "Y", "Z"]:
        raise ValueError(f"expected a permutation of XYZ, got {order!r}")
    m = matrix_from_quat(q)
    i, j, k = (_AXES[letter] for letter in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    cos_second = torch.hypot(m[..., i, i], m[..., i, j])
    second = torch.atan2(sign * m[..., i, k], cos_second)
    locked = cos_second < 1e-6
    first = torch.atan2(-sign * m[..., j, k], m[..., k, k])
    third = torch.atan2(-sign * m[..., i, j], m[..., i, i])
    first_locked = torch.atan2(sign * m[..., k, j], m[..., j, j])
    first = torch.where(locked, first_locked, first)
    third = torch.where(locked, torch.zeros_like(third), third)
    return torch.stack((first, second, third), dim=-1)


def quat_between(a: Float[Tensor, "... 3"], b: Float[Tensor, "... 3"]) -> Float[Tensor, "... 4"]:
    """The shortest rotation that turns direction `a` into direction `b`; opposite directions turn about any normal."""
    a = torch.nn.functional.normalize(a, dim=-1)
    b = torch.nn.functional.normalize(b, dim=-1)
    a, b = torch.broadcast_tensors(a, b)
    w = 1.0 + (a * b).sum(-1, keepdim=True)
    q = torch.cat((w, torch.linalg.cross(a, b, dim=-1)), dim=-1)
    helper = torch.zeros_like(a)
    helper.scatter_(-1, a.abs().argmin(dim=-1, keepdim=True), 1.0)
    flipped = torch.cat((torch.zeros_like(w), torch.linalg.cross(a, helper, dim=-1)), dim=-1)
    return quat_normalize(torch.where(w < 1e-6, flipped, q))


def quat_yaw(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """The heading: the rotation about +Y that turns +Z to where `q` turns +Z, seen from above.

    Roots and quotients only, whose rounding does not depend on how many rotations there are.
    """
    w, x, y, z = q.unbind(-1)
    forward_x, forward_z = 2 * (x * z + w * y), 1 - 2 * (x * x + y * y)
    length = (forward_x * forward_x + forward_z * forward_z).sqrt()
    # Cosine and sine of half the angle, both times the same number: of two such pairs the one that is not near 0.
    behind = forward_z < 0
    cos = torch.where(behind, forward_x.abs(), length + forward_z)
    sin = torch.where(behind, (length - forward_z).copysign(forward_x), forward_x)
    cos = torch.where(length > 0, cos, torch.ones_like(cos))
    norm, none = (cos * cos + sin * sin).sqrt(), torch.zeros_like(cos)
    return torch.stack((cos / norm, none, sin / norm, none), dim=-1)


def quat_unrolled(q: Float[Tensor, "... 4"], dim: int = 0) -> Float[Tensor, "... 4"]:
    """Choose signs so that neighbours along `dim` lie in the same half space; the rotations stay the same."""
    moved = q.movedim(dim, 0)
    if moved.shape[0] < 2:
        return q
    flips = torch.where((moved[1:] * moved[:-1]).sum(-1, keepdim=True) < 0, -1.0, 1.0).to(q.dtype)
    signs = torch.cat((torch.ones_like(flips[:1]), torch.cumprod(flips, dim=0)), dim=0)
    return (moved * signs).movedim(0, dim)
