"""Tiny synthetic sources: DeepMimic clips of a body that sways, walks on the spot or stands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def clip(frames: int = 60, *, speed: float = 0.0, duration: float = 1.0 / 30.0, sway: float = 0.3) -> dict[str, Any]:
    """A clip whose right arm swings; it moves forward (+X) at `speed` metres a second."""
    rows = []
    for k in range(frames):
        angle = sway * math.sin(2.0 * math.pi * k / 30.0)
        swing = [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]
        still = [1.0, 0.0, 0.0, 0.0]
        row = [duration, speed * k * duration, 0.89, 0.0, *still]
        row += [*still, *still]  # chest, neck
        row += [*still, -0.05, *still]  # right hip, knee, ankle
        row += [*swing, 0.1]  # right shoulder, elbow
        row += [*still, -0.05, *still]  # left hip, knee, ankle
        row += [*still, 0.1]  # left shoulder, elbow
        rows.append(row)
    return {"Loop": "none", "Frames": rows}


def write_clips(folder: Path, actions: dict[str, dict[str, Any]]) -> Path:
    """Write `humanoid3d_ACTION.txt` for each action."""
    folder.mkdir(parents=True, exist_ok=True)
    for action, content in actions.items():
        (folder / f"humanoid3d_{action}.txt").write_text(json.dumps(content), encoding="utf-8")
    return folder
