"""Which source joints drive which target joints, and how the two rest poses differ bone by bone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.rotations import quat_from_matrix
from kinestream.skeleton.humanoid import LIMB_BONES, SIDES, HumanoidRig

Driver = tuple[int, int, float]
"""Two source joints and the weight of the second."""

# From this bend on (cosine), a resting elbow shows the plane in which it bends.
_BENT_ELBOW_COS = 0.966
_NEAREST = {"wrist": "elbow", "foot": "ankle"}


def joint_drivers(source: HumanoidRig, target: HumanoidRig) -> dict[int, Driver]:
    """The driver of every target joint with a role or in the trunk; chains of other lengths are resampled by length."""
    drivers: dict[int, Driver] = {}
    for role, joint in target.joint_of.items():
        driver = _source_joint(source, role)
        drivers[joint] = (driver, driver, 0.0)
    drivers |= _chain_drivers(_spine_places(source), _spine_places(target))
    if target.head_chain:
        places = _head_places(source) or {source.spine_chain[-1]: 0.0}
        drivers |= _chain_drivers(places, _head_places(target))
    return dict(sorted(drivers.items()))


def _source_joint(source: HumanoidRig, role: str) -> int:
    """The source joint that plays a role; where there is none, the nearest one towards the trunk, or the chest."""
    if role in source.joint_of:
        return source.joint_of[role]
    side, _, part = role.partition("_")
    if part in _NEAREST:
        return _source_joint(source, f"{side}_{_NEAREST[part]}")
    return source.spine_chain[-1]


def _spine_places(rig: HumanoidRig) -> dict[int, float]:
    """Where the middle of each spine bone lies between the pelvis' (0) and the chest's (1)."""
    chain, position = rig.spine_chain, rig.rest_positions_m
    if len(chain) == 1:
        return {chain[0]: 0.0}
    shoulders = position[[rig.joint_of["left_shoulder"], rig.joint_of["right_shoulder"]]].mean(dim=0)
    points = torch.stack([*position[list(chain)], position[rig.head_chain[0]] if rig.head_chain else shoulders])
    ends = torch.cat((torch.zeros(1, dtype=points.dtype), points.diff(dim=0).norm(dim=-1).cumsum(0)))
    return _spread(chain, ((ends[:-1] + ends[1:]) / 2.0).tolist())


def _head_places(rig: HumanoidRig) -> dict[int, float]:
    """Where each neck joint lies between the first (0) and the head (1); a lone joint counts as the head."""
    chain = rig.head_chain
    if len(chain) < 2:
        return dict.fromkeys(chain, 1.0)
    lengths = rig.rest_positions_m[list(chain)].diff(dim=0).norm(dim=-1)
    return _spread(chain, [0.0, *lengths.cumsum(0).tolist()])


def _spread(chain: tuple[int, ...], places: list[float]) -> dict[int, float]:
    span = places[-1] - places[0]
    if span < 1e-6:
        return {joint: k / (len(chain) - 1) for k, joint in enumerate(chain)}
    return {joint: (place - places[0]) / span for joint, place in zip(chain, places, strict=True)}


def _chain_drivers(source: Mapping[int, float], target: Mapping[int, float]) -> dict[int, Driver]:
    """For each target place the two source joints around it and the weight of the upper one."""
    joints, places = list(source), list(source.values())
    drivers = {}
    for joint, place in target.items():
        k = next((i for i, p in enumerate(places) if p >= place - 1e-6), len(places) - 1)
        low = max(k - 1, 0)
        gap = places[k] - places[low]
        weight = (place - places[low]) / gap if gap > 1e-6 else 1.0
        if weight > 1.0 - 1e-6:
            low, weight = k, 0.0
        drivers[joint] = (joints[low], joints[k], max(weight, 0.0))
    return drivers


def rest_corrections(source: HumanoidRig, target: HumanoidRig) -> Float[Tensor, "j 4"]:
    """World rotations (float64) that turn the target's resting limbs to the source's directions; identity elsewhere.

    Hands follow their forearm. Feet and trunk stay: both stand flat and upright at rest, whatever their bones' slant;
    only where one rig's feet are not known to be flat, feet take the direction too.
    """
    corrections = torch.eye(3, dtype=torch.float64).repeat(target.skeleton.num_joints, 1, 1)
    for role in LIMB_BONES:
        joint = target.joint_of.get(role)
        ours, theirs = _bone_frame(target, role), _bone_frame(source, role)
        if joint is None or ours is None or theirs is None:
            continue
        corrections[joint] = theirs @ ours.T
        hand = target.joint_of.get(role.replace("_elbow", "_wrist")) if role.endswith("_elbow") else None
        if hand is not None:
            corrections[hand] = corrections[joint]
    if not (source.feet_are_flat and target.feet_are_flat):
        for side in SIDES:
            ours, theirs = _foot_direction(target, side), _foot_direction(source, side)
            if ours is not None and theirs is not None:
                for part in ("ankle", "foot"):
                    corrections[target.joint_of[f"{side}_{part}"]] = _arc(ours, theirs)
    return quat_from_matrix(corrections)


def _foot_direction(rig: HumanoidRig, side: str) -> Float[Tensor, "3"] | None:
    ankle, toe = rig.joint_of[f"{side}_ankle"], rig.joint_of.get(f"{side}_foot")
    if toe is None:
        return None
    foot = rig.rest_positions_m[toe] - rig.rest_positions_m[ankle]
    return foot / foot.norm() if float(foot.norm()) > 1e-6 else None


def _bone_frame(rig: HumanoidRig, role: str) -> Float[Tensor, "3 3"] | None:
    """A limb bone's frame at rest: its direction and its hinge, as far as the shortest arc from a T-pose leaves it.

    An elbow that is bent at rest shows its hinge; then both arm bones take that.
    """
    direction = rig.bone_direction(role)
    if direction is None:
        return None
    side, _, part = role.partition("_")
    sign = 1.0 if side == "left" else -1.0
    leg = part in ("hip", "knee")
    straight = direction.new_tensor((0.0, -1.0, 0.0) if leg else (sign, 0.0, 0.0))
    hinge = direction.new_tensor((1.0, 0.0, 0.0) if leg else (0.0, -sign, 0.0))
    hinge = _arc(straight, direction) @ hinge
    upper, fore = rig.bone_direction(f"{side}_shoulder"), rig.bone_direction(f"{side}_elbow")
    if not leg and upper is not None and fore is not None and float(upper @ fore) < _BENT_ELBOW_COS:
        hinge = torch.nn.functional.normalize(torch.linalg.cross(upper, fore), dim=0)
    return torch.stack((direction, hinge, torch.linalg.cross(direction, hinge)), dim=-1)


def _arc(a: Float[Tensor, "3"], b: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The shortest rotation from one unit vector to another (not opposite)."""
    v, c = torch.linalg.cross(a, b), float(a @ b)
    x, y, z = v.tolist()
    skew = a.new_tensor(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    return torch.eye(3, dtype=a.dtype) + skew + skew @ skew / max(1.0 + c, 1e-9)
