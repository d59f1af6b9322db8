"""How soon a song is danced to, how fast all of it is done, and in how much memory: the packaged model, sound included.

    python -m benchmarks.dance_latency song.mp3 -o docs/results/dance_latency.json   # at most three minutes of it
    python -m benchmarks.dance_latency song.mp3 --check                              # exit 1 where a limit is missed

Each mode runs in a process of its own; results are JSON, times are wall-clock ones. The first frame counts from giving
the song's path, with the model loaded: reading, analysing and dancing its first piece.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from kinestream.checkpoints import load_music_to_dance
from kinestream.conditioning.music import music_features
from kinestream.io.audio import read_audio
from kinestream.streaming import DanceEngine, DanceSession, generate_dance

MODES = ("exact", "fast")
LIMITS = {"first_frame_s": 2.0, "seconds_a_second": 1.0, "peak_memory_mb": 2000.0}


def first_frame_s(song: Path, session: DanceSession) -> float:
    """Seconds from a path to the first frames; the song is read a second at a time."""
    begun = time.perf_counter()
    start = 0.0
    while not session.ready:
        sound = read_audio(song, start_s=start, end_s=start + 1.0)
        session.hear(sound.samples, sound.rate_hz)
        start += 1.0
    session.step()
    return time.perf_counter() - begun


def measure(given: argparse.Namespace) -> dict[str, float]:
    """All figures of one mode, in this process."""
    torch.set_num_threads(given.threads)
    begun = time.perf_counter()
    model = load_music_to_dance(given.model)
    engine = DanceEngine(model, mode=given.mode)
    loaded = time.perf_counter() - begun
    first = first_frame_s(given.song, engine.session())
    begun = time.perf_counter()
    motion = generate_dance(given.song, engine, end_s=given.seconds)
    whole = time.perf_counter() - begun
    begun = time.perf_counter()
    music_features(read_audio(given.song, end_s=given.seconds))
    figures = {
        "song_s": motion.duration_s,
        "load_s": loaded,
        "first_frame_s": first,
        "seconds_a_second": whole / motion.duration_s,
        "of_them_music_analysis": (time.perf_counter() - begun) / motion.duration_s,
        "times_real_time": motion.duration_s / whole,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return {name: round(value, 4) for name, value in figures.items()}


def main() -> int:
    """Measure, print, and check against the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("song", type=Path)
    parser.add_argument("--model", type=Path, help="a music-to-dance model's folder; the packaged one without it")
    parser.add_argument("--mode", choices=MODES, help="only this one, on stdout")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="exit 1 where a limit is missed")
    parser.add_argument("-o", "--output", type=Path, help="file for the figures of both modes")
    given = parser.parse_args()
    if given.mode:
        results = {given.mode: measure(given)}
    else:
        results = {}
        for mode in MODES:
            command = [sys.executable, "-m", "benchmarks.dance_latency", *sys.argv[1:], "--mode", mode]
            results |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    text = json.dumps(results, indent=2)
    print(text)
    if given.output and not given.mode:
        given.output.write_text(text + "\n", encoding="utf-8")
    missed = [
        f"{mode}: {name} is {figures[name]:.3f}, should be at most {most}"
        for mode, figures in results.items()
        for name, most in LIMITS.items()
        if figures[name] > most
    ]
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed and given.check and not given.mode else 0


if __name__ == "__main__":
    sys.exit(main())
