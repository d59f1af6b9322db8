"""Small dance folders in the published layouts, from a real motion and drums."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.motion import Motion
from kinestream.rotations import quat_rotate
from kinestream.skeleton import forward_kinematics
from tests.io.audio_files import clicks, write_wav

# Where the markers of Dance with Melody sit on SMPL-22's joints in these tests: (joint, offset in its frame in metres).
MARKERS: dict[int, tuple[str, tuple[float, float, float]]] = {
    0: ("head", (-0.05, 0.12, 0.06)), 1: ("head", (0.05, 0.12, 0.06)), 2: ("pelvis", (0.0, 0.02, 0.08)),
    3: ("right_shoulder", (0.01, 0.05, 0.0)), 12: ("left_shoulder", (-0.01, 0.05, 0.0)),
    4: ("right_elbow", (0.0, 0.0, 0.0)), 13: ("left_elbow", (0.0, 0.0, 0.0)),
    5: ("right_elbow", (-0.12, 0.01, 0.01)), 21: ("left_elbow", (0.12, 0.01, 0.01)),
    14: ("left_elbow", (0.16, 0.03, 0.0)),
    6: ("right_wrist", (0.0, 0.0, 0.024)), 22: ("right_wrist", (0.0, 0.0, -0.024)), 15: ("left_wrist", (0.0, 0.0, 0.0)),
    7: ("pelvis", (-0.10, -0.02, 0.01)), 16: ("pelvis", (0.10, -0.02, 0.01)),
    8: ("right_knee", (0.0, 0.0, 0.0)), 17: ("left_knee", (0.0, 0.0, 0.0)),
    9: ("right_ankle", (0.0, 0.0, 0.0)), 18: ("left_ankle", (0.0, 0.0, 0.0)),
    10: ("right_ankle", (0.0, -0.05, -0.07)), 19: ("left_ankle", (0.0, -0.05, -0.07)),
    11: ("right_ankle", (0.0, -0.05, 0.14)), 20: ("left_ankle", (0.0, -0.05, 0.14)),
}  # fmt: skip


def markers_on(motion: Motion) -> Tensor:
    """Markers [T, 23, 3] in metres on an SMPL-22 motion."""
    positions, world = forward_kinematics(motion.skeleton, motion.local_rotations, motion.root_position_m)
    markers = torch.zeros(motion.num_frames, 23, 3, dtype=torch.float64)
    for marker, (joint, offset) in MARKERS.items():
        at = motion.skeleton.index(joint)
        markers[:, marker] = positions[:, at] + quat_rotate(world[:, at], torch.tensor(offset).expand(len(world), 3))
    return markers


def write_dance_with_melody(
    folder: Path, dances: Sequence[tuple[str, str, Tensor, float | None]], seconds: float = 14.0
) -> Path:
    """index.json, motion/ and audio/: (id, genre, markers in metres at 25 fps, tempo of its drum; None: no song)."""
    (folder / "motion").mkdir(parents=True, exist_ok=True)
    (folder / "audio").mkdir(exist_ok=True)
    entries = []
    for k, (identity, genre, markers, tempo_bpm) in enumerate(dances):
        centre = markers.mean(dim=1)
        arrays = {"joints": 100.0 * (markers - centre[:, None]).numpy(), "center": 100.0 * centre.numpy()}
        np.savez(folder / "motion" / f"{identity}.npz", **arrays)
        if tempo_bpm is not None:
            sound = clicks(seconds, 8000, tempo_bpm, 3 + k % 2, start_s=0.1 * k)
            write_wav(folder / "audio" / f"{identity}.ogg", sound, 8000)  # what a file holds decides, not its name
        part = {"music_start_frame": 20 + k, "music_end_frame": 300 + k, "audio": tempo_bpm is not None}
        entries.append({"id": identity, "genre": genre, "frames": len(markers)} | part)
    (folder / "index.json").write_text(json.dumps({"fps": 25, "units": "centimetre", "sequences": entries}))
    return folder
