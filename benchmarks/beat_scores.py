"""Which beats of the body tell a dance's own song from others, on real dances.

    python -m benchmarks.beat_scores data/dances --split train

Windows of eight seconds; each meets all windows of all other songs. z is the mean gain by song over its standard error.
"Searched": every song, own or other, is first shifted by up to 0.8 s to where it fits the whole dance best, as the
import did for own songs alone. Results are JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.errors import KinestreamError
from kinestream.evaluation.dance.beats import heard_windows
from kinestream.evaluation.dance.plan import WINDOW_S, DanceItem, dance_plan, windows_of
from kinestream.features import motion_from_motion272
from kinestream.metrics import beat_alignment, beat_alignment_control, motion_beats, step_beats

FPS = 30.0
FEET = (7, 8, 10, 11)
SHIFTS_S = tuple(k / 30.0 for k in range(-24, 25))

Find = Callable[[Tensor], Tensor]


def rests(joints_m: Tensor, joints: Sequence[int], smoothing_s: float) -> Tensor:
    """Rests of some joints."""
    return motion_beats(joints_m[:, list(joints)], FPS, smoothing_s=smoothing_s)


DETECTORS: Mapping[str, Find] = {
    "rests of all joints, 1/6 s (published)": partial(motion_beats, fps=FPS, compat=True),
    "rests of all joints, 0.08 s": partial(rests, joints=range(22), smoothing_s=0.08),
    "rests of the feet, 0.08 s": partial(rests, joints=FEET, smoothing_s=0.08),
    "rests of the feet, 0.05 s": partial(rests, joints=FEET, smoothing_s=0.05),
    "braking of all joints, 0.08 s": partial(step_beats, fps=FPS, joints=range(22)),
    "braking of the feet, 0.08 s": partial(step_beats, fps=FPS, joints=FEET),
    "braking of feet and hands, 0.08 s": partial(step_beats, fps=FPS),
    "braking of feet and hands, 0.12 s": partial(step_beats, fps=FPS, smoothing_s=0.12),
}


def told_apart(items: Sequence[DanceItem], joints: Sequence[Tensor], find: Find) -> dict[str, Any]:
    """Scores with own and other songs over windows, and the gain by song."""
    heard = heard_windows(items, windows_of(items))
    beats = [find(own) for own in joints]
    cut = [_between(beats[w.item], w.start / FPS, w.start / FPS + WINDOW_S) for w in heard.windows]
    found = beat_alignment_control(cut, list(heard.music), [WINDOW_S] * len(cut), songs=heard.songs)
    gains = found.own_scores - found.other_scores
    songs = list(dict.fromkeys(heard.songs))
    by_song = [float(gains[[own == song for own in heard.songs]].mean()) for song in songs]
    return {
        "windows": len(cut),
        "own": round(found.own.value, 4),
        "others": round(found.others.value, 4),
        "gain": round(found.gain.value, 4),
        **_significance(by_song),
        "beats_per_s": round(sum(map(len, cut)) / WINDOW_S / len(cut), 2),
    }


def searched(items: Sequence[DanceItem], joints: Sequence[Tensor], find: Find) -> dict[str, Any]:
    """The gain over whole dances where every song may be shifted to its best."""
    moved = [find(own) for own in joints]
    seconds = [len(own) / FPS for own in joints]
    music = [torch.from_numpy(item.music().beats.times_s) for item in items]
    gains = []
    for k, item in enumerate(items):
        best = []
        for j in range(len(items)):
            end = min(seconds[k], seconds[j])
            inner = music[j][(music[j] > 1.0) & (music[j] < end - 1.0)]
            body = moved[k][moved[k] < end]
            if len(inner):
                best.append((items[j].song, max(float(beat_alignment(body, inner + s)) for s in SHIFTS_S)))
        own = [score for song, score in best if song == item.song]
        others = [score for song, score in best if song != item.song]
        if own and others:
            gains.append(max(own) - float(np.mean(others)))
    return {"gain": round(float(np.mean(gains)), 4), **_significance(gains)}


def _significance(gains: Sequence[float]) -> dict[str, Any]:
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    return {
        "z": round(float(np.mean(gains)) / max(error, 1e-12), 2),
        "songs": len(gains),
        "songs_above_0": sum(gain > 0 for gain in gains),
    }


def _between(times_s: Tensor, start: float, stop: float) -> Tensor:
    return times_s[(times_s >= start) & (times_s < stop)] - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 0 where they could be measured, whatever they are."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, help="a dance data set")
    options.add_argument("--split", default="train")
    given = options.parse_args(arguments)
    try:
        items = dance_plan(given.data, given.split, None).items
    except KinestreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    joints = [motion_from_motion272(item.features()).joint_positions_m() for item in items]
    found = {name: told_apart(items, joints, find) for name, find in DETECTORS.items()}
    chosen = ("rests of all joints, 1/6 s (published)", "braking of feet and hands, 0.08 s")
    print(
        json.dumps(
            {
                "split": given.split,
                "dances": len(items),
                "detectors": found,
                "searched": {name: searched(items, joints, DETECTORS[name]) for name in chosen},
            },
            indent=1,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
