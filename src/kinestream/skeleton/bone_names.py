"""Find the humanoid joints in any skeleton by its bones' names.

The spellings live in `definitions/bone_families.json`; the common vocabulary is SMPL-22's joint names, called roles here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from kinestream.errors import BadInputError
from kinestream.skeleton.skeleton import Skeleton, smpl22

REQUIRED_ROLES: tuple[str, ...] = (
    "pelvis",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "shoulder", "elbow")),
)
"""A body cannot be retargeted without these."""


@dataclass(frozen=True)
class BoneFamily:
    """One naming convention: the spellings of every role, and what is known of its rigs.

    `rest_frames`: where a joint's x and y axes point in a T-pose, for rigs whose zero rotations are no natural pose.
    `ankle_height_over_leg`: ankle height of a standing body over its leg length. `stands_on_lowest_joint`: recordings
    put the floor at the lowest joint.
    """

    name: str
    spellings: Mapping[str, tuple[str, ...]]
    rest_frames: Mapping[str, Mapping[str, tuple[float, float, float]]]
    ankle_height_over_leg: float | None
    stands_on_lowest_joint: bool


@dataclass(frozen=True)
class BoneMap:
    """Which bone plays which SMPL-22 joint: `bone_of` by role; `family` is a family's name or "user map"."""

    family: str
    bone_of: Mapping[str, str]
    score: float

    @property
    def unmatched_roles(self) -> tuple[str, ...]:
        """SMPL-22 joints for which no bone was found."""
        return tuple(role for role in smpl22().joint_names if role not in self.bone_of)


@lru_cache(maxsize=1)
def bone_families() -> tuple[BoneFamily, ...]:
    """All known families, as the package's data file lists them."""
    text = files("kinestream.skeleton").joinpath("definitions/bone_families.json").read_text(encoding="utf-8")
    families = []
    for raw in json.loads(text)["families"]:
        spellings: dict[str, tuple[str, ...]] = {}
        for role, names in raw["bones"].items():
            if "{side}" not in role:
                spellings[role] = tuple(names)
                continue
            for side, word in zip(("left", "right"), raw["sides"], strict=True):
                spellings[role.format(side=side)] = tuple(name.format(side=word) for name in names)
        frames = {
            role: {axis: (float(v[0]), float(v[1]), float(v[2])) for axis, v in axes.items()}
            for role, axes in raw.get("rest_frames", {}).items()
        }
        families.append(
            BoneFamily(
                name=raw["name"],
                spellings=spellings,
                rest_frames=frames,
                ankle_height_over_leg=raw.get("ankle_height_over_leg"),
                stands_on_lowest_joint=raw.get("stands_on_lowest_joint", False),
            )
        )
    return tuple(families)


def normalised(bone: str) -> str:
    """A bone's name without namespace, case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", bone.rsplit(":", 1)[-1].lower())


def find_bones(bone_names: Sequence[str]) -> BoneMap:
    """The family that names most of these bones, and what it matched.

    Raises BadInputError when no family names the joints that retargeting needs; the message lists what the best one lacks.
    """
    present: dict[str, str] = {}
    for bone in bone_names:
        present.setdefault(normalised(bone), bone)
    best: BoneMap | None = None
    for family in bone_families():
        bone_of = {}
        for role, spellings in family.spellings.items():
            found = next((present[normalised(s)] for s in spellings if normalised(s) in present), None)
            if found is not None and found not in bone_of.values():
                bone_of[role] = found
        candidate = BoneMap(family.name, bone_of, len(bone_of) / len(smpl22().joint_names))
        if best is None or candidate.score > best.score:
            best = candidate
    assert best is not None
    missing = [role for role in REQUIRED_ROLES if role not in best.bone_of]
    if missing:
        raise BadInputError(
            f"no known family of bone names fits this skeleton: the nearest, {best.family!r}, lacks {', '.join(missing)}; "
            f"the skeleton's bones are {', '.join(bone_names)}. Give a map file: a JSON object "
            '{"their bone": "smpl22 joint"}'
        )
    return best


def bone_map(skeleton: Skeleton, user_map: Mapping[str, str] | None = None) -> BoneMap:
    """The skeleton's bones by role: from the user's map ({"their bone": "smpl22 joint"}) or recognised by name."""
    if user_map is None:
        return find_bones(skeleton.joint_names)
    return _from_user_map(skeleton.joint_names, user_map)


def _from_user_map(bone_names: Sequence[str], user_map: Mapping[str, str]) -> BoneMap:
    roles = smpl22().joint_names
    problems = [_unknown("bone", bone, bone_names) for bone in user_map if bone not in bone_names]
    problems += [_unknown("smpl22 joint", role, roles) for role in user_map.values() if role not in roles]
    counts = Counter(user_map.values())
    problems += [f"smpl22 joint {role!r} is given to {count} bones" for role, count in counts.items() if count > 1]
    problems += [f"no bone is given for {role!r}, which is needed" for role in REQUIRED_ROLES if role not in counts]
    if problems:
        raise BadInputError(f"the bone map does not fit this skeleton: {'; '.join(problems)}")
    return BoneMap("user map", {role: bone for bone, role in user_map.items()}, len(user_map) / len(roles))


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    return f"unknown {kind} {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
