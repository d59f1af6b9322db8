"""Learn how a rig's bones lie in a T-pose from a recording, when neither its zero pose nor its names tell.

Bone directions are fixed by the offsets. What is missing is every bone's twist: knees and elbows give it by the plane
in which they bend, feet by how they stand on the floor, trunk, head and hands by being neutral on average.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.rotations import matrix_from_quat, quat_from_matrix
from kinestream.skeleton.foot_placement import standing_feet
from kinestream.skeleton.humanoid import SIDES, HumanoidRig

_MAX_FRAMES = 2000
# A limb that bends less than this on average (sine of the angle) does not show its hinge.
_MIN_BEND = 0.1
# Standing feet show how they stand when there are so many frames of them that agree so well on what is up.
_MIN_STANDING_FRAMES = 10
_MIN_AGREEMENT = 0.99
_X, _Y, _Z = torch.eye(3, dtype=torch.float64)


def estimated_rest(
    rig: HumanoidRig, positions_m: Float[Tensor, "t j 3"], world: Float[Tensor, "t j 4"], fps: float
) -> tuple[Float[Tensor, "j 4"], bool]:
    """World orientations of a T-pose facing +Z (float64), from a recording with Y up.

    Also whether both feet were seen standing, so that the T-pose's feet are flat.
    """
    stride = max(1, positions_m.shape[0] // _MAX_FRAMES)
    estimate = _Estimate(rig, positions_m, matrix_from_quat(world), fps, stride)
    return estimate.rest(), estimate.feet_were_seen


class _Estimate:
    """One rig's rest orientations in the making: `found[joint]` maps the joint's own axes to the T-pose's world."""

    def __init__(self, rig: HumanoidRig, positions: Tensor, world: Tensor, fps: float, stride: int) -> None:
        self.rig, self.joint = rig, rig.joint_of
        legs = positions[:, rig.joint_of["left_hip"]] - positions[:, rig.joint_of["left_ankle"]]
        self.standing = standing_feet(positions, rig, float(legs.norm(dim=-1).max()), fps)[::stride]
        self.positions, self.world = positions[::stride], world[::stride]
        self.found: dict[int, Tensor] = {}
        self.feet_were_seen = True

    def rest(self) -> Float[Tensor, "j 4"]:
        """All joints; those without a role keep their parent's orientation."""
        self._trunk()
        for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
            self._limb(side, "hip", "knee", "ankle", down_axis=-_Y, hinge_axis=_X, lateral=_X)
            self._limb(side, "shoulder", "elbow", "wrist", down_axis=sign * _X, hinge_axis=-sign * _Y, lateral=None)
            self._foot(side)
            self._hand(side, sign * _X)
        rest: list[Tensor] = []
        for joint, parent in enumerate(self.rig.skeleton.parents):
            known = self.found.get(joint)
            rest.append(
                known if known is not None else rest[parent] if parent >= 0 else torch.eye(3, dtype=torch.float64)
            )
        return quat_from_matrix(torch.stack(rest))

    def turn(self, joint: int) -> Float[Tensor, "t 3 3"]:
        """A found joint's turn away from the T-pose over time."""
        return self.world[:, joint] @ self.found[joint].T

    def own(self, joint: int, vectors: Float[Tensor, "t 3"]) -> Float[Tensor, "3"]:
        """Mean of world vectors in a joint's own frame."""
        return torch.einsum("tji,tj->i", self.world[:, joint], vectors) / len(vectors)

    def _neutral(self, joint: int, reference: Float[Tensor, "t 3 3"], frames: Bool[Tensor, "t"] | None = None) -> None:
        """A joint that on average is turned as `reference` is."""
        relative = reference.transpose(-1, -2) @ self.world[:, joint]
        mean = (relative if frames is None else relative[frames]).mean(dim=0)
        u, _, v = torch.linalg.svd(mean)
        u = torch.cat((u[:, :2], u[:, 2:] * torch.linalg.det(u @ v)), dim=1)
        self.found[joint] = u @ v

    def _trunk(self) -> None:
        rig, joint, position = self.rig, self.joint, self.positions
        height = (
            position[:, [joint["left_shoulder"], joint["right_shoulder"]], 1].mean(dim=1)
            - position[:, joint["pelvis"], 1]
        )
        upright = height >= height.median()
        for base, pair in ((joint["pelvis"], "hip"), (rig.spine_chain[-1], "shoulder")):
            across = position[:, joint[f"left_{pair}"]] - position[:, joint[f"right_{pair}"]]
            up = torch.einsum("tji,j->i", self.world[upright, base], _Y)
            self.found[base] = _frame((self.own(base, across), _X), (up, _Y))
        hips, chest = self.turn(joint["pelvis"]), self.turn(rig.spine_chain[-1])
        for between in rig.spine_chain[1:-1]:
            self._neutral(between, (hips + chest) / 2.0)
        collars = [joint[f"{side}_collar"] for side in SIDES if f"{side}_collar" in joint]
        for carried in (*rig.head_chain, *collars):
            self._neutral(carried, chest)

    def _limb(
        self,
        side: str,
        start: str,
        middle: str,
        end: str,
        *,
        down_axis: Tensor,
        hinge_axis: Tensor,
        lateral: Tensor | None,
    ) -> None:
        upper, lower = self.joint[f"{side}_{start}"], self.joint[f"{side}_{middle}"]
        tip = self.joint.get(f"{side}_{end}")
        first = self.positions[:, lower] - self.positions[:, upper]
        second = first if tip is None else self.positions[:, tip] - self.positions[:, lower]
        first, second = (torch.nn.functional.normalize(bone, dim=-1) for bone in (first, second))
        hinge = torch.linalg.cross(first, second)
        reference_axis = hinge_axis
        if float(hinge.norm(dim=-1).mean()) < _MIN_BEND:
            base = self.joint["pelvis"] if lateral is not None else self.rig.spine_chain[-1]
            reference_axis = _X if lateral is not None else _Z
            hinge = self.turn(base) @ reference_axis
        self.found[upper] = _frame((self.own(upper, first), down_axis), (self.own(upper, hinge), reference_axis))
        if tip is None:
            self._neutral(lower, self.turn(upper))
        else:
            self.found[lower] = _frame((self.own(lower, second), down_axis), (self.own(lower, hinge), reference_axis))

    def _hand(self, side: str, outward: Tensor) -> None:
        """Straight on from the forearm where the rig shows the hand's direction; its twist is neutral."""
        hand = self.joint.get(f"{side}_wrist")
        if hand is None:
            return
        self._neutral(hand, self.turn(self.joint[f"{side}_elbow"]))
        skeleton = self.rig.skeleton
        tips = [self.rig.offsets_m[child] for child in skeleton.children(hand)]
        if skeleton.joint_names[hand] in skeleton.end_sites:
            tips.append(torch.tensor(skeleton.end_sites[skeleton.joint_names[hand]], dtype=torch.float64))
        tip = torch.stack(tips).mean(dim=0) if tips else torch.zeros(3, dtype=torch.float64)
        if float(tip.norm()) > 1e-3:
            self.found[hand] = _frame((tip, outward), (self.found[hand].T @ _Y, _Y))

    def _foot(self, side: str) -> None:
        ankle, toe = self.joint[f"{side}_ankle"], self.joint.get(f"{side}_foot")
        frames = self.standing[:, SIDES.index(side)]
        own_up = self.world[frames, ankle, 1]
        up = own_up.mean(dim=0) if int(frames.sum()) >= _MIN_STANDING_FRAMES else torch.zeros(3, dtype=torch.float64)
        if toe is None or float(up.norm()) < _MIN_AGREEMENT:
            self.feet_were_seen = False
            self._neutral(ankle, self.turn(self.joint[f"{side}_knee"]))
            frames = torch.ones_like(frames)
        else:
            forward = self.own(ankle, self.positions[:, toe] - self.positions[:, ankle])
            self.found[ankle] = _frame((up, _Y), (forward, _Z))
        if toe is not None:
            self._neutral(toe, self.turn(ankle), frames)


def _frame(main: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Float[Tensor, "3 3"]:
    """The rotation that takes the first own direction to its world axis, the second as nearly as it can."""

    def basis(a: Tensor, b: Tensor) -> Tensor:
        a = torch.nn.functional.normalize(a, dim=0)
        b = torch.nn.functional.normalize(b - (b @ a) * a, dim=0)
        return torch.stack((a, b, torch.linalg.cross(a, b)), dim=-1)

    return basis(main[1], second[1]) @ basis(main[0], second[0]).T
