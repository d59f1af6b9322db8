"""Sound as it comes in, from a microphone or a game: the dance follows, and changes its genre on the way."""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
import made_song
from kinestream import Motion
from kinestream.checkpoints import load_music_to_dance
from kinestream.motion import concatenate
from kinestream.streaming.dance.session import DanceOptions, DanceSession


def main(folder: Path) -> list[Motion]:
    """Push a song in chunks of a tenth of a second, as a sound card gives it; writes live.bvh."""
    folder.mkdir(parents=True, exist_ok=True)
    options = DanceOptions(piece_s=1.6)  # shorter pieces come sooner and see less of the music that follows
    session = DanceSession(load_music_to_dance(), made_song.RATE_HZ, genre="waltz", seed=1, options=options)
    session.change_genre("rumba", at_s=5.0)
    sound, chunk, pieces = made_song.samples(bars=5), made_song.RATE_HZ // 10, []
    for first in range(0, len(sound), chunk):
        for piece in session.push(sound[first : first + chunk]):  # often none
            pieces.append(piece)
            heard_s = min(first + chunk, len(sound)) / made_song.RATE_HZ
            print(f"heard {heard_s:4.1f} s: {piece.genre}, frames from {piece.first_frame} on")
    pieces += session.finish()

    motion = concatenate([piece.motion for piece in pieces])
    print(f"{motion.num_frames} frames, each at latest {session.look_ahead_s:.2f} s after its sound")
    kinestream.write_motion(motion, folder / "live.bvh")
    return [motion]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
