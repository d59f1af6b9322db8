"""A dance beside the beats of its song: pictures of the body on every beat, over a line of beats and steps.

    python -m benchmarks.dance_strips song.mp3 --genre waltz --start 30 --seconds 16 -o strips.png

Below each row of pictures time runs from left to right: bars begin at the red lines, beats are the black ones, and the
blue marks are the moments in which feet and hands are caught (`kinestream.metrics.step_beats`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinestream.checkpoints import load_music_to_dance
from kinestream.conditioning.music import Beats, music_beats
from kinestream.io.audio import read_audio
from kinestream.io.png import write_png
from kinestream.io.render import render
from kinestream.io.stage import follow, stage_motions
from kinestream.metrics import step_beats
from kinestream.motion import Motion
from kinestream.streaming.dance.generate import generate_dance

Times = NDArray[np.float64]

PANEL = (150, 220)
LINE_HEIGHT = 48
RED, BLACK, BLUE = (200, 40, 40), (40, 40, 40), (40, 90, 220)


def strips(motion: Motion, beats: Beats, a_row: int) -> NDArray[np.uint8]:
    """Rows of `a_row` pictures, one a beat, [H, W, 3] sRGB; beats count from the motion's first frame."""
    width, height = PANEL
    stage = stage_motions(motion)
    cameras = follow(stage, width / height)
    steps = step_beats(motion.joint_positions_m(), motion.fps).numpy()
    times = beats.times_s[beats.times_s < motion.duration_s]
    rows = []
    for first in range(0, len(times) - a_row, a_row):
        shown = times[first : first + a_row + 1]
        frames = np.minimum((shown[:-1] * motion.fps).round().astype(int), stage.num_frames - 1)
        rows.append(np.hstack([render(stage.scene(k), cameras[k], width, height) for k in frames]))
        rows.append(_line(shown, beats.downbeats_s, steps, width * a_row))
    return np.vstack(rows)


def _line(shown: Times, bars: Times, steps: Times, width: int) -> NDArray[np.uint8]:
    """Beats and steps between the first and last time of `shown`; a beat is in the middle of its picture."""
    line = np.full((LINE_HEIGHT, width, 3), 245, dtype=np.uint8)

    def mark(time: float, top: int, colour: tuple[int, int, int]) -> None:
        place = int(np.interp(time, shown, np.linspace(0, width, len(shown))) + 0.5 * PANEL[0])
        line[top : top + LINE_HEIGHT // 2, max(0, place - 1) : place + 2] = colour

    for time in shown[:-1]:
        mark(time, 0, RED if np.abs(bars - time).min(initial=1.0) < 1e-6 else BLACK)
    for time in steps[(steps >= shown[0]) & (steps < shown[-1])]:
        mark(time, LINE_HEIGHT // 2, BLUE)
    return line


def main() -> None:
    """Dance an excerpt and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("song", type=Path)
    parser.add_argument("--model", type=Path, help="a music-to-dance model's folder; the packaged one without it")
    parser.add_argument("--genre")
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beats-a-row", type=int, default=12)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    end_s = given.start + given.seconds
    motion = generate_dance(
        given.song,
        load_music_to_dance(given.model),
        genre=given.genre,
        start_s=given.start,
        end_s=end_s,
        seed=given.seed,
    )
    beats = music_beats(read_audio(given.song, start_s=given.start, end_s=end_s))
    write_png(strips(motion, beats, given.beats_a_row), given.out)
    print(given.out)


if __name__ == "__main__":
    main()
