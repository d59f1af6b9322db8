"""Which bone of a skeleton plays which SMPL-22 joint: by names, checked against the tree and the rest pose.

In order: what the names say where the tree bears it out; where names say nothing, the structure alone, where that is
clear. Anything else is an error that asks for a map: a figure must never be torn apart silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.skeleton.bone_limbs import SIDES, limbs_by_name, trunk
from kinestream.skeleton.bone_names import (
    REQUIRED_ROLES,
    USER_MAP,
    BoneMap,
    best_family,
    match_families,
    shown_bones,
    unknown_name,
)
from kinestream.skeleton.bone_structure import body_problems, limbs_by_structure
from kinestream.skeleton.bone_words import NameReading, read_name
from kinestream.skeleton.skeleton import Skeleton, smpl22

BY_WORDS = "words in the names"
BY_STRUCTURE = "tree and rest pose"
_ASK = 'Give a map file: one JSON object {"their bone": "smpl22 joint", ...}'


def bone_map(
    skeleton: Skeleton,
    user_map: Mapping[str, str] | None = None,
    *,
    offsets_m: Float[Tensor, "j 3"] | None = None,
) -> BoneMap:
    """The skeleton's bones by role: from the user's map ({"their bone": "smpl22 joint"}) or recognised.

    `offsets_m` replaces the skeleton's offsets where a recording animates translations. Raises BadInputError where
    names and structure disagree, two readings are near, or needed joints lack; for a user's map also for unknown bones
    or joints (with the closest name), joints given twice, and maps that no body's tree bears out.
    """
    offsets = (skeleton.offsets_m if offsets_m is None else offsets_m).double()
    if user_map is None:
        return _recognised(skeleton, offsets)
    bone_names, roles = skeleton.joint_names, smpl22().joint_names
    problems = [unknown_name("bone", bone, bone_names) for bone in user_map if bone not in bone_names]
    problems += [unknown_name("smpl22 joint", role, roles) for role in user_map.values() if role not in roles]
    counts = Counter(user_map.values())
    problems += [f"smpl22 joint {role!r} is given to {count} bones" for role, count in counts.items() if count > 1]
    problems += [f"no bone is given for {role!r}, which is needed" for role in REQUIRED_ROLES if role not in counts]
    if not problems:
        joint_of = {role: skeleton.index(bone) for bone, role in user_map.items()}
        problems = body_problems(skeleton, offsets, joint_of, sides=False)
    if problems:
        raise BadInputError(f"the bone map does not fit the skeleton {skeleton.name!r}: {'; '.join(problems)}")
    bone_of = {role: bone for bone, role in user_map.items()}
    return BoneMap(USER_MAP, bone_of, dict.fromkeys(bone_of, "map"))


def _recognised(skeleton: Skeleton, offsets: Tensor) -> BoneMap:
    names = skeleton.joint_names
    readings = [read_name(name) for name in names]
    limbs = limbs_by_name(skeleton, readings)
    if limbs.unclear:
        raise BadInputError(f"skeleton {skeleton.name!r}: {'; '.join(limbs.unclear)}. {_ASK}")
    missing = [role for role in REQUIRED_ROLES if role != "pelvis" and role not in limbs.joint_of]
    if not missing:
        joint_of = {**limbs.joint_of, **trunk(skeleton, offsets, limbs.joint_of, readings)}
        problems = body_problems(skeleton, offsets, joint_of)
        if problems:
            raise BadInputError(
                f"skeleton {skeleton.name!r}: the bones' names and the skeleton's structure disagree: "
                f"{'; '.join(problems[:3])}. {_ASK}"
            )
        return _named(skeleton, joint_of, readings)
    by_family = _complete_family(skeleton, offsets)
    if by_family is not None:
        return by_family
    found = limbs_by_structure(skeleton, offsets)
    if isinstance(found, str):
        raise _not_recognised(skeleton, missing, limbs.joint_of, found)
    joint_of = {**found, **trunk(skeleton, offsets, found, readings)}
    against = [*_contradictions(names, readings, joint_of), *body_problems(skeleton, offsets, joint_of)]
    if against:
        raise BadInputError(
            f"skeleton {skeleton.name!r}: the bones' names and the skeleton's structure disagree: "
            f"{'; '.join(against[:3])}. {_ASK}"
        )
    return BoneMap(
        BY_STRUCTURE,
        {role: names[joint] for role, joint in joint_of.items()},
        dict.fromkeys(joint_of, "structure"),
    )


def _named(skeleton: Skeleton, joint_of: Mapping[str, int], readings: Sequence[NameReading]) -> BoneMap:
    """The reading with the name of the family whose spellings say the same, and that family's finer names."""
    names = skeleton.joint_names
    bone_of = {role: names[joint] for role, joint in joint_of.items()}
    limb_roles = [role for role in bone_of if role.startswith(SIDES)]
    how = {role: _how(role, readings[joint]) for role, joint in joint_of.items()}
    for family in sorted(match_families(names), key=lambda found: -found.score):
        same = all(family.bone_of.get(role) == bone_of[role] for role in (*limb_roles, "pelvis"))
        if same and len(family.bone_of) >= len(bone_of) - 1:
            extra = {role: bone for role, bone in family.bone_of.items() if not role.startswith(SIDES)}
            mixed = {role: bone for role, bone in bone_of.items() if role.startswith(SIDES)} | extra
            return BoneMap(family.family, mixed, {role: how.get(role, "name") for role in mixed})
    return BoneMap(BY_WORDS, bone_of, how)


def _how(role: str, reading: NameReading) -> str:
    part = role.rpartition("_")[2].rstrip("123")
    if part not in reading.parts:
        return "structure"
    return "name" if len(reading.parts) == 1 else "name and structure"


def _complete_family(skeleton: Skeleton, offsets: Tensor) -> BoneMap | None:
    """A family that spells all needed joints in ways that words alone do not show, where the tree bears it out."""
    best = best_family(skeleton.joint_names)
    if best is None or any(role not in best.bone_of for role in REQUIRED_ROLES):
        return None
    joint_of = {role: skeleton.index(bone) for role, bone in best.bone_of.items()}
    return None if body_problems(skeleton, offsets, joint_of) else best


def _contradictions(names: Sequence[str], readings: Sequence[NameReading], joint_of: Mapping[str, int]) -> list[str]:
    """Bones whose names say another side or part than the structure."""
    found = []
    for role, joint in joint_of.items():
        reading, part = readings[joint], role.rpartition("_")[2].rstrip("123")
        side = role.partition("_")[0] if role.startswith(SIDES) else None
        other_part = bool(reading.parts) and part not in reading.parts
        if other_part or (reading.side is not None and reading.side != side):
            found.append(f"bone {names[joint]!r} lies where the {role} is expected")
    return found


def _not_recognised(
    skeleton: Skeleton, missing: Sequence[str], found: Mapping[str, int], why_no_structure: str
) -> BadInputError:
    names = skeleton.joint_names
    nearest = best_family(names)
    lacks = f"names of bones for {', '.join(missing)} are not recognised"
    if not found and nearest is not None and len(nearest.bone_of) < 3:
        lacks = "no bone's name is recognised"
    return BadInputError(
        f"skeleton {skeleton.name!r}: {lacks}, and the structure alone is not clear either ({why_no_structure}). "
        f"The bones are: {shown_bones(names)}. {_ASK}"
    )
