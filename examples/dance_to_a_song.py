"""A song in, a dance out: a film that plays the song, and the motion for other programs. Needs the extra dance."""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
import made_song
from kinestream import Motion
from kinestream.io.soundtrack import Soundtrack
from kinestream.io.video import write_mp4


def main(folder: Path) -> list[Motion]:
    """Dance a waltz to four bars; writes song.wav, dance.mp4 and dance.glb."""
    folder.mkdir(parents=True, exist_ok=True)
    song = made_song.write(folder / "song.wav", bars=4)  # any mp3, wav, flac, ogg, m4a of your own
    motion = kinestream.dance(song, genre="waltz", seed=1)
    kinestream.write_motion(motion, folder / "dance.glb")
    write_mp4(motion, folder / "dance.mp4", width=256, height=192, fps=15, sound=Soundtrack(song))
    print(f"{motion.duration_s:.1f} s of dance; frame k belongs to the sound at k / 30 s")
    return [motion]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
