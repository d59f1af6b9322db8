"""Tell the bones of a body apart by their names and their place in the tree together.

A limb is a chain, and its bones come in one order from the trunk outwards: that settles what single names leave open
("Shoulder, Arm, ForeArm" begins with a collarbone, "Shoulder, Elbow, Wrist" with an upper arm). The trunk follows from
where the limbs hang.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinestream.skeleton.bone_words import LIMB_PARTS, NameReading, read_name
from kinestream.skeleton.skeleton import Skeleton

SIDES: tuple[str, str] = ("left", "right")

_OPTIONAL_PARTS = ("collar", "wrist", "foot")
_SURE, _UNSURE = 3, 2
# A bone that is named as the pelvis is it only this near to the hips (in leg lengths); else it is a root on the floor.
_NEAR_HIPS_LEGS = 0.35


@dataclass(frozen=True)
class NamedLimbs:
    """Limb joints by role as names and order tell them; `unclear` says which chains read alike."""

    joint_of: Mapping[str, int]
    unclear: tuple[str, ...]


def limbs_by_name(skeleton: Skeleton, readings: Sequence[NameReading] | None = None) -> NamedLimbs:
    """The chain for each arm and leg whose names fit best, in order from the trunk outwards."""
    readings = [read_name(name) for name in skeleton.joint_names] if readings is None else readings
    joint_of: dict[str, int] = {}
    unclear: list[str] = []
    for side in SIDES:
        for limb, parts in LIMB_PARTS.items():
            chains = _best_chains(skeleton, readings, side, parts)
            if not chains:
                continue
            joint_of |= {f"{side}_{part}": joint for part, joint in chains[0].items()}
            needed = [part for part in parts if part not in _OPTIONAL_PARTS]
            other = next((c for c in chains[1:] if any(c.get(p) != chains[0].get(p) for p in needed)), None)
            if other is not None:
                names = skeleton.joint_names
                both = [", ".join(names[joint] for joint in chain.values()) for chain in (chains[0], other)]
                unclear.append(f"two chains read as the {side} {limb}: {both[0]}; and {both[1]}")
    return NamedLimbs(joint_of, tuple(unclear))


def _best_chains(
    skeleton: Skeleton, readings: Sequence[NameReading], side: str, parts: tuple[str, ...]
) -> list[dict[str, int]]:
    """The readings of this limb that fit best, nearest to the root first."""
    above: list[tuple[int, ...]] = []
    best, found = (0, 0), list[dict[str, int]]()
    for joint, (parent, reading) in enumerate(zip(skeleton.parents, readings, strict=True)):
        chain = above[parent] if parent >= 0 else ()
        mine = reading.side == side and any(part in parts for part in reading.parts)
        above.append((*chain, joint) if mine else chain)
        if not mine:
            continue
        assigned = _assigned(above[joint], readings, parts)
        score = _score(assigned, readings)
        if score > best:
            best, found = score, []
        if score == best and assigned not in found:
            found.append(assigned)
    return found


def _score(assigned: Mapping[str, int], readings: Sequence[NameReading]) -> tuple[int, int]:
    """Joints that a body needs count before all else; then how sure the names are."""
    needed = sum(part not in _OPTIONAL_PARTS for part in assigned)
    return needed, sum(_SURE if len(readings[joint].parts) == 1 else _UNSURE for joint in assigned.values())


def _assigned(chain: tuple[int, ...], readings: Sequence[NameReading], parts: tuple[str, ...]) -> dict[str, int]:
    """The best way to give a chain's joints to parts, both in order; of bones that say the same the upper one."""
    best: dict[int, dict[str, int]] = {len(parts): {}}  # by the first part that is still to be given
    for first in range(len(parts) + 1):
        best[first] = {}
    for joint in reversed(chain):
        for k, part in enumerate(parts):
            if part not in readings[joint].parts:
                continue
            candidate = {part: joint, **best[k + 1]}
            for first in range(k + 1):
                if _score(candidate, readings) >= _score(best[first], readings):
                    best[first] = candidate
    return best[0]


def ancestors(skeleton: Skeleton, joint: int) -> tuple[int, ...]:
    """The joint and all above it, up to the root."""
    path = [joint]
    while skeleton.parents[path[-1]] >= 0:
        path.append(skeleton.parents[path[-1]])
    return tuple(path)


def common_ancestor(skeleton: Skeleton, joints: Iterable[int]) -> int:
    """The lowest joint that is above (or is) all of these."""
    return max(set.intersection(*(set(ancestors(skeleton, joint)) for joint in joints)))


def zero_positions(skeleton: Skeleton, offsets_m: Tensor) -> Tensor:
    """Joint positions [J, 3] with all rotations at zero, the root at the origin."""
    rows = [torch.zeros(3, dtype=offsets_m.dtype)]
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        rows.append(rows[parent] + offsets_m[joint])
    return torch.stack(rows)


def trunk(
    skeleton: Skeleton, offsets_m: Tensor, limbs: Mapping[str, int], readings: Sequence[NameReading]
) -> dict[str, int]:
    """Pelvis, spine, neck and head for known limbs: from where these hang, and from names."""
    hips = [limbs[f"{side}_hip"] for side in SIDES]
    arms = [limbs.get(f"{side}_collar", limbs[f"{side}_shoulder"]) for side in SIDES]
    pelvis = _pelvis(skeleton, offsets_m, limbs, readings)
    found = {"pelvis": pelvis}
    chest = common_ancestor(skeleton, arms)
    if {"neck", "head"} & set(readings[chest].parts) and chest != pelvis:
        chest = skeleton.parents[chest]
    column = [joint for joint in reversed(ancestors(skeleton, chest)) if pelvis in ancestors(skeleton, joint)]
    column = [joint for joint in column if joint != pelvis and joint not in hips]
    roles = {0: (), 1: ("spine1",), 2: ("spine1", "spine3")}.get(len(column), ("spine1", "spine2", "spine3"))
    places = {3: (0, len(column) // 2, -1), 2: (0, -1)}.get(len(roles), (0,))
    found |= {role: column[place] for role, place in zip(roles, places, strict=False)}
    limb_joints = set(limbs.values())
    for role in ("neck", "head"):
        named = [
            joint
            for joint, reading in enumerate(readings)
            if reading.parts == (role,)
            and reading.side is None
            and joint not in limb_joints
            and joint not in column
            and joint != pelvis
            and pelvis in ancestors(skeleton, joint)
            and ("neck" not in found or found["neck"] in ancestors(skeleton, joint))
        ]
        if named:
            found[role] = named[0]
    if "neck" not in found and "head" not in found:
        found |= _upward_chain(skeleton, offsets_m, chest, limb_joints, readings)
    return found


def _pelvis(skeleton: Skeleton, offsets_m: Tensor, limbs: Mapping[str, int], readings: Sequence[NameReading]) -> int:
    """The joint from which legs and trunk hang, or a bone above it that is named so and lies at the hips."""
    hips = [limbs[f"{side}_hip"] for side in SIDES]
    joint = common_ancestor(skeleton, [*hips, *(limbs[f"{side}_shoulder"] for side in SIDES)])
    position = zero_positions(skeleton, offsets_m)
    knees = position[[limbs[f"{side}_knee"] for side in SIDES]]
    leg = 2.0 * float((knees - position[hips]).norm(dim=-1).mean())
    if readings[joint].parts and "pelvis" in readings[joint].parts:
        return joint
    for above in ancestors(skeleton, joint)[1:]:
        near = float((position[above] - position[hips].mean(dim=0)).norm()) < _NEAR_HIPS_LEGS * leg
        if near and "pelvis" in readings[above].parts and "root" not in skeleton.joint_names[above].lower():
            return above
    return joint


def _upward_chain(
    skeleton: Skeleton, offsets_m: Tensor, chest: int, limbs: set[int], readings: Sequence[NameReading]
) -> dict[str, int]:
    """Neck and head where no bone is named so: a chain of one or two bones from the chest that goes up."""
    position = zero_positions(skeleton, offsets_m)
    up = position[chest] - position[0] if chest else torch.zeros(3, dtype=offsets_m.dtype)
    below = {joint for limb in limbs for joint in ancestors(skeleton, limb)}
    for child in skeleton.children(chest):
        if child in below or readings[child].other or readings[child].side or float(offsets_m[child] @ up) <= 0.0:
            continue
        chain = [child]
        while len(skeleton.children(chain[-1])) == 1:
            chain += skeleton.children(chain[-1])
        if len(chain) <= 3:
            return {"neck": chain[0], "head": chain[1]} if len(chain) > 1 else {"head": chain[0]}
    return {}
