"""Families of bone names: how known programs spell the humanoid joints, and a user's own map file.

The spellings live in `definitions/bone_families.json`; the common vocabulary is SMPL-22's joint names, called roles.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from kinestream.errors import BadInputError
from kinestream.skeleton.skeleton import smpl22

REQUIRED_ROLES: tuple[str, ...] = (
    "pelvis",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "shoulder", "elbow")),
)
"""A body cannot be retargeted without these."""

USER_MAP = "user map"

# A leading word counts as a rig's own prefix when at least this share of the bones has it.
_PREFIX_SHARE = 0.6
_MAX_NAMES_SHOWN = 40


@dataclass(frozen=True)
class BoneFamily:
    """One naming convention: the spellings of every role (normalised), and what is known of its rigs.

    `prefix` matches what a bone's name may start with, or must where `prefix_needed`; `exact` families have no other
    bones. `rest_frames`: where a joint's x and y axes point in a T-pose, for rigs whose zero rotations are no natural
    pose. `rest_twist_rad`: by how much bones are twisted about the X axis in zero rotations that are a T-pose, for rigs
    whose elbows then bend in another plane than the arms lie in. `ankle_height_over_leg`: ankle height of a standing
    body over its leg length.
    """

    name: str
    spellings: Mapping[str, tuple[str, ...]]
    prefix: re.Pattern[str] | None
    prefix_needed: bool
    exact: bool
    rest_frames: Mapping[str, Mapping[str, tuple[float, float, float]]]
    rest_twist_rad: Mapping[str, float]
    ankle_height_over_leg: float | None


@dataclass(frozen=True)
class BoneMap:
    """Which bone plays which SMPL-22 joint: `bone_of` by role; `family` is a family's name, or how it was found.

    `how` by role: "name", "name and structure" (a name that leaves a choice), "structure", "map".
    """

    family: str
    bone_of: Mapping[str, str]
    how: Mapping[str, str] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Share of SMPL-22's joints for which there is a bone."""
        return len(self.bone_of) / len(smpl22().joint_names)

    @property
    def unmatched_roles(self) -> tuple[str, ...]:
        """SMPL-22 joints for which no bone was found."""
        return tuple(role for role in smpl22().joint_names if role not in self.bone_of)


def normalised(bone: str) -> str:
    """A bone's name without namespace, case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", bone.rsplit(":", 1)[-1].lower())


@lru_cache(maxsize=1)
def bone_families() -> tuple[BoneFamily, ...]:
    """All known families, as the package's data file lists them."""
    text = files("kinestream.skeleton").joinpath("definitions/bone_families.json").read_text(encoding="utf-8")
    return tuple(_family_from_dict(raw) for raw in json.loads(text)["families"])


def _family_from_dict(raw: dict[str, Any]) -> BoneFamily:
    spellings: dict[str, tuple[str, ...]] = {}
    for role, names in raw["bones"].items():
        if "{side}" not in role:
            spellings[role] = tuple(normalised(name) for name in names)
            continue
        for k, side in enumerate(("left", "right")):
            words = [pair[k] for pair in raw["sides"]]
            spellings[role.format(side=side)] = tuple(
                normalised(name.format(side=word)) for name, word in product(names, words)
            )
    return BoneFamily(
        name=raw["name"],
        spellings=spellings,
        prefix=re.compile(f"(?:.*:)?(?:{raw['prefix']})", re.IGNORECASE) if "prefix" in raw else None,
        prefix_needed=raw.get("prefix_needed", False),
        exact=raw.get("exact", False),
        rest_frames={
            role: {axis: (float(v[0]), float(v[1]), float(v[2])) for axis, v in axes.items()}
            for role, axes in raw.get("rest_frames", {}).items()
        },
        rest_twist_rad={role: math.radians(degrees) for role, degrees in raw.get("rest_twist_deg", {}).items()},
        ankle_height_over_leg=raw.get("ankle_height_over_leg"),
    )


def best_family(bone_names: Sequence[str]) -> BoneMap | None:
    """The family that names most of these bones, and what it matched; None for no bones at all."""
    candidates = match_families(bone_names)
    return max(
        candidates, key=lambda found: (all(r in found.bone_of for r in REQUIRED_ROLES), found.score), default=None
    )


def shown_bones(bone_names: Sequence[str]) -> str:
    """Names of bones for a message: the first few."""
    return ", ".join(bone_names[:_MAX_NAMES_SHOWN]) + (", ..." if len(bone_names) > _MAX_NAMES_SHOWN else "")


def match_families(bone_names: Sequence[str]) -> tuple[BoneMap, ...]:
    """What every family would match, in the order of the data file; families that cannot fit are left out."""
    spelt = [_by_normalised_name(bone_names, None)]
    own_prefix = _common_prefix(bone_names)
    if own_prefix is not None:
        spelt.append(_by_normalised_name(bone_names, re.compile(re.escape(own_prefix), re.IGNORECASE)))
    found = []
    for family in bone_families():
        variants = spelt
        if family.prefix is not None:
            with_prefix = [bone for bone in bone_names if family.prefix.match(bone)]
            others = [] if family.prefix_needed else spelt
            variants = [*others, _by_normalised_name(with_prefix, family.prefix)]
        matches = [_match(family, present) for present in variants]
        best = max(matches, key=len)
        if not family.exact or len(best) == len(bone_names):
            found.append(BoneMap(family.name, best, dict.fromkeys(best, "name")))
    return tuple(found)


def _match(family: BoneFamily, present: Mapping[str, str]) -> dict[str, str]:
    bone_of: dict[str, str] = {}
    taken: set[str] = set()
    for role, spellings in family.spellings.items():
        bone = next((present[s] for s in spellings if s in present and present[s] not in taken), None)
        if bone is not None:
            bone_of[role] = bone
            taken.add(bone)
    return bone_of


def _by_normalised_name(bone_names: Sequence[str], prefix: re.Pattern[str] | None) -> dict[str, str]:
    present: dict[str, str] = {}
    for bone in bone_names:
        short = bone if prefix is None else prefix.sub("", bone, count=1)
        present.setdefault(normalised(short), bone)
    return present


def _common_prefix(bone_names: Sequence[str]) -> str | None:
    """A rig's own first word ("Character1_") that most bones carry."""
    first_words = (re.match(r"[A-Za-z0-9]+[_ .-]+", bone) for bone in bone_names)
    words = Counter(match.group(0) for match in first_words if match)
    word, count = words.most_common(1)[0] if words else ("", 0)
    return word if count >= _PREFIX_SHARE * len(bone_names) else None


def read_bone_map(path: str | Path) -> dict[str, str]:
    """A user's map file: one JSON object {"their bone": "smpl22 joint", ...}; BadInputError for anything else."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_pairs_once)
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: expected a bone map as JSON text: {error}") from None
    if not isinstance(raw, dict) or not all(isinstance(role, str) for role in raw.values()):
        raise BadInputError(f'{path}: expected one JSON object of names: {{"their bone": "smpl22 joint", ...}}')
    return raw


def _pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    doubled = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if doubled:
        raise ValueError(f"bones stand twice: {', '.join(doubled)}")
    return dict(pairs)


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """What is said of a name that does not exist: with the closest one that does."""
    by_shape = {normalised(k): k for k in known}
    near = get_close_matches(normalised(name), by_shape, n=1, cutoff=0.3)
    return f"unknown {kind} {name!r}" + (f" (did you mean {by_shape[near[0]]!r}?)" if near else "")
