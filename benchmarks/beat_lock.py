"""What the beat lock does to recorded dances: step alignment with own and with other songs, before and after.

    python -m benchmarks.beat_lock data/dances [--split train]

"pieces" is the lock as dances are shown (four seconds at a time, their ends stay), "whole" shifts a dance in one go.
The same lock onto another song's beats says how much of the rise any song would bring. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.dance.windows import DanceClips
from kinestream.features import motion_from_motion272
from kinestream.metrics import beat_alignment, step_beats
from kinestream.metrics.on_beat import on_beat_times
from kinestream.motion import Motion, at_frames

FPS = 30.0
PIECE = 120


def locked(motion: Motion, beats_s: Tensor, piece: int | None) -> Float[Tensor, "t j 3"]:
    """Joints of a motion whose steps were brought to the beats, in pieces of so many frames or in one."""
    parts, size = [], piece or motion.num_frames
    for start in range(0, motion.num_frames, size):
        part = motion.slice(start, start + size)
        read = on_beat_times(part.joint_positions_m(), FPS, beats_s - start / FPS, ends_stay=piece is not None)
        parts.append(at_frames(part, read * FPS).joint_positions_m())
    return torch.cat(parts)


def score(joints_m: Tensor, beats_s: Tensor) -> float:
    """Step alignment over the beats that fall within the dance."""
    heard = beats_s[beats_s < len(joints_m) / FPS]
    return float(beat_alignment(step_beats(joints_m, FPS), heard, over="both"))


def main() -> None:
    """Measure all recordings of the split that have a song, mirror images left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="train")
    given = parser.parse_args()
    clips = DanceClips.load([given.data], given.split)
    dances = [
        (motion_from_motion272(clips.dance(index, 0, clip.frames)), clip.beats_s)
        for index, clip in enumerate(clips.clips)
        if clip.beats_s is not None and not clip.name.startswith("M_")
    ]
    rows = []
    for place, (motion, beats) in enumerate(dances):
        other = dances[(place + 1) % len(dances)][1]
        before, pieces, whole = motion.joint_positions_m(), locked(motion, beats, PIECE), locked(motion, beats, None)
        rows.append(
            {
                "own": score(before, beats),
                "own, locked in pieces": score(pieces, beats),
                "own, locked whole": score(whole, beats),
                "another song": score(before, other),
                "another song, locked to the own": score(pieces, other),
                "another song, locked to it": score(locked(motion, other, PIECE), other),
            }
        )
    means = {name: round(sum(row[name] for row in rows) / len(rows), 3) for name in rows[0]}
    print(json.dumps({"split": given.split, "dances": len(rows)} | means, indent=2))


if __name__ == "__main__":
    main()
