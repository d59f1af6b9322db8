"""A skeleton: named joints in a tree with rest offsets, and its forward kinematics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.rotations import quat_multiply, quat_rotate


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints in an order where every parent comes before its children.

    `offsets_m` [J, 3] are rest translations in the parent's frame in metres; the root's row is where the root rests in
    the model's own frame. `end_sites` are tips of leaf joints (in the leaf's frame, metres), by joint name.
    Raises BadInputError when the tree, the names or the offsets are not sound.
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets_m: Float[Tensor, "j 3"]
    end_sites: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.joint_names)
        if count == 0 or len(self.parents) != count or tuple(self.offsets_m.shape) != (count, 3):
            raise BadInputError(
                f"skeleton {self.name!r}: expected as many parents and offsets as joints, got {count} joints, "
                f"{len(self.parents)} parents and offsets of shape {tuple(self.offsets_m.shape)}"
            )
        if len(set(self.joint_names)) != count:
            raise BadInputError(f"skeleton {self.name!r}: joint names must be unique")
        if self.parents[0] != -1 or any(not 0 <= p < i for i, p in enumerate(self.parents) if i > 0):
            raise BadInputError(f"skeleton {self.name!r}: expected one root first and every parent before its children")
        if not bool(torch.isfinite(self.offsets_m).all()):
            raise BadInputError(f"skeleton {self.name!r}: offsets must be finite numbers")
        unknown = set(self.end_sites) - set(self.joint_names)
        if unknown:
            raise BadInputError(f"skeleton {self.name!r}: end sites at unknown joints {sorted(unknown)}")

    @property
    def num_joints(self) -> int:
        """How many joints there are."""
        return len(self.joint_names)

    def index(self, joint_name: str) -> int:
        """Index of a joint; BadInputError names the joints there are when it is not one of them."""
        try:
            return self.joint_names.index(joint_name)
        except ValueError:
            raise BadInputError(
                f"skeleton {self.name!r} has no joint {joint_name!r}; it has: {', '.join(self.joint_names)}"
            ) from None

    def children(self, joint: int) -> tuple[int, ...]:
        """Indices of a joint's children."""
        return tuple(i for i, parent in enumerate(self.parents) if parent == joint)

    @cached_property
    def levels(self) -> tuple[tuple[list[int], list[int]], ...]:
        """(joints, their parents) for each depth below the root: what can be computed at once."""
        depth = [0] * self.num_joints
        for joint, parent in enumerate(self.parents[1:], start=1):
            depth[joint] = depth[parent] + 1
        return tuple(
            (
                [j for j in range(self.num_joints) if depth[j] == d],
                [self.parents[j] for j in range(self.num_joints) if depth[j] == d],
            )
            for d in range(1, max(depth) + 1)
        )

    def to_json(self) -> str:
        """The skeleton as the JSON text that `from_json` reads."""
        return json.dumps(
            {
                "name": self.name,
                "joints": list(self.joint_names),
                "parents": list(self.parents),
                "offsets_m": [[round(x, 6) for x in row] for row in self.offsets_m.tolist()],
                "end_sites": {name: list(tip) for name, tip in self.end_sites.items()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, path: str | Path) -> Skeleton:
        """Read a skeleton file (joints, parents, offsets_m, optional name and end_sites)."""
        path = Path(path)
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise BadInputError(f"{path}: expected a skeleton as JSON text: {error}") from None
        return _skeleton_from_dict(raw, str(path), path.stem)


def _skeleton_from_dict(raw: Any, where: str, default_name: str) -> Skeleton:
    try:
        return Skeleton(
            name=str(raw.get("name", default_name)),
            joint_names=tuple(str(name) for name in raw["joints"]),
            parents=tuple(int(parent) for parent in raw["parents"]),
            offsets_m=torch.tensor(raw["offsets_m"], dtype=torch.float32).reshape(-1, 3),
            end_sites={str(k): (float(x), float(y), float(z)) for k, (x, y, z) in raw.get("end_sites", {}).items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise BadInputError(
            f"{where}: a skeleton file holds 'joints' (names), 'parents' (indices, -1 for the root) and 'offsets_m' "
            f"(three numbers a joint): {type(error).__name__}: {error}"
        ) from None


@lru_cache(maxsize=1)
def smpl22() -> Skeleton:
    """The first 22 joints of SMPL's neutral mean body: metres, Y up, a T-pose that faces +Z at identity rotations."""
    text = files("kinestream.skeleton").joinpath("definitions/smpl22.json").read_text(encoding="utf-8")
    return _skeleton_from_dict(json.loads(text), "smpl22.json", "smpl22")


def forward_kinematics(
    skeleton: Skeleton,
    local_rotations: Float[Tensor, "... j 4"],
    root_position_m: Float[Tensor, "... 3"],
    joint_translations_m: Float[Tensor, "... j 3"] | None = None,
) -> tuple[Float[Tensor, "... j 3"], Float[Tensor, "... j 4"]]:
    """World joint positions (metres) and world orientations (wxyz) from local rotations.

    `root_position_m` is the root joint's world position. `joint_translations_m`, in parents' frames, replaces the rest
    offsets where a recording animates them; its root row is ignored.
    """
    offsets = skeleton.offsets_m.to(local_rotations) if joint_translations_m is None else joint_translations_m
    offsets = offsets.expand(*local_rotations.shape[:-1], 3)
    positions = torch.empty(*local_rotations.shape[:-1], 3, dtype=local_rotations.dtype, device=local_rotations.device)
    world = torch.empty_like(local_rotations)
    positions[..., 0, :], world[..., 0, :] = root_position_m, local_rotations[..., 0, :]
    for joints, parents in skeleton.levels:
        parent_world = world[..., parents, :]
        world[..., joints, :] = quat_multiply(parent_world, local_rotations[..., joints, :])
        positions[..., joints, :] = positions[..., parents, :] + quat_rotate(parent_world, offsets[..., joints, :])
    return positions, world
