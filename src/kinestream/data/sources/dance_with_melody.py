"""Dance with Melody (Tang, Jia, Mao; ACM MM 2018): cha-cha, rumba, tango and waltz as 23 marker positions at 25 fps.

`index.json` lists the dances; `motion/ID.npz` has `joints` [T, 23, 3] relative to `center` [T, 3] in centimetres, Y up;
`audio/ID.ogg` the whole songs. What the markers are was measured on the recordings (distances that stay the same):

    0, 1 right and left of the head (names change places); 2 belly; 7, 16 hip bones; 3, 12 on top of the shoulders;
    4, 13 elbows; 5, 21 forearms 12 cm from the elbow, 14 a second one on the left; 6, 22 both sides of the right wrist
    and 15 the left wrist (24 to 28 cm from the elbow); 8, 17 knees; 9, 18 ankles; 10, 19 heels; 11, 20 toes.

Many recordings are two takes of differently measured bodies (thighs of 55 and of 44 cm) that were faded into each other
within a second; heights climb by up to 45 cm in a minute, and the track along Z is wrong. The second take gets the
first's sizes, constants of the body are estimated for each take and faded alike, the floor is taken from the feet, and
the track from the feet that stand (`dance_with_melody_markers`). The motion that comes out is on a skeleton with the
dancer's proportions and SMPL-22's joints and axes (`dance_with_melody_body`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import safe_name
from kinestream.data.sources.dance_recording import DanceRecording, ReadDance, genre_named
from kinestream.data.sources.dance_with_melody_body import residual_mm, solve
from kinestream.data.sources.dance_with_melody_markers import prepared
from kinestream.data.sources.recording import Reject, SourceListing
from kinestream.errors import BadInputError
from kinestream.io.arrays import read_numbers

FPS = 25.0
NUM_MARKERS = 23
MAX_INDEX_BYTES = 4 * 2**20
MIN_FRAMES = 50


@dataclass(frozen=True)
class DanceWithMelody:
    """Importer of the folder with index.json, motion/ and audio/."""

    name: str = "dance-with-melody"
    licence: str = "published for research; no licence file"
    citation: str = "Tang, Jia, Mao: Dance with Melody, ACM Multimedia 2018"
    drifts: bool = True

    def find(self, root: Path) -> SourceListing[DanceRecording]:
        """The dances that index.json lists; those without a motion file are rejects.

        A dance whose song is missing counts as danced to the song of the dance that used the same part of one.
        """
        recordings, rejects = [], []
        parts: dict[tuple[Any, ...], str] = {}
        entries = _index(root)
        for entry in sorted(entries, key=lambda entry: not _audio_file(root, entry).is_file()):
            try:
                identity, genre = str(entry["id"]), genre_named(str(entry["genre"])).name
                start, end = float(entry["music_start_frame"]), float(entry["music_end_frame"])
                safe_name(identity)
            except (KeyError, TypeError, ValueError, BadInputError) as error:
                reason = f"its entry in index.json cannot be read: {error}"
                rejects.append(Reject(str(entry.get("id"))[:80], self.name, reason))
                continue
            name, motion, audio = f"DWM_{identity}", root / "motion" / f"{identity}.npz", _audio_file(root, entry)
            if not motion.is_file():
                rejects.append(Reject(name, self.name, f"there is no motion/{identity}.npz"))
                continue
            found = audio if audio.is_file() else None
            song = parts.setdefault((genre, start, end), f"dwm-{identity}") if found is None else f"dwm-{identity}"
            parts.setdefault((genre, start, end), song)
            begin = max(start, 0.0) / FPS
            recordings.append(DanceRecording(name, self.name, motion, genre, song, identity, found, begin))
        if not recordings:
            raise BadInputError(f"{root}: index.json lists no dance with a motion file")
        return SourceListing(tuple(sorted(recordings, key=lambda r: r.name)), tuple(rejects))

    def read(self, recording: DanceRecording) -> ReadDance:
        """The dance at 25 fps on the dancer's own proportions, standing near y = 0."""
        markers = read_markers(recording.path)
        given = prepared(markers, FPS)
        solved = solve(given, FPS, recording.name)
        facts = {
            "residual_mm": residual_mm(solved, given),
            "second_take_share": round(float(given.share.mean()), 3),
            "track_mended_m": round(float((given.slide_m.amax(dim=0) - given.slide_m.amin(dim=0)).norm()), 2),
        }
        return ReadDance(solved.motion, facts)


def read_markers(path: Path) -> Float[Tensor, "t 23 3"]:
    """Marker positions in the world in metres, float64; BadInputError for other files."""
    arrays = read_numbers(path, ("joints", "center"))
    joints, centre = torch.from_numpy(arrays["joints"]).double(), torch.from_numpy(arrays["center"]).double()
    if joints.shape[1:] != (NUM_MARKERS, 3) or centre.shape != (len(joints), 3):
        raise BadInputError(
            f"{path}: expected joints [T, {NUM_MARKERS}, 3] and center [T, 3], got {tuple(joints.shape)} and "
            f"{tuple(centre.shape)}"
        )
    if len(joints) < MIN_FRAMES:
        raise BadInputError(f"{path}: {len(joints)} frames; at least {MIN_FRAMES} are needed")
    return (joints + centre[:, None]) / 100.0


def _audio_file(root: Path, entry: Mapping[str, Any]) -> Path:
    return root / "audio" / f"{str(entry.get('id', '')).replace('/', '-')}.ogg"


def _index(root: Path) -> list[dict[str, Any]]:
    path = root / "index.json"
    try:
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise BadInputError(f"{path}: expected a list of dances, this is {path.stat().st_size >> 20} MiB")
        sequences = json.loads(path.read_text(encoding="utf-8"))["sequences"]
        if not isinstance(sequences, list) or not all(isinstance(entry, dict) for entry in sequences):
            raise TypeError("'sequences' is no list of objects")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected Dance with Melody's index with 'sequences': {error}") from None
    return sequences
