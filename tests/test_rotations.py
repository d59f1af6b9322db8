"""Rotations keep their group laws and conventions, at random and at the awkward places."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.rotations import (
    euler_from_quat_rad,
    matrix_from_quat,
    matrix_from_rot6d_rows,
    quat_about_axis,
    quat_angle_rad,
    quat_between,
    quat_conjugate,
    quat_from_euler_rad,
    quat_from_matrix,
    quat_from_rotvec,
    quat_multiply,
    quat_normalize,
    quat_rotate,
    quat_slerp,
    quat_unrolled,
    quat_yaw,
    rot6d_from_matrix_rows,
    rotvec_from_quat,
)

unit = st.floats(-1.0, 1.0, allow_nan=False, width=32)
quats = (
    st.tuples(unit, unit, unit, unit)
    .filter(lambda q: sum(x * x for x in q) > 1e-2)
    .map(lambda q: quat_normalize(torch.tensor(q, dtype=torch.float64)))
)
vectors = st.tuples(unit, unit, unit).map(lambda v: torch.tensor(v, dtype=torch.float64))


def same_rotation(a: torch.Tensor, b: torch.Tensor, tolerance_rad: float = 1e-6) -> bool:
    return bool((quat_angle_rad(a, b) < tolerance_rad).all())


@given(quats, quats, vectors)
def test_product_applies_the_right_factor_first(a: torch.Tensor, b: torch.Tensor, v: torch.Tensor) -> None:
    torch.testing.assert_close(quat_rotate(quat_multiply(a, b), v), quat_rotate(a, quat_rotate(b, v)))
    torch.testing.assert_close(matrix_from_quat(a) @ v, quat_rotate(a, v))


@given(quats)
def test_every_representation_comes_back(q: torch.Tensor) -> None:
    assert same_rotation(quat_from_matrix(matrix_from_quat(q)), q)
    assert same_rotation(quat_from_rotvec(rotvec_from_quat(q)), q)
    m = matrix_from_quat(q)
    torch.testing.assert_close(matrix_from_rot6d_rows(rot6d_from_matrix_rows(m)), m)


@pytest.mark.parametrize("order", ["".join(p) for p in permutations("XYZ")])
@settings(max_examples=40)
@given(q=quats)
def test_euler_angles_come_back_in_every_order(order: str, q: torch.Tensor) -> None:
    angles = euler_from_quat_rad(q, order)
    assert same_rotation(quat_from_euler_rad(angles, order), q, 1e-5)


@pytest.mark.parametrize("order", ["".join(p) for p in permutations("XYZ")])
def test_euler_angles_come_back_at_gimbal_lock(order: str) -> None:
    angles = torch.tensor([0.4, math.pi / 2, 0.7], dtype=torch.float64)
    q = quat_from_euler_rad(angles, order)
    assert same_rotation(quat_from_euler_rad(euler_from_quat_rad(q, order), order), q, 1e-5)


def test_euler_order_is_that_of_a_bvh_channel_list() -> None:
    angles = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    z, x, y = (matrix_from_quat(quat_about_axis(a, axis)) for a, axis in zip(angles, "ZXY", strict=True))
    torch.testing.assert_close(matrix_from_quat(quat_from_euler_rad(angles, "ZXY")), z @ x @ y)


@given(quats, quats, st.floats(0.0, 1.0))
def test_slerp_moves_evenly_along_the_shorter_arc(a: torch.Tensor, b: torch.Tensor, t: float) -> None:
    total = float(quat_angle_rad(a, b))
    between = quat_slerp(a, b, t)
    assert float(quat_angle_rad(a, between)) == pytest.approx(t * total, abs=1e-5)
    assert same_rotation(quat_slerp(a, -b, t), between, 1e-4) or total > math.pi - 1e-3


@given(vectors, vectors)
def test_shortest_arc_turns_one_direction_into_the_other(a: torch.Tensor, b: torch.Tensor) -> None:
    if float(a.norm()) < 1e-2 or float(b.norm()) < 1e-2:
        return
    turned = quat_rotate(quat_between(a, b), a / a.norm())
    torch.testing.assert_close(turned, b / b.norm(), atol=1e-5, rtol=0)


def test_shortest_arc_of_opposite_directions_is_half_a_turn() -> None:
    for axis in torch.eye(3, dtype=torch.float64):
        torch.testing.assert_close(quat_rotate(quat_between(axis, -axis), axis), -axis)


@given(quats)
def test_yaw_keeps_where_forward_points_seen_from_above(q: torch.Tensor) -> None:
    forward = quat_rotate(q, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    if float(forward[[0, 2]].norm()) < 1e-3:
        return
    heading = quat_rotate(quat_yaw(q), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(heading[[0, 2]], forward[[0, 2]] / forward[[0, 2]].norm())
    assert abs(float(heading[1])) < 1e-12


def test_unrolled_signs_never_jump_and_rotations_stay() -> None:
    generator = torch.Generator().manual_seed(3)
    q = quat_normalize(torch.randn(50, 7, 4, generator=generator, dtype=torch.float64).cumsum(0))
    flips = torch.where(torch.rand(50, 7, 1, generator=generator) < 0.5, -1.0, 1.0).double()
    smooth = quat_unrolled(q * flips)
    assert bool(((smooth[1:] * smooth[:-1]).sum(-1) >= 0).all())
    assert same_rotation(smooth, q)


def test_inverse_undoes() -> None:
    q = quat_normalize(torch.randn(10, 4, dtype=torch.float64))
    identity = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(10, 4)
    torch.testing.assert_close(quat_multiply(q, quat_conjugate(q)), identity)
