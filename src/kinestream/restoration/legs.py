"""Legs put where feet are wanted, with a body's own bones: the root moved, hips, knees and ankles turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.features.humanml_legs import ANKLES, HIPS, KNEES, TOES
from kinestream.motion import Motion
from kinestream.rotations import quat_normalize
from kinestream.skeleton.leg_arrays import Values, between, conjugate, cross, multiply, norm, rotate, turned_legs


def with_feet_at(
    motion: Motion,
    root_m: Float[Tensor, "t 3"],
    ankles_m: Float[Tensor, "t 2 3"],
    toes_m: Float[Tensor, "t 2 3"],
) -> Motion:
    """An SMPL-22 motion with its root and feet at these world places; trunk, arms and head keep their rotations.

    Knees bend in the plane in which they bent; a foot beyond its leg's reach is reached for. A foot's own direction is
    the one from ankle to toe, without a twist of its own.
    """
    places = motion.joint_positions_m().double().numpy()
    world = motion.world_rotations().double().numpy()
    local = motion.local_rotations.double().numpy().copy()
    moved = (root_m.double() - motion.root_position_m.double()).numpy()
    for side in (0, 1):
        hip, knee, ankle, toe = HIPS[side], KNEES[side], ANKLES[side], TOES[side]
        wanted_ankle, wanted_toe = ankles_m[:, side].double().numpy(), toes_m[:, side].double().numpy()
        thigh_bone, shin_bone = places[:, knee] - places[:, hip], places[:, ankle] - places[:, knee]
        shift = wanted_ankle - (places[:, ankle] + moved)
        thigh, shin, thigh_bone = turned_legs(
            world[:, hip], world[:, knee], thigh_bone, shin_bone, shift, _forward(world[:, hip], thigh_bone)
        )
        shin_bone = rotate(multiply(shin, conjugate(world[:, knee])), shin_bone)
        reached = places[:, hip] + moved + thigh_bone + shin_bone
        foot_bone = places[:, toe] - places[:, ankle]
        pointing = _reachable(wanted_toe - reached, wanted_toe - wanted_ankle, norm(foot_bone))
        foot = multiply(between(foot_bone, pointing), world[:, ankle])
        above = world[:, 0]
        for joint, own in ((hip, thigh), (knee, shin), (ankle, foot)):
            local[:, joint] = multiply(conjugate(above), own)
            above = own
    turned = torch.from_numpy(local).to(motion.local_rotations)
    chosen = [*HIPS, *KNEES, *ANKLES]
    rotations = motion.local_rotations.clone()
    rotations[:, chosen] = quat_normalize(turned[:, chosen])
    return replace(motion, local_rotations=rotations, root_position_m=root_m.to(motion.root_position_m))


def _forward(thigh: Values, thigh_bone: Values) -> Values:
    """Where a straight knee would bend to: the thigh's own front (+Z at rest), square to its bone."""
    front = rotate(thigh, np.array((0.0, 0.0, 1.0)))
    side = cross(thigh_bone, front)
    return np.asarray(cross(side, thigh_bone) / np.maximum(norm(thigh_bone) ** 2, 1e-9))


def _reachable(to_toe: Values, foot: Values, length: Values) -> Values:
    """Where the foot points: at the toe's place where that is a foot's length away, else as the wanted foot lies."""
    near = np.abs(norm(to_toe) - length) < 0.25 * length
    return np.asarray(np.where(near, to_toe, foot))
