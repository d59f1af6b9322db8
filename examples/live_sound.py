"""Sound as it comes in, from a microphone or a game: the dance follows, and changes its genre on the way."""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
import made_song
from kinestream import DanceEngine, Motion, load_music_to_dance
from kinestream.motion import concatenate
from kinestream.streaming import DanceOptions


def main(folder: Path) -> list[Motion]:
    """Push a song in chunks of a tenth of a second, as a sound card gives it; writes live.bvh."""
    folder.mkdir(parents=True, exist_ok=True)
    options = DanceOptions(piece_s=1.6)  # shorter pieces come sooner and see less of the music that follows
    session = DanceEngine(load_music_to_dance()).session(seed=1, options=options, genre="waltz")
    session.change_genre("rumba", at_s=5.0)
    sound, size, chunks = made_song.samples(bars=5), made_song.RATE_HZ // 10, []
    for first in range(0, len(sound), size):
        session.hear(sound[first : first + size], made_song.RATE_HZ)
        for chunk in session:  # what can be danced to what was heard: often nothing
            chunks.append(chunk)
            heard_s = min(first + size, len(sound)) / made_song.RATE_HZ
            print(f"heard {heard_s:4.1f} s: {chunk.genre}, frames from {chunk.first_frame} on")
    session.finish()
    chunks += list(session)

    motion = concatenate([chunk.motion for chunk in chunks])
    print(f"{motion.num_frames} frames, each at latest {session.look_ahead_s:.2f} s after its sound")
    kinestream.write_motion(motion, folder / "live.bvh")
    return [motion]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
