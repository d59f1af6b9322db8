"""Motion -> BVH files: any skeleton, in the units, axes and channel orders that are asked for."""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt
import torch

from kinestream.errors import BadInputError
from kinestream.io.atomic import atomic_path
from kinestream.io.axes import turned_axes
from kinestream.io.bvh_hierarchy import Channels
from kinestream.io.motion_file import BvhLayout
from kinestream.motion import Motion
from kinestream.rotations import euler_from_quat_rad, quat_conjugate
from kinestream.skeleton.up_axis import turn_to_y

SAME_TRANSLATION_M = 1e-5
"""Joints that move by less against their OFFSET have no position channels."""

_Floats = npt.NDArray[np.float64]
_POSITIONS: Channels = (("position", "X"), ("position", "Y"), ("position", "Z"))


def write_bvh(
    motion: Motion,
    path: str | os.PathLike[str],
    *,
    units_per_metre: float = 100.0,
    rotation_order: str = "ZXY",
    layout: BvhLayout | None = None,
) -> None:
    """Write a Motion as BVH, whole or not at all: centimetres, Y up, rotations as ZXY unless told otherwise.

    `rotation_order` is a permutation of XYZ; `layout`, instead, a file's own unit, axes and channels by joint, in its
    order (a joint whose channels do not have three rotations gets ZXY). The root has six channels, a joint with
    animated translation too. The root's OFFSET is zero and its place stands in the channels, so that programs that add
    the two and programs that do not agree. Joints are written depth first, so their order (never their names or tree)
    can differ from the motion's; leaves without an end site get one of length zero.
    Raises BadInputError for names or values that BVH cannot hold.
    """
    layout = BvhLayout(units_per_metre) if layout is None else layout
    if not (math.isfinite(layout.units_per_metre) and layout.units_per_metre > 0):
        raise BadInputError(f"units_per_metre must be a positive number, got {layout.units_per_metre}")
    if sorted(rotation_order) != ["X", "Y", "Z"]:
        raise BadInputError(
            f"expected a rotation order with X, Y and Z once each, such as 'ZXY', got {rotation_order!r}"
        )
    if layout.up != "y":
        down = quat_conjugate(turn_to_y(layout.up))
        motion = turned_axes(motion, down, down)
    channels = _channels(motion, layout, rotation_order)
    header, joint_order = _hierarchy_text(motion, channels, layout.units_per_metre)
    columns = [column for joint in joint_order for column in _columns(motion, joint, channels[joint], layout)]
    rows = np.stack(columns, axis=1)
    line = " ".join(["%.6f"] * rows.shape[1]) + "\n"
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(header)
        file.write(f"MOTION\nFrames: {len(rows)}\nFrame Time: {1.0 / motion.fps:.15f}\n")
        for row in rows.tolist():
            file.write(line % tuple(row))


def _columns(motion: Motion, joint: int, channels: Channels, layout: BvhLayout) -> list[_Floats]:
    """A joint's numbers over time, one array a channel."""
    order = "".join(axis for kind, axis in channels if kind == "rotation")
    angles = euler_from_quat_rad(motion.local_rotations[:, joint].detach().cpu().double(), order).numpy()
    # Whole turns are added so that curves stay continuous in an animation program.
    degrees = np.degrees(np.unwrap(angles, axis=0))
    if joint == 0:
        places = motion.root_position_m
    elif motion.joint_translations_m is not None:
        places = motion.joint_translations_m[:, joint]
    else:
        places = motion.skeleton.offsets_m[joint].expand(motion.num_frames, 3)
    moves = places.detach().cpu().double().numpy() * layout.units_per_metre
    return [
        moves[:, "XYZ".index(axis)] if kind == "position" else degrees[:, order.index(axis)] for kind, axis in channels
    ]


def _channels(motion: Motion, layout: BvhLayout, rotation_order: str) -> list[Channels]:
    """Each joint's channels: the layout's where they can hold the motion."""
    moving = _moving_joints(motion)
    plain: Channels = tuple(("rotation", axis) for axis in rotation_order)
    found = []
    for joint, name in enumerate(motion.skeleton.joint_names):
        wanted = tuple(channel for channel in layout.channels.get(name, ()) if channel[0] != "scale")
        if sum(kind == "rotation" for kind, _ in wanted) != 3:
            wanted = (*(channel for channel in wanted if channel[0] == "position"), *plain)
        if (joint == 0 or joint in moving) and sum(kind == "position" for kind, _ in wanted) != 3:
            wanted = (*_POSITIONS, *(channel for channel in wanted if channel[0] == "rotation"))
        found.append(wanted)
    return found


def _moving_joints(motion: Motion) -> frozenset[int]:
    if motion.joint_translations_m is None:
        return frozenset()
    distance = (motion.joint_translations_m - motion.skeleton.offsets_m).abs().amax(dim=(0, 2))
    return frozenset(int(j) for j in torch.nonzero(distance > SAME_TRANSLATION_M).flatten() if j)


def _hierarchy_text(motion: Motion, channels: list[Channels], units_per_metre: float) -> tuple[str, list[int]]:
    """The HIERARCHY text and the joints in the order in which it names them."""
    skeleton = motion.skeleton
    children: list[list[int]] = [[] for _ in skeleton.parents]
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        children[parent].append(joint)
    lines = ["HIERARCHY"]
    joint_order: list[int] = []
    stack: list[tuple[int, int, bool]] = [(0, 0, False)]  # joint, depth, whether its block is to be closed

    def offset_line(indent: str, offset: tuple[float, ...]) -> str:
        return f"{indent}OFFSET " + " ".join(f"{x * units_per_metre:.6f}" for x in offset)

    while stack:
        joint, depth, closing = stack.pop()
        indent = "  " * min(depth, 40)  # endless chains must not make endless lines
        if closing:
            lines.append(f"{indent}}}")
            continue
        name = skeleton.joint_names[joint]
        if not name.strip() or name != name.strip() or not name.isprintable() or name[-1] == "{" or len(name) > 200:
            raise BadInputError(f"a BVH file cannot hold the joint name {name[:60]!a}; rename the joint")
        joint_order.append(joint)
        names = " ".join(f"{axis}{kind}" for kind, axis in channels[joint])
        lines += [f"{indent}{'JOINT' if joint else 'ROOT'} {name}", f"{indent}{{"]
        lines.append(
            offset_line(indent + "  ", tuple(skeleton.offsets_m[joint].tolist()) if joint else (0.0, 0.0, 0.0))
        )
        lines.append(f"{indent}  CHANNELS {len(channels[joint])} {names}")
        tip = skeleton.end_sites.get(name, None if children[joint] else (0.0, 0.0, 0.0))
        if tip is not None:
            inner = indent + "  "
            lines += [f"{inner}End Site", f"{inner}{{", offset_line(inner + "  ", tip), f"{inner}}}"]
        stack.append((joint, depth, True))
        stack += [(child, depth + 1, False) for child in reversed(children[joint])]
    return "\n".join(lines) + "\n", joint_order
