"""Many bodies on one model: streams join and leave while others go on; each is what it would have been alone."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import kinestream
from kinestream import Engine, Motion, Scheduler, load_text_to_motion
from kinestream.motion import concatenate

LINES = ("walks forward", "raises both hands", "walks like an old man")


def main(folder: Path) -> list[Motion]:
    """Serve three streams, the last of which comes late; writes one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = Engine(load_text_to_motion())
    scheduler = Scheduler(engine, max_streams=8, max_queued=2)  # the eleventh gets a TooManyStreamsError
    frames: list[list[Motion]] = [[] for _ in LINES]
    streams = []
    for turn in range(15):
        if turn in (0, 5):  # two at once, the third a moment later
            for number in (0, 1) if turn == 0 else (2,):
                stream = scheduler.join(engine.session(seed=number))
                stream.session.prompt(LINES[number])
                streams.append(stream)
        scheduler.step()  # one step of all that are live
        for own, stream in zip(frames, streams, strict=False):
            if (chunk := stream.read()) is not None:
                own.append(chunk.motion)
    streams[0].leave()

    motions = [concatenate(own) for own in frames]
    for number, motion in enumerate(motions):
        kinestream.write_motion(motion, folder / f"stream_{number}.bvh")
    alone = engine.session(seed=2)
    alone.prompt(LINES[2])
    same = torch.equal(alone.step().motion.local_rotations, frames[2][0].local_rotations)
    print(f"{[motion.num_frames for motion in motions]} frames; in company and alone the same bits: {same}")
    return motions


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
