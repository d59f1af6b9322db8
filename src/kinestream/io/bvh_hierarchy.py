"""The HIERARCHY part of a BVH file: text <-> joints, offsets and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kinestream.errors import BadInputError
from kinestream.skeleton import Skeleton

MAX_JOINTS = 2048
"""More joints than any rig has: a file that says more is refused."""

_AXES = "XYZ"
_CHANNELS = {f"{axis}{kind}".lower(): (kind, axis) for axis in _AXES for kind in ("position", "rotation", "scale")}
_MAX_METRES = 1e6

# Longest way between two tips (fingertip to toe) of a grown person, in metres, and the units that BVH files come in:
# metres, feet, decimetres, the 0.45 inch steps of the CMU Acclaim conversions, inches, centimetres, millimetres. The
# limits (in file units) lie between the lengths that a person has in neighbouring units; a grown person has 1.7 to
# 2.4 m, centimetres reach down to a child of 1 m.
_UNIT_LIMITS = (
    (3.7, 1.0),
    (9.7, 0.3048),
    (28.5, 0.1),
    (55.0, 0.0254 / 0.45),
    (110.0, 0.0254),
    (664.0, 0.01),
    (math.inf, 0.001),
)
UNIT_NAMES = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
"""Units by the names that `--unit` takes, in metres."""

Channels = tuple[tuple[str, str], ...]
"""A joint's channels in file order: ("position" | "rotation" | "scale", "X" | "Y" | "Z")."""


def unit_name(metres_per_unit: float) -> str:
    """A unit as it is said: "cm", "0.45 in" for the CMU conversions, else its length."""
    names = {**UNIT_NAMES, "0.45 in": 0.0254 / 0.45}
    near = [name for name, metres in names.items() if abs(metres - metres_per_unit) < 1e-6 * metres]
    return near[0] if near else f"{metres_per_unit:g} m"


@dataclass(frozen=True)
class BvhHierarchy:
    """Joints of a BVH file's (first) figure in file order, in file units.

    `end_sites` has one (joint index, tip) pair per End Site block. `other_channels` counts the numbers that further
    figures have in each frame, after this one's.
    """

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: tuple[tuple[float, float, float], ...]
    channels: tuple[Channels, ...]
    end_sites: tuple[tuple[int, tuple[float, float, float]], ...]
    other_channels: int = 0

    @property
    def num_channels(self) -> int:
        """Numbers in one frame that are this figure's."""
        return sum(map(len, self.channels))

    @property
    def rotation_orders(self) -> dict[str, str]:
        """The order of each joint's rotation channels, such as "ZXY" ("" where a joint has none)."""
        return {
            name: "".join(axis for kind, axis in channels if kind == "rotation")
            for name, channels in zip(self.joint_names, self.channels, strict=True)
        }

    def guess_metres_per_unit(self) -> float:
        """Metres per file unit, guessed from the skeleton's size (BVH files do not say).

        The longest way along the bones from tip to tip is about 2.1 m in a grown person, however the rest pose lies.
        Lengths up to 3.7 are read as metres, up to 9.7 as feet, up to 28.5 as decimetres, up to 55 as 0.45 inch steps
        (the CMU conversions), up to 110 as inches, up to 664 as centimetres, above as millimetres. BadInputError where
        the skeleton has no length.
        """
        length = self._tip_to_tip()
        if length <= 0.0:
            raise BadInputError("the skeleton has no bones to guess its unit by; give metres_per_unit (0.01 for cm)")
        return next(unit for limit, unit in _UNIT_LIMITS if length <= limit)

    def _tip_to_tip(self) -> float:
        reach = [0.0] * len(self.parents)
        longest = 0.0

        def join(joint: int, branch: float) -> None:
            nonlocal longest
            longest = max(longest, reach[joint] + branch)
            reach[joint] = max(reach[joint], branch)

        for joint, tip in self.end_sites:
            join(joint, math.hypot(*tip))
        for joint in range(len(self.parents) - 1, 0, -1):
            join(self.parents[joint], reach[joint] + math.hypot(*self.offsets[joint]))
        return longest

    def to_skeleton(self, name: str, metres_per_unit: float) -> Skeleton:
        """The skeleton in metres. Of several End Sites at one joint the first is kept; zero-length ones are dropped."""
        tips: dict[str, tuple[float, float, float]] = {}
        for joint, (x, y, z) in self.end_sites:
            if x or y or z:
                tips.setdefault(
                    self.joint_names[joint], (x * metres_per_unit, y * metres_per_unit, z * metres_per_unit)
                )
        offsets_m = torch.tensor(self.offsets, dtype=torch.float64) * metres_per_unit
        longest_m = max([float(offsets_m.abs().max()), *(max(map(abs, tip)) for tip in tips.values())])
        if longest_m > _MAX_METRES:
            raise BadInputError(
                f"a bone of {longest_m:.3g} m cannot be: check the unit ({metres_per_unit:g} m) and the file"
            )
        return Skeleton(name, self.joint_names, self.parents, offsets_m.float(), tips)


class _Reader:
    """One pass over the lines of the hierarchy; the stack holds open blocks, so depth costs no recursion."""

    def __init__(self, where: str, commas: bool) -> None:
        self.where = where
        self.commas = commas  # numbers have decimal commas
        self.line = 0
        self.names: list[str] = []
        self.known: set[str] = set()
        self.parents: list[int] = []
        self.offsets: list[tuple[float, float, float] | None] = []
        self.channels: list[tuple[tuple[str, str], ...] | None] = []
        self.end_sites: list[tuple[int, tuple[float, float, float]]] = []
        self.stack: list[int | None] = []  # joint indices; None for an End Site
        self.opened: int | str | None = ""  # what the next "{" opens; "" when none may come
        self.notes: list[str] = []
        self.roots: list[int] = []

    def note(self, message: str) -> None:
        self.notes.append(f"{self.where}, line {self.line}: {message}")

    def fail(self, message: str) -> BadInputError:
        return BadInputError(f"{self.where}, line {self.line}: {message}")

    def read(self, text: str) -> None:
        words = text.split()
        if not words:
            return
        if words[-1] == "{" and words[0].lower() in ("root", "joint", "end"):
            self.statement(text.rstrip()[:-1])  # the brace stands on the joint's own line
            self.open(["{"])
        else:
            self.statement(text)

    def statement(self, text: str) -> None:
        words = text.split()
        key = words[0].lower()
        if self.opened != "" and key != "{":
            raise self.fail(f"expected '{{', got {_shown(text)}")
        if key == "{":
            self.open(words)
        elif key == "}":
            self.close(words)
        elif key in ("root", "joint"):
            self.joint(key, text.split(maxsplit=1)[1].strip() if len(words) > 1 else "")
        elif key == "end":
            self.end_site(words)
        elif key == "offset":
            self.offset(words[1:])
        elif key == "channels":
            self.channel_list(words[1:])
        else:
            raise self.fail(f"expected ROOT, JOINT, End Site, OFFSET, CHANNELS, '{{' or '}}', got {_shown(text)}")

    def open(self, words: Sequence[str]) -> None:
        if self.opened == "" or len(words) > 1:
            raise self.fail("a '{' that opens no joint")
        assert not isinstance(self.opened, str)
        self.stack.append(self.opened)
        if self.opened is None:
            self.end_sites.append((self.current_joint(), (0.0, 0.0, 0.0)))
        self.opened = ""

    def close(self, words: Sequence[str]) -> None:
        if not self.stack or len(words) > 1:
            raise self.fail("a '}' that closes no joint")
        joint = self.stack.pop()
        if joint is not None and self.offsets[joint] is None:
            raise self.fail(f"joint {_shown(self.names[joint])} has no OFFSET")

    def current_joint(self) -> int:
        return next(joint for joint in reversed(self.stack) if joint is not None)

    def joint(self, key: str, name: str) -> None:
        if not name or not name.isprintable() or len(name) > 200:
            raise self.fail(f"expected a joint name, got {_shown(name)}")
        if key == "root" and self.stack:
            raise self.fail(f"ROOT {_shown(name)} stands within another joint's braces")
        if key == "root":
            if len(self.roots) == 1:
                self.note(
                    f"a second figure begins here ({_shown(name)}); only the first is read. Split the file to get it"
                )
            self.roots.append(len(self.names))
        if name in self.known:
            given, number = name, 2
            while name in self.known:
                name, number = f"{given}_{number}", number + 1
            self.note(f"the joint name {_shown(given)} stands twice; this one is called {_shown(name)}")
        if key == "joint" and (not self.stack or self.stack[-1] is None):
            raise self.fail(f"joint {_shown(name)} stands outside of a joint's braces")
        if len(self.names) >= MAX_JOINTS:
            raise self.fail(f"more than {MAX_JOINTS} joints")
        self.parents.append(self.current_joint() if key == "joint" else -1)
        self.names.append(name)
        self.known.add(name)
        self.offsets.append(None)
        self.channels.append(None)
        self.opened = len(self.names) - 1

    def end_site(self, words: Sequence[str]) -> None:
        if len(words) < 2 or words[1].lower() != "site" or not self.stack or self.stack[-1] is None:
            raise self.fail("expected 'End Site' inside of a joint's braces")
        if len(self.end_sites) >= 2 * MAX_JOINTS:
            raise self.fail(f"more than {2 * MAX_JOINTS} end sites")
        self.opened = None

    def offset(self, words: Sequence[str]) -> None:
        try:
            if self.commas and len(words) == 3:
                words = [word.replace(",", ".") for word in words]
            x, y, z = (float(word) for word in words)
        except ValueError:
            raise self.fail(f"expected OFFSET and three numbers, got {_shown(' '.join(words))}") from None
        if not all(map(math.isfinite, (x, y, z))):
            raise self.fail(f"OFFSET must be finite numbers, got {_shown(' '.join(words))}")
        if not self.stack:
            raise self.fail("an OFFSET outside of a joint's braces")
        joint = self.stack[-1]
        if joint is None:
            self.end_sites[-1] = (self.end_sites[-1][0], (x, y, z))
        elif self.offsets[joint] is not None:
            raise self.fail(f"joint {_shown(self.names[joint])} has a second OFFSET")
        else:
            self.offsets[joint] = (x, y, z)

    def channel_list(self, words: Sequence[str]) -> None:
        joint = self.stack[-1] if self.stack else None
        if joint is None:
            raise self.fail("CHANNELS outside of a joint's braces")
        if self.channels[joint] is not None:
            raise self.fail(f"joint {_shown(self.names[joint])} has a second CHANNELS line")
        if not words or words[0] != str(len(words) - 1):
            raise self.fail(f"expected CHANNELS, a number and that many names, got {_shown(' '.join(words))}")
        unknown = [word for word in words[1:] if word.lower() not in _CHANNELS]
        if unknown:
            raise self.fail(f"unknown channel {_shown(unknown[0])}; expected Xposition ... Zrotation, or Xscale ...")
        channels = tuple(_CHANNELS[word.lower()] for word in words[1:])
        if len(set(channels)) != len(channels):
            raise self.fail(f"a channel stands twice: {_shown(' '.join(words))}")
        self.channels[joint] = channels


def parse_hierarchy(lines: Sequence[str], where: str, *, commas: bool = False) -> tuple[BvhHierarchy, list[str]]:
    """The first figure from the lines above MOTION (the first is HIERARCHY), and what is worth a warning.

    `commas`: numbers are written with decimal commas. BadInputError names `where` and the line.
    """
    reader = _Reader(where, commas)
    started = False
    for reader.line, text in enumerate(lines, start=1):
        if started:
            reader.read(text)
        elif text.strip():
            if text.strip().lower() != "hierarchy":
                raise reader.fail(f"a BVH file begins with HIERARCHY, got {_shown(text)}")
            started = True
    if not reader.names:
        raise reader.fail("the hierarchy has no ROOT joint")
    if reader.stack or reader.opened != "":
        raise reader.fail("the hierarchy ends within a joint: a '}' is missing, or the file was cut off")
    count = reader.roots[1] if len(reader.roots) > 1 else len(reader.names)
    channels = [found or () for found in reader.channels]
    hierarchy = BvhHierarchy(
        tuple(reader.names[:count]),
        tuple(reader.parents[:count]),
        tuple(offset for offset in reader.offsets[:count] if offset is not None),
        tuple(channels[:count]),
        tuple((joint, tip) for joint, tip in reader.end_sites if joint < count),
        other_channels=sum(map(len, channels[count:])),
    )
    return hierarchy, reader.notes


def _shown(text: str) -> str:
    """A file's text as it may stand in a message: quoted, escaped, short."""
    text = text.strip()
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")
