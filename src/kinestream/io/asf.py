"""ASF files (Acclaim skeletons, as CMU's motion capture library has them): text -> bones, axes and degrees of freedom.

A bone starts where its parent ends and reaches along `direction` for `length`, both in the world's axes of the rest
pose. Its degrees of freedom turn (or move) it about axes of its own, which `axis` gives as Euler angles.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.io.bvh_hierarchy import MAX_JOINTS
from kinestream.io.text_bytes import read_text_bytes
from kinestream.rotations import quat_from_euler_rad
from kinestream.skeleton import Skeleton

ROOT = "root"
_ROTATIONS = {"rx": "X", "ry": "Y", "rz": "Z"}
_TRANSLATIONS = {"tx": 0, "ty": 1, "tz": 2}
# CMU's length unit: the factor that an ASF states turns inches into its own units.
_INCH_M = 0.0254
# From tip to tip along the bones, what an actor's skeleton can measure; others are in other units than they say.
_LIKELY_REACH_M = (0.3, 4.0)
_MAX_UNITS = 1e6


@dataclass(frozen=True)
class AsfBone:
    """One bone in file units: direction times length, its axes' Euler angles (radians) and their letters' order.

    `dof` are the file's words in their order ("rx", "tz"): the numbers that a frame has for the bone.
    """

    name: str
    parent: int
    vector: tuple[float, float, float]
    axis_rad: tuple[float, ...]
    axis_order: str
    dof: tuple[str, ...]

    def axes(self) -> Float[Tensor, "4"]:
        """Where the bone's own axes point in the rest pose, wxyz in double precision."""
        return fixed_axes_rotation(torch.tensor(self.axis_rad, dtype=torch.float64), self.axis_order)

    @property
    def turns(self) -> tuple[list[int], str]:
        """Which of the bone's numbers are rotations, and their axes' letters in file order."""
        places = [k for k, word in enumerate(self.dof) if word in _ROTATIONS]
        return places, "".join(_ROTATIONS[self.dof[k]] for k in places)

    @property
    def moves(self) -> dict[int, int]:
        """Coordinate -> which of the bone's numbers moves along it."""
        return {_TRANSLATIONS[word]: k for k, word in enumerate(self.dof) if word in _TRANSLATIONS}


@dataclass(frozen=True)
class AsfSkeleton:
    """A skeleton file: bones with the root first and every parent before its children, units, and where it rests.

    `position` is the root's place in file units where frames do not move it. `length_factor` is the file's own word on
    its lengths: 0.45 says that 0.45 units are an inch.
    """

    bones: tuple[AsfBone, ...]
    position: tuple[float, float, float]
    length_factor: float
    degrees: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The bones' names, the root's first."""
        return tuple(bone.name for bone in self.bones)

    def metres_per_unit(self) -> float:
        """Metres in a file unit, as the file states; BadInputError when the body would have an unlikely size."""
        unit = _INCH_M / self.length_factor
        reach = self._tip_to_tip() * unit
        if not _LIKELY_REACH_M[0] <= reach <= _LIKELY_REACH_M[1]:
            raise BadInputError(
                f"the skeleton would measure {reach:.3g} m from tip to tip with the length {self.length_factor:g} "
                "(units an inch) that its file states; give metres_per_unit (0.01 for cm)"
            )
        return unit

    def _tip_to_tip(self) -> float:
        reach = [0.0] * len(self.bones)
        longest = 0.0
        for index in range(len(self.bones) - 1, 0, -1):
            bone = self.bones[index]
            branch = reach[index] + math.hypot(*bone.vector)
            longest = max(longest, reach[bone.parent] + branch)
            reach[bone.parent] = max(reach[bone.parent], branch)
        return longest

    def to_skeleton(self, name: str, metres_per_unit: float) -> Skeleton:
        """Joints named as bones, each where its bone starts; the tips of the last bones are end sites."""
        vectors = torch.tensor([bone.vector for bone in self.bones], dtype=torch.float64) * metres_per_unit
        parents = tuple(bone.parent for bone in self.bones)
        offsets = torch.stack([vectors[parent] if parent >= 0 else torch.zeros(3).double() for parent in parents])
        leaves = set(range(1, len(self.bones))) - set(parents)
        tips = {self.names[k]: tuple(vectors[k].tolist()) for k in sorted(leaves) if bool(vectors[k].any())}
        return Skeleton(name, self.names, parents, offsets.float(), {k: (x, y, z) for k, (x, y, z) in tips.items()})


def fixed_axes_rotation(angles: Float[Tensor, "... n"], order: str) -> Float[Tensor, "... 4"]:
    """Acclaim's Euler angles, about axes that stay: the first letter turns first ("XYZ": R = Rz @ Ry @ Rx)."""
    return quat_from_euler_rad(angles.flip(-1), order[::-1])


def read_asf(path: str | os.PathLike[str]) -> AsfSkeleton:
    """The bones of an ASF file; BadInputError, with the line, for files that are no whole, sound ASF."""
    path = Path(path)
    text = read_text_bytes(path, "ASF").decode("latin-1")
    reader = _Reader(str(path), re.split(r"\r\n|\n|\r", text))
    return reader.read()


@dataclass
class _Draft:
    """A bone while its block is read."""

    line: int
    name: str = ""
    direction: tuple[float, ...] = ()
    length: float | None = None
    axis: tuple[float, ...] = (0.0, 0.0, 0.0)
    axis_order: str = "XYZ"
    dof: tuple[str, ...] = ()


@dataclass
class _Reader:
    """One pass over the file's lines, section by section."""

    where: str
    lines: Sequence[str]
    line: int = 0
    length_factor: float = 1.0
    degrees: bool = True
    position: tuple[float, ...] = (0.0, 0.0, 0.0)
    root: _Draft = field(default_factory=lambda: _Draft(0, ROOT))
    bones: list[_Draft] = field(default_factory=list)
    parent_of: dict[str, str] = field(default_factory=dict)
    sections: dict[str, int] = field(default_factory=dict)

    def fail(self, message: str) -> BadInputError:
        return BadInputError(f"{self.where}, line {self.line}: {message}")

    def read(self) -> AsfSkeleton:
        """All sections, then the tree."""
        readers = {"units": self.units, "root": self.root_section, "bonedata": self.bone, "hierarchy": self.link}
        section, block = "", _Draft(0)
        for words in self._statements():
            if words[0].startswith(":"):
                self._end_block(block)
                section, block = words[0][1:].lower(), _Draft(0)
                if section in self.sections and section in readers:
                    raise self.fail(f"a second :{section}; the first is in line {self.sections[section]}")
                self.sections.setdefault(section, self.line)
            elif section == "bonedata":
                block = self.bone(words, block)
            elif section in readers:
                readers[section](words, block)
            elif not section:
                raise self.fail(f"expected a section such as :version, got {_shown(' '.join(words))}")
        self._end_block(block)
        missing = [name for name in ("root", "bonedata", "hierarchy") if name not in self.sections]
        if missing:
            raise BadInputError(f"{self.where}: an ASF file has the sections :root, :bonedata and :hierarchy; "
                                f"missing: {', '.join(missing)}")  # fmt: skip
        return self._tree()

    def _statements(self) -> Iterator[list[str]]:
        for number, text in enumerate(self.lines, start=1):
            self.line = number
            words = text.partition("#")[0].split()
            if words:
                yield words

    def _end_block(self, block: _Draft) -> None:
        if block.line:
            raise self.fail(f"the bone that begins in line {block.line} has no `end`; the file was cut off")

    def units(self, words: list[str], _: _Draft) -> None:
        key = words[0].lower()
        if key == "length":
            (self.length_factor,) = self.numbers(words[1:], 1, "length")
            if not 1e-6 <= self.length_factor <= 1e6:
                raise self.fail(f"expected a positive length factor, got {words[1]}")
        elif key == "angle":
            unit = words[1].lower() if len(words) == 2 else ""
            if unit not in ("deg", "rad"):
                raise self.fail(f"expected `angle deg` or `angle rad`, got {_shown(' '.join(words))}")
            self.degrees = unit == "deg"

    def root_section(self, words: list[str], _: _Draft) -> None:
        key = words[0].lower()
        if key == "order":
            self.root.dof = self.dof(words[1:])
        elif key == "axis":
            self.root.axis_order = self.order(words[1:])
        elif key == "position":
            self.position = self.numbers(words[1:], 3, "position")
        elif key == "orientation":
            self.root.axis = self.numbers(words[1:], 3, "orientation")

    def bone(self, words: list[str], block: _Draft) -> _Draft:
        """One line of :bonedata; gives the block that is open after it (line 0: none)."""
        key = words[0].lower()
        if key == "begin":
            self._end_block(block)
            if len(self.bones) >= MAX_JOINTS:
                raise self.fail(f"more than {MAX_JOINTS} bones")
            return _Draft(self.line)
        if not block.line:
            raise self.fail(f"expected `begin`, got {_shown(' '.join(words))}")
        if key == "end":
            self._add(block)
            return _Draft(0)
        if key == "name":
            block.name = words[1] if len(words) == 2 else ""
            if not block.name or not block.name.isprintable() or len(block.name) > 200:
                raise self.fail(f"expected a bone's name, got {_shown(' '.join(words[1:]))}")
        elif key == "direction":
            block.direction = self.numbers(words[1:], 3, "direction")
        elif key == "length":
            (block.length,) = self.numbers(words[1:], 1, "length")
        elif key == "axis":
            block.axis, block.axis_order = self.numbers(words[1:4], 3, "axis"), self.order(words[4:])
        elif key == "dof":
            block.dof = self.dof(words[1:])
        elif key not in ("id", "limits", "bodymass", "cofmass") and not key.startswith("("):
            raise self.fail(f"unknown word in a bone: {_shown(' '.join(words))}")
        return block

    def _add(self, block: _Draft) -> None:
        if not block.name or len(block.direction) != 3 or block.length is None:
            raise self.fail(f"the bone that begins in line {block.line} lacks its name, direction or length")
        if block.name.lower() == ROOT or block.name in {bone.name for bone in self.bones}:
            raise self.fail(f"a second bone {_shown(block.name)}")
        if block.length < 0.0 or (block.length > 0.0 and math.hypot(*block.direction) < 1e-6):
            raise self.fail(f"bone {_shown(block.name)}: expected a length of at least 0 and a direction")
        self.bones.append(block)

    def link(self, words: list[str], _: _Draft) -> None:
        if words in (["begin"], ["end"]):
            return
        known = {ROOT} | {bone.name for bone in self.bones}
        for name in words:
            if name not in known:
                raise self.fail(f"the hierarchy names a bone that there is not: {_shown(name)}")
        for child in words[1:]:
            if child == ROOT or child in self.parent_of:
                raise self.fail(f"bone {_shown(child)} has a second parent")
            self.parent_of[child] = words[0]

    def numbers(self, words: Sequence[str], count: int, what: str) -> tuple[float, ...]:
        try:
            values = tuple(float(word) for word in words)
        except ValueError:
            values = ()
        if len(values) != count or not all(math.isfinite(v) and abs(v) <= _MAX_UNITS for v in values):
            raise self.fail(f"expected {what} and {count} plain numbers, got {_shown(' '.join(words))}")
        return values

    def order(self, words: Sequence[str]) -> str:
        order = words[0].upper() if len(words) == 1 else ""
        if sorted(order) != ["X", "Y", "Z"]:
            raise self.fail(f"expected an order of axes such as XYZ, got {_shown(' '.join(words))}")
        return order

    def dof(self, words: Sequence[str]) -> tuple[str, ...]:
        dof = tuple(word.lower() for word in words)
        unknown = [word for word in dof if word not in _ROTATIONS and word not in _TRANSLATIONS]
        if unknown or len(set(dof)) != len(dof) or len(dof) > 6:
            raise self.fail(f"expected degrees of freedom out of tx ty tz rx ry rz, got {_shown(' '.join(words))}")
        return dof

    def _tree(self) -> AsfSkeleton:
        """Bones depth first from the root; one that hangs nowhere is an error."""
        children: dict[str, list[_Draft]] = {}
        for bone in self.bones:
            if bone.name not in self.parent_of:
                raise BadInputError(f"{self.where}: bone {_shown(bone.name)} has no place in :hierarchy")
            children.setdefault(self.parent_of[bone.name], []).append(bone)
        turn = math.pi / 180.0 if self.degrees else 1.0
        found: list[AsfBone] = []
        waiting: list[tuple[_Draft, int]] = [(self.root, -1)]
        while waiting:
            draft, parent = waiting.pop()
            size = math.hypot(*draft.direction) or 1.0
            x, y, z = (v / size * (draft.length or 0.0) for v in draft.direction or (0.0, 0.0, 0.0))
            axis = tuple(v * turn for v in draft.axis)
            found.append(AsfBone(draft.name, parent, (x, y, z), axis, draft.axis_order, draft.dof))
            waiting += [(child, len(found) - 1) for child in reversed(children.get(draft.name, []))]
        if len(found) != len(self.bones) + 1:
            raise BadInputError(f"{self.where}: the hierarchy has bones that do not hang from the root")
        x, y, z = self.position
        return AsfSkeleton(tuple(found), (x, y, z), self.length_factor, self.degrees)


def _shown(text: str) -> str:
    """A file's text as it may stand in a message: quoted, escaped, short."""
    text = text.strip()
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")
