"""A user's own skeleton: read from a file, written onto in the file's own units and channel orders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import existing_file
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.io.motion_file import BvhLayout
    from kinestream.motion import Motion
    from kinestream.skeleton import Skeleton


@dataclass(frozen=True)
class Rig:
    """A target skeleton, how a BVH file for it is written, and a take on it that shows how its bones lie, if any."""

    skeleton: Skeleton
    layout: BvhLayout | None = None
    example: Motion | None = None


def load_rig(path: Path) -> Rig:
    """The rig in a BVH file (its motion, if any, serves as an example) or in a skeleton's JSON file."""
    existing_file(path, "a rig: a .bvh file, or a skeleton as .json")
    if path.suffix.lower() == ".json":
        from kinestream.skeleton import Skeleton

        return Rig(Skeleton.from_json(path))
    if path.suffix.lower() != ".bvh":
        raise BadInputError(f"{path}: expected a rig as .bvh, or a skeleton as .json")
    from kinestream.io.bvh import read_bvh_rig

    return Rig(*read_bvh_rig(path))


def load_joint_map(path: Path | None) -> dict[str, str] | None:
    """The user's map file: JSON, one object of names; None without a path."""
    if path is None:
        return None
    from kinestream.skeleton.bone_names import read_bone_map

    return read_bone_map(existing_file(path, 'a joint map as JSON: {"LeftUpLeg": "left_hip", ...}'))
