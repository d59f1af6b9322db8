"""Keep planted toes where the source plants them, though the target's feet are longer or flatter.

Limbs take the source's directions, so ankles follow the source. A foot of another shape that pitches about its toes would
then push them through the floor: the ankle has to rise instead. The needed shift is a closed form of the foot's pitch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.rotations import matrix_from_quat, quat_between, quat_multiply, quat_rotate, quat_yaw

# Below this the shift is not worth changing the limbs' directions for.
_NEGLIGIBLE_M = 1e-4


def toe_anchor_shift(
    foot_turn: Float[Tensor, "t f 4"], shape_difference_m: Float[Tensor, "f 3"]
) -> Float[Tensor, "t f 3"]:
    """How far each ankle must move so that the toes land where the source's do.

    `foot_turn` is the foot's world rotation away from standing flat and facing +Z; `shape_difference_m` the target's
    ankle-to-toe vector minus the source's (scaled), both standing flat. Zero while the toes are not pitched down, where
    heel and ankle are what stands.
    """
    heading = quat_yaw(foot_turn)
    shift = quat_rotate(heading, shape_difference_m) - quat_rotate(foot_turn, shape_difference_m)
    pitched_down = matrix_from_quat(foot_turn)[..., 1, 2] < 0.0
    return torch.where(pitched_down[..., None], shift, torch.zeros_like(shift))


def shift_ankles(
    thigh: Float[Tensor, "t f 4"],
    shin: Float[Tensor, "t f 4"],
    thigh_bone_m: Float[Tensor, "t f 3"],
    shin_bone_m: Float[Tensor, "t f 3"],
    shift_m: Float[Tensor, "t f 3"],
) -> tuple[Float[Tensor, "t f 4"], Float[Tensor, "t f 4"]]:
    """World orientations of thigh and shin that move the ankle by `shift_m`: two-bone solution in the knee's plane.

    Bones are world vectors (hip to knee, knee to ankle). An ankle out of reach is pulled to the leg's full length.
    """
    upper, lower = thigh_bone_m.norm(dim=-1, keepdim=True), shin_bone_m.norm(dim=-1, keepdim=True)
    old = thigh_bone_m + shin_bone_m
    wanted = old + shift_m
    reach = wanted.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    along = wanted / reach
    longest = torch.maximum(old.norm(dim=-1, keepdim=True), (upper + lower) * 0.999)
    reach = torch.minimum(torch.maximum(reach, (upper - lower).abs() * 1.001), longest)
    turn = quat_between(old, wanted)
    knee = quat_rotate(turn, thigh_bone_m)
    bend = knee - (knee * along).sum(-1, keepdim=True) * along
    bend = bend / bend.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    start = (upper**2 - lower**2 + reach**2) / (2.0 * reach)
    side = (upper**2 - start**2).clamp_min(0.0).sqrt()
    new_thigh_bone = along * start + bend * side
    new_shin_bone = along * reach - new_thigh_bone
    moved = shift_m.norm(dim=-1, keepdim=True) > _NEGLIGIBLE_M
    new_thigh = quat_multiply(quat_between(thigh_bone_m, new_thigh_bone), thigh)
    new_shin = quat_multiply(quat_between(shin_bone_m, new_shin_bone), shin)
    return torch.where(moved, new_thigh, thigh), torch.where(moved, new_shin, shin)
