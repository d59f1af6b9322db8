"""Check a reading of a skeleton's bones against its tree and rest pose, and find the bones where names say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from kinestream.skeleton.bone_limbs import SIDES, ancestors, common_ancestor, zero_positions
from kinestream.skeleton.bone_words import LIMB_PARTS
from kinestream.skeleton.skeleton import Skeleton

# Thigh over shin, and upper arm over forearm, of any figure; the inverse counts too.
_BONE_RATIO = 3.0
# Lengths of left and right limbs of one figure.
_SIDE_RATIO = 1.6
# The two bones of a limb together are so much longer than any other two neighbours in its chain.
_CLEAR_PAIR = 1.15
# Cosine from which toes point backward, or a pair of limbs lies the other way round.
_CLEARLY = 0.4
_SAME_SHAPE = 0.05
_MIN_CHAIN = 3
_NO_LENGTH_M = 1e-4


def body_problems(
    skeleton: Skeleton, offsets_m: Tensor, joint_of: Mapping[str, int], *, sides: bool = True
) -> list[str]:
    """What speaks against this reading of the bones; empty where tree and proportions are those of a body.

    `sides` also checks that left is left: in a standing rest pose toes point to where the body faces.
    """
    problems = _order_problems(skeleton, joint_of)
    if not problems:
        problems = _length_problems(skeleton, offsets_m, joint_of)
    if not problems and sides:
        problems = _side_problems(skeleton, offsets_m, joint_of)
    return problems


def _order_problems(skeleton: Skeleton, joint_of: Mapping[str, int]) -> list[str]:
    names = skeleton.joint_names
    problems: list[str] = []

    def below(lower: str, upper: str) -> bool:
        return joint_of[upper] in ancestors(skeleton, joint_of[lower]) and joint_of[upper] != joint_of[lower]

    for side in SIDES:
        for parts in LIMB_PARTS.values():
            roles = [f"{side}_{part}" for part in parts if f"{side}_{part}" in joint_of]
            problems += [
                f"bone {names[joint_of[end]]!r} ({end}) is expected below {names[joint_of[start]]!r} ({start}) in the "
                "hierarchy and is not"
                for start, end in pairwise(roles)
                if not below(end, start)
            ]
    heads = [role for role in ("neck", "head") if role in joint_of]
    for role in [f"{side}_{part}" for side in SIDES for part in ("hip", "shoulder")] + heads:
        if not below(role, "pelvis"):
            problems.append(
                f"bone {names[joint_of[role]]!r} ({role}) does not hang from {names[joint_of['pelvis']]!r} (pelvis)"
            )
    if problems:
        return problems
    chains = {
        f"{side} {limb}": joint_of[f"{side}_{parts[0]}" if f"{side}_{parts[0]}" in joint_of else f"{side}_{parts[1]}"]
        for side in SIDES
        for limb, parts in LIMB_PARTS.items()
    }
    for a, first in chains.items():
        for b, second in chains.items():
            if a != b and first in ancestors(skeleton, second):
                problems.append(f"the {b} ({names[second]!r}) hangs from the {a} ({names[first]!r})")
    legs = common_ancestor(skeleton, [joint_of[f"{side}_hip"] for side in SIDES])
    arms = common_ancestor(skeleton, [joint_of[f"{side}_shoulder"] for side in SIDES])
    if arms != legs and arms in ancestors(skeleton, legs) and legs not in skeleton.children(arms):
        problems.append(f"the legs hang from {names[legs]!r}, above which the arms hang ({names[arms]!r})")
    return problems


def _length_problems(skeleton: Skeleton, offsets_m: Tensor, joint_of: Mapping[str, int]) -> list[str]:
    names = skeleton.joint_names
    length: dict[tuple[str, str], float] = {}
    for side in SIDES:
        for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
            if f"{side}_{end}" not in joint_of:
                continue
            upper, lower = joint_of[f"{side}_{start}"], joint_of[f"{side}_{end}"]
            path = [joint for joint in ancestors(skeleton, lower) if joint > upper]
            length[side, start] = float(offsets_m[path].norm(dim=-1).sum())
            if length[side, start] < _NO_LENGTH_M:
                return [
                    f"the bone from {names[upper]!r} to {names[lower]!r} has no length, so it has no direction to "
                    "carry over"
                ]
    problems = []
    for first, second, ratio in [
        *(((side, a), (side, b), _BONE_RATIO) for side in SIDES for a, b in (("hip", "knee"), ("shoulder", "elbow"))),
        *((("left", part), ("right", part), _SIDE_RATIO) for part in ("hip", "knee", "shoulder", "elbow")),
    ]:
        if first in length and second in length:
            a, b = length[first], length[second]
            if max(a, b) > ratio * min(a, b):
                problems.append(f"{' '.join(first)} and {' '.join(second)} would be {a:.3f} m and {b:.3f} m long")
    return problems


def standing(skeleton: Skeleton, offsets_m: Tensor, joint_of: Mapping[str, int]) -> tuple[Tensor, Tensor] | None:
    """(up, left) unit vectors of a zero pose that stands with its legs down; None where it does not."""
    position = zero_positions(skeleton, offsets_m)
    hips, shoulders, ankles = (
        position[[joint_of[f"{side}_{part}"] for side in SIDES]] for part in ("hip", "shoulder", "ankle")
    )
    up = shoulders.mean(dim=0) - hips.mean(dim=0)
    left = hips[0] - hips[1]
    if float(up.norm()) < _NO_LENGTH_M or float(left.norm()) < _NO_LENGTH_M:
        return None
    up = up / up.norm()
    legs = torch.nn.functional.normalize(ankles - hips, dim=-1)
    if float((legs @ up).max()) > -0.7:
        return None
    left = left - (left @ up) * up
    return (up, left / left.norm()) if float(left.norm()) > _NO_LENGTH_M else None


def toe_directions(skeleton: Skeleton, offsets_m: Tensor, joint_of: Mapping[str, int]) -> list[Tensor]:
    """Where the feet point in the zero pose, by joint or End Site; empty where a rig does not show it."""
    position = zero_positions(skeleton, offsets_m)
    found = []
    for side in SIDES:
        ankle, toe = joint_of[f"{side}_ankle"], joint_of.get(f"{side}_foot")
        tip = skeleton.end_sites.get(skeleton.joint_names[ankle])
        if toe is not None:
            foot = position[toe] - position[ankle]
        elif tip is not None:
            foot = torch.tensor(tip, dtype=offsets_m.dtype)
        else:
            return []
        found.append(foot)
    return found


def _side_problems(skeleton: Skeleton, offsets_m: Tensor, joint_of: Mapping[str, int]) -> list[str]:
    frame = standing(skeleton, offsets_m, joint_of)
    if frame is None:
        return []
    up, left = frame
    position = zero_positions(skeleton, offsets_m)
    shoulders = position[joint_of["left_shoulder"]] - position[joint_of["right_shoulder"]]
    if float(shoulders @ left) < -_CLEARLY * float(shoulders.norm()):
        return ["the left arm hangs on the side of the right leg"]
    ahead = [_level(foot, up) @ torch.linalg.cross(left, up) for foot in toe_directions(skeleton, offsets_m, joint_of)]
    if ahead and all(float(cosine) < -_CLEARLY for cosine in ahead):
        names = skeleton.joint_names
        return [
            f"bones named left ({names[joint_of['left_hip']]!r}) lie to the right of where the toes "
            "point: left and right are exchanged, or the feet point backward"
        ]
    return []


def _level(vector: Tensor, up: Tensor) -> Tensor:
    flat = vector - (vector @ up) * up
    return flat / flat.norm().clamp_min(1e-9) if float(flat.norm()) > 0.2 * float(vector.norm()) else flat * 0.0


def limbs_by_structure(skeleton: Skeleton, offsets_m: Tensor) -> dict[str, int] | str:
    """Limb joints by role from the tree and the rest pose alone, or why they are not clear.

    Legs and arms are the two pairs of chains that mirror each other, arms further from the root; thigh and shin (upper
    arm and forearm) the two long neighbours in a chain. Toes tell where the body faces, and so which side is left.
    """
    chains = _main_chains(skeleton, offsets_m)
    pairs = []
    for joint in range(skeleton.num_joints):
        children = skeleton.children(joint)
        for k, a in enumerate(children):
            for b in children[k + 1 :]:
                mirrored = _mirrors(chains[a][1], chains[b][1]) and len(chains[a][0]) >= _MIN_CHAIN
                pairs += [(sum(chains[a][1]), joint, a, b)] if mirrored else []
    pairs.sort(reverse=True)
    pairs = [pair for pair in pairs if pair[0] > 0.4 * pairs[0][0]]
    if len(pairs) != 2:
        return f"two pairs of mirrored limbs are expected, the tree has {len(pairs)}"
    legs, arms = sorted(pairs, key=lambda pair: len(ancestors(skeleton, pair[1])))
    if legs[1] == arms[1] or legs[1] not in ancestors(skeleton, arms[1]):
        return "arms do not hang above legs in the tree"
    joint_of: dict[str, int] = {}
    for limb, (_, _, a, b) in (("leg", legs), ("arm", arms)):
        for side, start in zip(SIDES, (a, b), strict=True):
            found = _limb_parts(chains[start][0], chains[start][1], limb)
            if found is None:
                return f"which bones of an {limb} are its two long ones is not clear".replace("an leg", "a leg")
            joint_of |= {f"{side}_{part}": joint for part, joint in found.items()}
    if _limb_length(skeleton, offsets_m, joint_of, "leg") < 1.1 * _limb_length(skeleton, offsets_m, joint_of, "arm"):
        return "the lower pair of limbs is not longer than the upper one"
    return _with_sides(skeleton, offsets_m, joint_of)


def _main_chains(skeleton: Skeleton, offsets_m: Tensor) -> list[tuple[list[int], list[float]]]:
    """For each joint the longest chain below it: its joints, and the lengths of their bones."""
    lengths = offsets_m.norm(dim=-1).tolist()
    chains: list[tuple[list[int], list[float]]] = [([], []) for _ in skeleton.parents]
    for joint in range(skeleton.num_joints - 1, -1, -1):
        tip = skeleton.end_sites.get(skeleton.joint_names[joint])
        below: tuple[list[int], list[float]] = ([], [float(torch.tensor(tip).norm())] if tip else [])
        for child in skeleton.children(joint):
            joints, bones = chains[child]
            if lengths[child] + sum(bones) > sum(below[1]):
                below = (joints, [lengths[child], *bones])
        chains[joint] = ([joint, *below[0]], below[1])
    return chains


def _mirrors(a: list[float], b: list[float]) -> bool:
    tolerance = _SAME_SHAPE * max(sum(a), sum(b))
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


def _limb_parts(joints: list[int], bones: list[float], limb: str) -> dict[str, int] | None:
    """Roles along a chain by its two long bones; None where two readings are near."""
    sums = [bones[k] + bones[k + 1] for k in range(min(len(bones) - 1, len(joints) - 2))]
    if not sums:
        return None
    first = sums.index(max(sums))
    others = [value for k, value in enumerate(sums) if k != first]
    long, short = max(bones[first : first + 2]), min(bones[first : first + 2])
    if (others and sums[first] < _CLEAR_PAIR * max(others)) or long > 1.7 * short:
        return None
    start = ("hip", "knee", "ankle") if limb == "leg" else ("shoulder", "elbow", "wrist")
    found = dict(zip(start, joints[first : first + 3], strict=True))
    if limb == "leg" and len(joints) > first + 3:
        found["foot"] = joints[first + 3]
    if limb == "arm" and first > 0:
        found["collar"] = joints[first - 1]
    return found


def _limb_length(skeleton: Skeleton, offsets_m: Tensor, joint_of: Mapping[str, int], limb: str) -> float:
    position = zero_positions(skeleton, offsets_m)
    a, b, c = (
        ("left_hip", "left_knee", "left_ankle") if limb == "leg" else ("left_shoulder", "left_elbow", "left_wrist")
    )
    first, second = position[joint_of[b]] - position[joint_of[a]], position[joint_of[c]] - position[joint_of[b]]
    return float(first.norm() + second.norm())


def _with_sides(skeleton: Skeleton, offsets_m: Tensor, joint_of: dict[str, int]) -> dict[str, int] | str:
    """The same with left and right as toes tell them; so far sides are arbitrary, limb by limb."""

    def exchanged(limb: str) -> dict[str, int]:
        swap = {
            f"{side}_{part}": f"{other}_{part}"
            for side, other in (SIDES, SIDES[::-1])
            for part in LIMB_PARTS[limb]
            if f"{side}_{part}" in joint_of
        }
        return joint_of | {role: joint_of[other] for role, other in swap.items()}

    frame = standing(skeleton, offsets_m, joint_of)
    if frame is None:
        return "the zero pose does not stand on its legs, so nothing tells left from right"
    up, left = frame
    feet = toe_directions(skeleton, offsets_m, joint_of)
    ahead = [float(_level(foot, up) @ torch.linalg.cross(left, up)) for foot in feet]
    if not ahead or min(abs(value) for value in ahead) < _CLEARLY or ahead[0] * ahead[1] < 0.0:
        return "no toes show where the body faces, so nothing tells left from right"
    if ahead[0] < 0.0:
        joint_of, left = exchanged("leg"), -left
    position = zero_positions(skeleton, offsets_m)
    across = float((position[joint_of["left_shoulder"]] - position[joint_of["right_shoulder"]]) @ left)
    return joint_of if across > 0.0 else exchanged("arm")
