"""FineDance (Li et al., ICCV 2023): 22 genres at 30 fps, one song a dance.

motion/001.npy       [T, 315]: translation (metres), then 52 SMPL-H rotations as the first two rows of their matrices
music_wav/001.wav    the song from the dance's first frame on
label_json/001.json  "style1" and "style2"; the finer one is taken where the taxonomy knows it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from kinestream.data.sources.dance_recording import DanceRecording, ReadDance, audio_named, genre_or_unknown
from kinestream.data.sources.recording import SourceListing, files_under
from kinestream.errors import BadInputError
from kinestream.io.arrays import read_numbers
from kinestream.motion import Motion
from kinestream.rotations import matrix_from_rot6d_rows, quat_from_matrix
from kinestream.skeleton import smpl22

FPS = 30.0
WIDTH = 315
MAX_LABEL_BYTES = 65_536


@dataclass(frozen=True)
class FineDance:
    """Importer of the folder with motion/, music_wav/ and label_json/."""

    name: str = "finedance"
    licence: str = "CC BY-NC 4.0"
    citation: str = "Li et al.: FineDance, ICCV 2023"
    drifts: bool = False

    def find(self, root: Path) -> SourceListing[DanceRecording]:
        """All numbered npy files of a folder named motion; their labels where they are."""
        songs = audio_named(root)
        recordings = [
            DanceRecording(
                f"FD_{path.stem}",
                self.name,
                path,
                _genre(root, path.stem),
                f"fd-{path.stem}",
                path.stem,
                audio=songs.get(path.stem),
            )
            for path in files_under(root, "", ".npy")
            if path.parent.name == "motion" and path.stem.isdigit()
        ]
        if not recordings:
            raise BadInputError(f"{root}: found no motion/001.npy and the like; expected FineDance's folders")
        return SourceListing(tuple(recordings), ())

    def read(self, recording: DanceRecording) -> ReadDance:
        """The dance at 30 fps on SMPL-22; hands are left out."""
        values = torch.from_numpy(read_numbers(recording.path, ("",))[""])
        if values.ndim != 2 or values.shape[1] != WIDTH or len(values) < 2:
            raise BadInputError(f"{recording.path}: expected FineDance's [T, {WIDTH}], got {tuple(values.shape)}")
        rows = values[:, 3:].unflatten(1, (52, 6))[:, :22]
        rotations = quat_from_matrix(matrix_from_rot6d_rows(rows))
        root = values[:, :3] + smpl22().offsets_m[0]
        return ReadDance(Motion(smpl22(), rotations, root, FPS, name=recording.name))


def _genre(root: Path, identity: str) -> str:
    path = root / "label_json" / f"{identity}.json"
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            return "unknown"
        label = json.loads(path.read_text(encoding="utf-8"))
        labels = [str(label[key]) for key in ("style2", "style1") if key in label]
    except (OSError, UnicodeDecodeError, ValueError, TypeError, RecursionError):
        return "unknown"
    return genre_or_unknown(*labels)
