"""Kinematics in plain arrays give what the tensor forms give."""

from __future__ import annotations

import numpy as np
import torch

from kinestream.rotations import quat_between, quat_multiply, quat_normalize, quat_rotate
from kinestream.skeleton import forward_kinematics, smpl22
from kinestream.skeleton.leg_arrays import between, conjugate, multiply, rotate, turned_legs, world_transforms


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_world_transforms_are_those_of_forward_kinematics() -> None:
    rotations, root = quat_normalize(random(5, 22, 4)), random(5, 3, seed=1)
    positions, world = forward_kinematics(smpl22(), rotations, root)
    transforms = world_transforms(smpl22(), rotations.numpy(), root.numpy())
    np.testing.assert_allclose(transforms[..., :3, 3], positions.transpose(0, 1), atol=1e-9)
    forward = quat_rotate(world, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    np.testing.assert_allclose(transforms[..., :3, 2], forward.transpose(0, 1), atol=1e-9)


def test_rotations_are_those_of_tensors() -> None:
    a, b = quat_normalize(random(6, 2, 4)), quat_normalize(random(6, 2, 4, seed=1))
    u, v = random(6, 2, 3, seed=2), random(6, 2, 3, seed=3)
    np.testing.assert_allclose(multiply(a.numpy(), b.numpy()), quat_multiply(a, b), atol=1e-12)
    np.testing.assert_allclose(rotate(a.numpy(), v.numpy()), quat_rotate(a, v), atol=1e-12)
    np.testing.assert_allclose(between(u.numpy(), v.numpy()), quat_between(u, v), atol=1e-12)
    np.testing.assert_allclose(multiply(a.numpy(), conjugate(a.numpy()))[..., 0], 1.0, atol=1e-12)


def test_opposite_directions_turn_about_a_normal() -> None:
    u = random(4, 3).numpy()
    np.testing.assert_allclose(rotate(between(u, -u), u), -u, atol=1e-9)


def test_ankles_come_to_where_they_are_wanted_and_bones_keep_their_length() -> None:
    identity = np.zeros((3, 2, 4))
    identity[..., 0] = 1.0
    thigh, shin = np.tile([0.0, -0.4, 0.05], (3, 2, 1)), np.tile([0.0, -0.4, -0.06], (3, 2, 1))
    forward = np.tile([0.0, 0.0, 1.0], (3, 2, 1))
    shift = 0.05 * random(3, 2, 3).numpy()
    shift[..., 1] = np.abs(shift[..., 1])
    new_thigh, new_shin, bone = turned_legs(identity, identity, thigh, shin, shift, forward)
    np.testing.assert_allclose(rotate(new_thigh, thigh), bone, atol=1e-9)
    np.testing.assert_allclose(bone + rotate(new_shin, shin), thigh + shin + shift, atol=1e-6)
