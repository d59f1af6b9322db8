"""An independent reading of BVH: 4x4 matrices, one joint and frame at a time, straight from the file's words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

SMALL_RIG = """HIERARCHY
ROOT Hips
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 50 0
    CHANNELS 3 Yrotation Xrotation Zrotation
    JOINT Head
    {
      OFFSET 0 60 5
      CHANNELS 3 Zrotation Yrotation Xrotation
      End Site
      {
        OFFSET 0 20 0
      }
    }
  }
  JOINT Leg
  {
    OFFSET 10 -45 0
    CHANNELS 4 Xrotation Yposition Zrotation Yrotation
    End Site
    {
      OFFSET 0 -45 10
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.0333333
0 90 0 10 20 30 5 0 -5 15 25 -35 5 -45 0 8
1 91 -2 11 -80 31 6 1 -6 16 26 -36 6 -44 9 9
2 92 -4 12 22 178 7 2 -7 17 89 -37 7 -43 1 10
"""


def reference_positions(path: Path, frame: int) -> dict[str, Matrix]:
    """World position of each joint in file units; position channels replace the OFFSET."""
    words = path.read_text(encoding="utf-8").split()
    joints: list[tuple[str, str | None, list[float], list[str]]] = []
    open_blocks: list[str | None] = []
    last: str | None = None
    at = 1
    while words[at] != "MOTION":
        word = words[at]
        if word in ("ROOT", "JOINT"):
            parent = next((block for block in reversed(open_blocks) if block), None)
            last = words[at + 1]
            joints.append((last, parent, [], []))
            at += 2
        elif word == "End":
            last = None
            at += 2
        elif word in "{}":
            open_blocks.append(last) if word == "{" else open_blocks.pop()
            at += 1
        elif word == "OFFSET":
            if open_blocks[-1]:
                joints[-1][2].extend(map(float, words[at + 1 : at + 4]))
            at += 4
        else:
            count = int(words[at + 1])
            next(joint for joint in joints if joint[0] == open_blocks[-1])[3].extend(words[at + 2 : at + 2 + count])
            at += 2 + count
    per_frame = sum(len(joint[3]) for joint in joints)
    start = words.index("Time:") + 2 + per_frame * frame
    values = iter(map(float, words[start : start + per_frame]))
    world: dict[str, Matrix] = {}
    for name, parent, offset, channels in joints:
        local = np.eye(4)
        local[:3, 3] = offset
        for channel in channels:
            axis, value = "XYZ".index(channel[0]), next(values)
            if channel.endswith("position"):
                local[axis, 3] = value
            else:
                local[:3, :3] = local[:3, :3] @ _turn(axis, math.radians(value))
        world[name] = local if parent is None else world[parent] @ local
    return {name: matrix[:3, 3] for name, matrix in world.items()}


def _turn(axis: int, angle: float) -> Matrix:
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i] = turn[j, j] = math.cos(angle)
    turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
    return turn
