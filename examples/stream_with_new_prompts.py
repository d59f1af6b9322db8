"""A stream: frames come out four at a time; what the body does can change between any two of them, or be undone."""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
from kinestream import Engine, Motion, load_text_to_motion


def main(folder: Path) -> list[Motion]:
    """Walk, change to a bow, go back two seconds and wave instead; writes stream.bvh."""
    folder.mkdir(parents=True, exist_ok=True)
    session = Engine(load_text_to_motion()).session(seed=3)

    session.prompt("walks forward")  # acts from the next step on, until something else is said
    for _ in range(15):
        chunk = session.step()  # 4 frames, 0.133 s: send chunk.motion to whatever shows it
    session.prompt("bows deeply")
    for _ in range(15):
        chunk = session.step()
    print(f"bowing at frame {session.num_frames}: {chunk.prompt}")

    again = session.rewind(60)  # keeps the frames before 60, forgets all that was said after
    session.prompt("waves with the right hand")
    for _ in range(15):
        chunk = session.step()
    print(f"from frame {again} on: {chunk.prompt}")

    motion = session.motion()
    kinestream.write_motion(motion, folder / "stream.bvh")
    return [motion]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
