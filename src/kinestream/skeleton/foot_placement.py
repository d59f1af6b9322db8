"""Keep standing feet flat on the floor and planted toes where the source plants them.

Limbs take the source's directions, so ankles follow the source. A foot of another shape that pitches about its toes
would then push them through the floor or let them slide: the ankle has to move instead, by a closed form of the pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.rotations import (
    matrix_from_quat,
    quat_about_axis,
    quat_conjugate,
    quat_multiply,
    quat_rotate,
    quat_yaw,
)
from kinestream.skeleton.humanoid import SIDES, HumanoidRig
from kinestream.skeleton.leg_arrays import turned_legs

# A foot stands when it moves slower than this share of the leg length per second, this close to its lowest height.
_STANCE_LEGS_PER_S = 0.15
_STANCE_RISE_LEGS = 0.06
# Toes higher than this share of the leg length are not held in place; below, the hold fades in.
_TOE_FADE_LEGS = 0.1
_HOLD_ITERATIONS = 12
# Feet that land this near to where the source's stand are left alone: limbs keep the source's directions exactly.
_ALLOWED_MISS_LEGS = 0.006
# Sines of the downward pitch from which a foot begins to stand on its toes, and fully does: standing feet tremble.
_PITCH_FADE_SINES = (0.03, 0.15)
# Differences between two feet below this are none.
_SAME_SHAPE_M = 1e-3
# Ankles that would move by less stay where they are.
NEGLIGIBLE_SHIFT_M = 1e-4
# Standing feet whose toes seem to point up by more than the first and less than the second are levelled (radians).
_LEVEL_RANGE_RAD = (0.035, 0.35)


def standing_feet(
    positions_m: Float[Tensor, "t j 3"], rig: HumanoidRig, leg_length_m: float, fps: float
) -> Bool[Tensor, "t 2"]:
    """When the left and right foot stand: ankle and toes slow, ankle near its lowest height (world with Y up)."""
    ankles = [rig.joint_of[f"{side}_ankle"] for side in SIDES]
    toes = [rig.joint_of.get(f"{side}_foot", ankle) for side, ankle in zip(SIDES, ankles, strict=True)]
    if positions_m.shape[0] < 2:
        return torch.zeros(positions_m.shape[0], 2, dtype=torch.bool)
    speed = torch.gradient(positions_m[:, ankles + toes], dim=0)[0].norm(dim=-1).unflatten(1, (2, 2)).amax(dim=1) * fps
    height = positions_m[:, ankles, 1]
    low = height.quantile(0.1) + _STANCE_RISE_LEGS * leg_length_m
    return torch.logical_and(speed < _STANCE_LEGS_PER_S * leg_length_m, height < low)


def level_standing_feet(foot_turn: Float[Tensor, "t 2 4"], standing: Bool[Tensor, "t 2"]) -> Float[Tensor, "t 2 4"]:
    """Feet that stand with their toes up belong to a body whose feet slant otherwise at rest: take the slant out.

    `foot_turn` are world rotations away from standing flat. Toes that point down are left alone: heels may be raised.
    """
    pitch = torch.asin(matrix_from_quat(foot_turn)[..., 1, 2].clamp(-1.0, 1.0))
    result = foot_turn
    for side in range(2):
        if int(standing[:, side].sum()) < 3:
            continue
        slant = pitch[standing[:, side], side].median()
        if _LEVEL_RANGE_RAD[0] < float(slant) < _LEVEL_RANGE_RAD[1]:
            result = result.clone() if result is foot_turn else result
            result[:, side] = quat_multiply(foot_turn[:, side], quat_about_axis(slant, "X"))
    return result


def toe_anchor_shift(
    foot_turn: Float[Tensor, "t f 4"], shape_difference_m: Float[Tensor, "f 3"]
) -> Float[Tensor, "t f 3"]:
    """How far each ankle must move so that the toes land where the source's do.

    `foot_turn` is the foot's world rotation away from standing flat and facing +Z; `shape_difference_m` the target's
    ankle-to-toe vector minus the source's (scaled), both standing flat. Zero until the toes are pitched down: before,
    heel and ankle are what stands.
    """
    heading = quat_yaw(foot_turn)
    shift = quat_rotate(heading, shape_difference_m) - quat_rotate(foot_turn, shape_difference_m)
    first, full = _PITCH_FADE_SINES
    down = ((-matrix_from_quat(foot_turn)[..., 1, 2] - first) / (full - first)).clamp(0.0, 1.0)
    return shift * (down**2 * (3.0 - 2.0 * down))[..., None]


def shift_ankles(
    thigh: Float[Tensor, "*t f 4"],
    shin: Float[Tensor, "*t f 4"],
    thigh_bone_m: Float[Tensor, "*t f 3"],
    shin_bone_m: Float[Tensor, "*t f 3"],
    shift_m: Float[Tensor, "*t f 3"],
    knee_forward: Float[Tensor, "*t f 3"],
) -> tuple[Float[Tensor, "*t f 4"], Float[Tensor, "*t f 4"]]:
    """World orientations of thigh and shin that move the ankle by `shift_m`: two-bone solution in the knee's plane.

    Bones are world vectors (hip to knee, knee to ankle), `knee_forward` where a straight knee would bend to. An ankle
    out of reach is pulled to the leg's full length. Computed in float64 on the processor; no gradients.
    """
    parts = (thigh, shin, thigh_bone_m, shin_bone_m, shift_m, knee_forward.expand_as(shift_m))
    turned = turned_legs(*(part.detach().double().cpu().numpy() for part in parts))
    moved = shift_m.norm(dim=-1, keepdim=True) > NEGLIGIBLE_SHIFT_M
    new_thigh, new_shin = (torch.from_numpy(part).to(thigh) for part in turned[:2])
    return torch.where(moved, new_thigh, thigh), torch.where(moved, new_shin, shin)


@dataclass(frozen=True, eq=False)
class FootPlacement:
    """Two rigs' legs, ready to place feet: the target's bones in their own frames, and how the feet differ in shape.

    `target_joints` [2, 3]: thigh, shin and foot of the left and the right leg. `source_toes` are None, and the feet
    take no other shape, where a rig has no toes or is not known to stand flat.
    """

    target_joints: Tensor
    target_pelvis: int
    source_ankles: tuple[int, ...]
    source_toes: tuple[int, ...] | None
    source_toe_drop_m: Float[Tensor, "2"]
    source_leg_m: float
    target_leg_m: float
    target_ankle_height_m: float
    hip_place_m: Float[Tensor, "2 3"]
    thigh_bone_m: Float[Tensor, "2 3"]
    shin_bone_m: Float[Tensor, "2 3"]
    knee_forward: Float[Tensor, "2 3"]
    shape_difference_m: Float[Tensor, "2 3"]

    @classmethod
    def between(cls, source: HumanoidRig, target: HumanoidRig) -> FootPlacement:
        """For two rigs."""
        roles = [f"{side}_foot" for side in SIDES]
        toes = all(role in source.joint_of and role in target.joint_of for role in roles)
        scale = target.leg_length_m / source.leg_length_m
        drop, difference = torch.zeros(2), torch.zeros(2, 3)
        if toes and source.feet_are_flat and target.feet_are_flat:
            source_foot, target_foot = (_bones(rig, "ankle", "foot") for rig in (source, target))
            drop, difference = -source_foot[:, 1].float(), (target_foot - scale * source_foot).float()
        alike = float(difference.abs().max()) < _SAME_SHAPE_M
        joints = [[target.joint_of[f"{side}_{part}"] for part in ("hip", "knee", "ankle")] for side in SIDES]

        def own(joints: list[int], vectors: Tensor) -> Tensor:
            return quat_rotate(quat_conjugate(target.rest_world[joints]), vectors).float()

        hips, knees, _ = (list(column) for column in zip(*joints, strict=True))
        pelvis = target.joint_of["pelvis"]
        from_pelvis = target.rest_positions_m[hips] - target.rest_positions_m[pelvis]
        return cls(
            target_joints=torch.tensor(joints),
            target_pelvis=pelvis,
            source_ankles=tuple(source.joint_of[f"{side}_ankle"] for side in SIDES),
            source_toes=None if alike else tuple(source.joint_of[role] for role in roles),
            source_toe_drop_m=drop,
            source_leg_m=source.leg_length_m,
            target_leg_m=target.leg_length_m,
            target_ankle_height_m=target.ankle_height_m,
            hip_place_m=own([pelvis, pelvis], from_pelvis),
            thigh_bone_m=own(hips, _bones(target, "hip", "knee")),
            shin_bone_m=own(knees, _bones(target, "knee", "ankle")),
            knee_forward=own(hips, from_pelvis.new_tensor((0.0, 0.0, 1.0)).expand(2, 3)),
            shape_difference_m=difference,
        )

    def apply(
        self,
        world: Float[Tensor, "t j 4"],
        pelvis_m: Float[Tensor, "t 3"],
        foot_turn: Float[Tensor, "t 2 4"],
        source_positions_m: Float[Tensor, "t k 3"],
        source_ankle_height_m: float,
    ) -> None:
        """Turn the target's legs (world orientations, in place) so that feet near the floor land as the source's do.

        Ankles keep their height above the floor, whatever thigh and shin share of a bent leg, and toes their place.
        """
        hips, knees, _ = self.target_joints.unbind(dim=1)
        thigh, shin = world[:, hips], world[:, knees]
        bones = quat_rotate(thigh, self.thigh_bone_m), quat_rotate(shin, self.shin_bone_m)
        ankle = pelvis_m[:, None] + quat_rotate(world[:, [self.target_pelvis] * 2], self.hip_place_m) + sum(bones)
        shift = self._lift(ankle[..., 1], source_positions_m, source_ankle_height_m)
        if self.source_toes is not None:
            toe_shift = toe_anchor_shift(foot_turn, self.shape_difference_m)
            floor = source_ankle_height_m - self.source_toe_drop_m
            height_legs = (source_positions_m[:, self.source_toes, 1] - floor) / self.source_leg_m
            shift = shift + toe_shift * self._hold(height_legs, toe_shift[..., 1] / self.target_leg_m)[..., None]
        world[:, hips], world[:, knees] = shift_ankles(
            thigh, shin, *bones, shift, quat_rotate(thigh, self.knee_forward)
        )

    def _lift(
        self, ankle_height_m: Float[Tensor, "t 2"], source_positions_m: Float[Tensor, "t k 3"], standing_m: float
    ) -> Float[Tensor, "t 2 3"]:
        """What brings ankles near the floor to the height of the source's; limbs alone carry over directions only."""
        above = source_positions_m[:, self.source_ankles, 1] - standing_m
        wanted = self.target_ankle_height_m + above * (self.target_leg_m / self.source_leg_m)
        near = (1.0 - above / (_TOE_FADE_LEGS * self.source_leg_m)).clamp(0.0, 1.0)
        miss = wanted - ankle_height_m
        allowed = _ALLOWED_MISS_LEGS * self.target_leg_m
        shift = torch.zeros(*ankle_height_m.shape, 3)
        shift[..., 1] = (miss - miss.clamp(-allowed, allowed)) * near**2 * (3.0 - 2.0 * near)
        return shift

    def _hold(self, height_legs: Float[Tensor, "t 2"], rise_legs: Float[Tensor, "t 2"]) -> Float[Tensor, "t 2"]:
        """How much of the shift applies: all for toes on the floor, none for toes well above.

        The height that counts is the middle between the source's toes and the target's, so that retargeting back takes
        out what retargeting put in; as the target's toes depend on the answer, it is found by iteration.
        """
        unlike = float(self.shape_difference_m.norm(dim=-1).max()) / self.target_leg_m
        fade = max(_TOE_FADE_LEGS, 2.0 * unlike)
        hold = torch.ones_like(height_legs)
        for _ in range(_HOLD_ITERATIONS):
            middle = height_legs - (1.0 - hold) * rise_legs / 2.0
            near = (1.0 - middle / fade).clamp(0.0, 1.0)
            hold = near**2 * (3.0 - 2.0 * near)
        return hold


def _bones(rig: HumanoidRig, start: str, end: str) -> Float[Tensor, "2 3"]:
    """World vectors of the left and right bone between two roles at rest."""
    position, joint = rig.rest_positions_m, rig.joint_of
    return torch.stack([position[joint[f"{side}_{end}"]] - position[joint[f"{side}_{start}"]] for side in SIDES])
