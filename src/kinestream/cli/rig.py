"""A user's own skeleton: read from a file, written onto in the file's own units and channel orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import existing_file
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.skeleton import Skeleton


@dataclass(frozen=True)
class Rig:
    """A target skeleton, and how a BVH file for it is written: units a metre and rotation orders by joint."""

    skeleton: Skeleton
    units_per_metre: float = 100.0
    rotation_order: Mapping[str, str] = field(default_factory=dict)


def load_rig(path: Path) -> Rig:
    """The rig in a BVH file (its motion, if any, is not looked at) or in a skeleton's JSON file."""
    existing_file(path, "a rig: a .bvh file, or a skeleton as .json")
    if path.suffix.lower() == ".json":
        from kinestream.skeleton import Skeleton

        return Rig(Skeleton.from_json(path))
    if path.suffix.lower() != ".bvh":
        raise BadInputError(f"{path}: expected a rig as .bvh, or a skeleton as .json")
    from kinestream.io.bvh import read_bvh_hierarchy

    hierarchy = read_bvh_hierarchy(path)
    metres_per_unit = hierarchy.guess_metres_per_unit()
    return Rig(hierarchy.to_skeleton(path.stem, metres_per_unit), 1.0 / metres_per_unit, hierarchy.rotation_orders)


def load_joint_map(path: Path | None) -> dict[str, str] | None:
    """The user's map file: JSON, one object of names; None without a path."""
    if path is None:
        return None
    import json

    existing_file(path, 'a joint map as JSON: {"LeftUpLeg": "left_hip", ...}')
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected a joint map as JSON: {error}") from None
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise BadInputError(f'{path}: expected one JSON object of names, such as {{"LeftUpLeg": "left_hip", ...}}')
    return raw
