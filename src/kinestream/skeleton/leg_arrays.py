"""Poses and two-bone legs of a few frames in plain arrays: a stream places four frames at a time, where a tensor
operation costs fifty times what its numbers cost.

Everything is float64, quaternions are wxyz with unit norm, and leading dimensions broadcast.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kinestream.skeleton.skeleton import Skeleton

Values = npt.NDArray[np.float64]

# A knee that is bent by less than this share of its leg takes the direction it would bend in from its thigh.
_STRAIGHT_LEGS = 0.02

# a * b is a matrix of a's numbers times b: which of them stands where, and with which sign.
_LEFT = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
_LEFT_SIGNS = np.array([[1.0, -1.0, -1.0, -1.0], [1.0, 1.0, -1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [1.0, -1.0, 1.0, 1.0]])
_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])
_NEXT, _AFTER = np.array([1, 2, 0]), np.array([2, 0, 1])


def _rotation_terms() -> Values:
    """[16, 9]: a unit quaternion's products w w, w x, ... z z to what its rotation matrix has beside the identity."""
    terms = np.zeros((4, 4, 3, 3))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        terms[j + 1, j + 1, i, i] = terms[k + 1, k + 1, i, i] = -2.0
        terms[i + 1, j + 1, i, j] = terms[i + 1, j + 1, j, i] = 2.0
        terms[0, k + 1, i, j], terms[0, k + 1, j, i] = -2.0, 2.0
    return terms.reshape(16, 9)


_TERMS = _rotation_terms()


def multiply(a: Values, b: Values) -> Values:
    """Hamilton product: the rotation that first applies `b`, then `a`."""
    product: Values = np.matmul(a[..., _LEFT] * _LEFT_SIGNS, b[..., None])[..., 0]
    return product


def conjugate(q: Values) -> Values:
    """The inverse of a unit quaternion."""
    inverse: Values = q * _CONJUGATE
    return inverse


def cross(a: Values, b: Values) -> Values:
    """Vector product."""
    product: Values = a[..., _NEXT] * b[..., _AFTER] - a[..., _AFTER] * b[..., _NEXT]
    return product


def dot(a: Values, b: Values) -> Values:
    """Scalar product; the last dimension stays, with size 1."""
    product: Values = np.add.reduce(a * b, axis=-1, keepdims=True)
    return product


def norm(a: Values) -> Values:
    """Length; the last dimension stays, with size 1."""
    length: Values = np.sqrt(dot(a, a))
    return length


def rotate(q: Values, v: Values) -> Values:
    """Turn vectors."""
    t = 2.0 * cross(q[..., 1:], v)
    turned: Values = v + q[..., :1] * t + cross(q[..., 1:], t)
    return turned


def between(a: Values, b: Values) -> Values:
    """The shortest rotation from direction `a` to direction `b`; opposite directions turn about any normal."""
    a, b = a / np.maximum(norm(a), 1e-12), b / np.maximum(norm(b), 1e-12)
    q = np.concatenate((1.0 + dot(a, b), cross(a, b)), axis=-1)
    opposite = q[..., 0] < 1e-6
    if opposite.any():
        axis = np.zeros_like(a)
        np.put_along_axis(axis, np.abs(a).argmin(axis=-1)[..., None], 1.0, axis=-1)
        q[opposite, 0] = 0.0
        q[opposite, 1:] = cross(a, axis)[opposite]
    unit: Values = q / np.maximum(norm(q), 1e-12)
    return unit


def world_transforms(skeleton: Skeleton, local_rotations: Values, root_position_m: Values) -> Values:
    """[J, N, 4, 4]: each joint's axes (columns 0 to 2) and position (column 3) in the world.

    From local rotations [N, J, 4] and root positions [N, 3].
    """
    rotations = local_rotations.transpose(1, 0, 2)
    joints, frames = rotations.shape[:2]
    world = np.zeros((joints, frames, 4, 4))
    products = (rotations[..., :, None] * rotations[..., None, :]).reshape(joints, frames, 16)
    world[..., :3, :3] = (products @ _TERMS).reshape(joints, frames, 3, 3)
    world.reshape(joints, frames, 16)[..., ::5] += 1.0
    world[..., :3, 3] = skeleton.offsets_m.double().numpy()[:, None]
    world[0, :, :3, 3] = root_position_m
    for children, parents in skeleton.levels:
        world[children] = world[parents] @ world[children]
    return world


def turned_legs(
    thigh: Values, shin: Values, thigh_bone_m: Values, shin_bone_m: Values, shift_m: Values, knee_forward: Values
) -> tuple[Values, Values, Values]:
    """World orientations of thigh and shin that move the ankle by `shift_m`, and the new thigh bone.

    Two-bone solution in the knee's plane. Bones are world vectors (hip to knee, knee to ankle), `knee_forward` where a
    straight knee would bend to. An ankle out of reach is pulled to the leg's full length.
    """
    upper, lower = norm(thigh_bone_m), norm(shin_bone_m)
    old = thigh_bone_m + shin_bone_m
    wanted = old + shift_m
    reach = np.maximum(norm(wanted), 1e-6)
    along, whole = wanted / reach, upper + lower
    longest = np.maximum(norm(old), whole * 0.999)
    reach = np.minimum(np.maximum(reach, np.abs(upper - lower) * 1.001), longest)
    knee, ahead = rotate(between(old, wanted), np.stack((thigh_bone_m, knee_forward)))
    bend = knee - dot(knee, along) * along
    straight = np.maximum(1.0 - norm(bend) / (_STRAIGHT_LEGS * whole), 0.0)
    bend = bend + (ahead - dot(ahead, along) * along) * (straight * _STRAIGHT_LEGS * whole)
    bend = bend / np.maximum(norm(bend), 1e-9)
    start = (upper * upper - lower * lower + reach * reach) / (2.0 * reach)
    new_thigh_bone = along * start + bend * np.sqrt(np.maximum(upper * upper - start * start, 0.0))
    bones = np.stack((thigh_bone_m, shin_bone_m))
    turns = between(bones, np.stack((new_thigh_bone, along * reach - new_thigh_bone)))
    new_thigh, new_shin = multiply(turns, np.stack((thigh, shin)))
    return new_thigh, new_shin, new_thigh_bone
