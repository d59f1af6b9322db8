"""A user's own skeleton or character: read from a file, written onto in the file's own units, with all it holds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import existing_file
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    import argparse

    from kinestream.io.gltf_motion import Character
    from kinestream.io.motion_file import BvhLayout
    from kinestream.motion import Motion
    from kinestream.skeleton import Skeleton


CHARACTER_SUFFIXES = (".glb", ".vrm")


@dataclass(frozen=True)
class Rig:
    """A target skeleton, how a BVH file for it is written, and a take on it that shows how its bones lie, if any.

    `character` is the file of a figure that comes back with the motion in it.
    """

    skeleton: Skeleton
    layout: BvhLayout | None = None
    example: Motion | None = None
    character: Character | None = None


def add_rig_options(parser: argparse._ActionsContainer) -> None:
    """Add `--rig`, also called `--character`."""
    parser.add_argument(
        "--rig",
        "--character",
        type=Path,
        metavar="FILE",
        help="retarget to the skeleton of this .bvh or .json, or to the character in this .glb or .vrm, whose file "
        "comes back with the motion added",
    )


def load_rig(path: Path) -> Rig:
    """The rig in a BVH file (its motion, if any, serves as an example), a skeleton's JSON file, or a character."""
    existing_file(path, "a rig: a .bvh, .glb or .vrm file, or a skeleton as .json")
    if path.suffix.lower() in CHARACTER_SUFFIXES:
        from kinestream.io.gltf_motion import read_character

        character = read_character(path)
        return Rig(character.skeleton, character=character)
    if path.suffix.lower() == ".json":
        from kinestream.skeleton import Skeleton

        return Rig(Skeleton.from_json(path))
    if path.suffix.lower() != ".bvh":
        raise BadInputError(f"{path}: expected a rig as .bvh, a character as .glb or .vrm, or a skeleton as .json")
    from kinestream.io.bvh import read_bvh_rig

    return Rig(*read_bvh_rig(path))


def load_joint_map(path: Path | None) -> dict[str, str] | None:
    """The user's map file: JSON, one object of names; None without a path."""
    if path is None:
        return None
    from kinestream.skeleton.bone_names import read_bone_map

    return read_bone_map(existing_file(path, 'a joint map as JSON: {"LeftUpLeg": "left_hip", ...}'))


def on_rig(motions: Sequence[Motion], rig: Rig, joint_map: dict[str, str] | None) -> list[Motion]:
    """The motions on the rig; what was matched is said on stderr."""
    from kinestream.skeleton.retarget import retarget

    moved = []
    bones = target_map(rig, joint_map)
    for motion in motions:
        found, report = retarget(motion, rig.skeleton, target_map=bones, target_example=rig.example)
        moved.append(found)
    print(report, file=sys.stderr)
    return moved


def target_map(rig: Rig | None, joint_map: dict[str, str] | None) -> dict[str, str] | None:
    """The user's map of the rig's bones, else what its file says itself."""
    if joint_map is None and rig is not None and rig.character is not None:
        return rig.character.bones
    return joint_map
