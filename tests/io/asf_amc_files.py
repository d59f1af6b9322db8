"""Small ASF and AMC texts, and Acclaim's formulas written a second time with plain matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SMALL_ASF = """\
# made for tests
:version 1.10
:name small
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   a trunk, a neck, and an arm that hangs from the trunk's end
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name trunk
     direction 0 1 0
     length 9
     axis 0 0 0  XYZ
     dof rx ry rz
     limits (-180.0 180.0)
            (-180.0 180.0)
            (-180.0 180.0)
  end
  begin
     id 2
     name neck
     direction 0 1 0
     length 4.5
     axis 0 0 0  XYZ
  end
  begin
     id 3
     name larm
     direction 2 0 0
     length 9
     axis 20 -30 90  XYZ
     dof rz rx
  end
:hierarchy
  begin
    root trunk
    trunk neck larm
  end
"""

SMALL_AMC = """\
#!OML:ASF small.asf
:FULLY-SPECIFIED
:DEGREES
1
root 0 18 0 0 0 0
trunk 0 0 0
larm 0 0
2
root 4.5 18 -9 10 20 30
trunk 15 -25 35
larm 40 50
"""
UNIT_M = 0.0254 / 0.45


def write_small(folder: Path, amc: str = SMALL_AMC, asf: str = SMALL_ASF) -> Path:
    """01.asf and 01_01.amc in a folder; gives the AMC's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "01.asf").write_text(asf)
    (folder / "01_01.amc").write_text(amc)
    return folder / "01_01.amc"


def turn(axis: int, degrees: float) -> NDArray[np.float64]:
    """Rotation matrix about X, Y or Z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def second_frame_by_hand() -> dict[str, NDArray[np.float64]]:
    """Where the bones of SMALL_AMC's second frame end, in metres: global = parent's global * C * M * inverse C."""
    root = turn(2, 30) @ turn(1, 20) @ turn(0, 10)
    trunk = root @ turn(2, 35) @ turn(1, -25) @ turn(0, 15)
    axes = turn(2, 90) @ turn(1, -30) @ turn(0, 20)
    # The file lists rz before rx: Z turns first.
    arm = trunk @ axes @ turn(0, 50) @ turn(2, 40) @ np.linalg.inv(axes)
    start = np.array([4.5, 18.0, -9.0])
    end = start + trunk @ [0.0, 9.0, 0.0]
    return {
        "trunk": end * UNIT_M,
        "neck": (end + trunk @ [0.0, 4.5, 0.0]) * UNIT_M,
        "larm": (end + arm @ [9.0, 0.0, 0.0]) * UNIT_M,
    }
