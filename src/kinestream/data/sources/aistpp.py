"""AIST++ (Li et al., ICCV 2021): SMPL parameters at 60 fps, ten street genres, their songs as wav files.

The published motions are pickles, which are never loaded here. Convert each once to an npz of the same arrays, where
you trust the files: `numpy.savez(NAME.npz, **pickle.load(open(NAME.pkl, "rb")))`. Then:

    motions/gBR_sBM_cAll_d04_mBR0_ch01.npz   smpl_poses [T, 72] axis-angle, smpl_trans [T, 3], smpl_scaling [1]
    wavs/mBR0.wav (or music/, audio/; any audio suffix)
    splits/crossmodal_{train,val,test}.txt, ignore_list.txt (optional)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from kinestream.data.sources.dance_recording import DanceRecording, ReadDance, audio_named, genre_named
from kinestream.data.sources.recording import Reject, SourceListing, files_under
from kinestream.errors import BadInputError
from kinestream.io.arrays import read_numbers
from kinestream.io.smpl_parameters import motion_from_smpl

FPS = 60.0
_NAME = re.compile(r"g(?P<genre>[A-Z]{2})_s[A-Z]{2}_c\w+_d\d+_(?P<song>m[A-Z]{2}\d)_ch\d+")
_GENRES = {
    "BR": "breaking", "PO": "popping", "LO": "locking", "MH": "hiphop", "LH": "la-hiphop", "HO": "homedance",
    "WA": "waacking", "KR": "krump", "JS": "jazz", "JB": "jazz",
}  # fmt: skip


@dataclass(frozen=True)
class Aistpp:
    """Importer of AIST++ motions converted to npz."""

    name: str = "aistpp"
    licence: str = "CC BY 4.0 (annotations); AIST dance database terms for the music"
    citation: str = "Li, Yang, Ross, Kanazawa: AI Choreographer, ICCV 2021"
    drifts: bool = False

    def find(self, root: Path) -> SourceListing[DanceRecording]:
        """All `g.._..npz` under `root`; names of another form and those on the ignore list are rejects."""
        ignored = set(_lines(root, "ignore_list.txt"))
        splits = {name: split for split in ("train", "val", "test") for name in _lines(root, f"crossmodal_{split}.txt")}
        songs = audio_named(root)
        recordings, rejects = [], []
        for path in files_under(root, "g", ".npz"):
            match = _NAME.fullmatch(path.stem)
            if match is None or match["genre"] not in _GENRES:
                rejects.append(Reject(path.stem, self.name, "its name is none of AIST++'s"))
                continue
            if path.stem in ignored:
                rejects.append(Reject(path.stem, self.name, "on the dataset's ignore list"))
                continue
            genre = genre_named(_GENRES[match["genre"]]).name
            recordings.append(
                DanceRecording(
                    f"AIST_{path.stem}",
                    self.name,
                    path,
                    genre,
                    f"aist-{match['song']}",
                    path.stem,
                    audio=songs.get(match["song"]),
                    split=splits.get(path.stem, ""),
                )
            )
        if not recordings:
            pickles = next(files_under(root, "g", ".pkl"), None)
            hint = "; pickles are never loaded, convert them to npz first (docs/data.md)" if pickles else ""
            raise BadInputError(f"{root}: found no AIST++ motion g.._s.._cAll_d.._m..._ch...npz{hint}")
        return SourceListing(tuple(recordings), tuple(rejects))

    def read(self, recording: DanceRecording) -> ReadDance:
        """The dance at 60 fps on SMPL-22 in metres."""
        arrays = read_numbers(recording.path, ("smpl_poses", "smpl_trans", "smpl_scaling"))
        poses, trans = torch.from_numpy(arrays["smpl_poses"]), torch.from_numpy(arrays["smpl_trans"])
        scaling = torch.from_numpy(arrays["smpl_scaling"]).flatten()
        poses = poses.reshape(len(poses), -1)
        if poses.shape[1] != 72 or tuple(trans.shape) != (len(poses), 3) or len(scaling) != 1 or scaling[0] <= 0:
            raise BadInputError(
                f"{recording.path}: expected smpl_poses [T, 72], smpl_trans [T, 3] and one positive smpl_scaling, got "
                f"{tuple(poses.shape)}, {tuple(trans.shape)} and {tuple(scaling.shape)}"
            )
        rotations = poses[:, :66].unflatten(1, (22, 3))
        return ReadDance(motion_from_smpl(rotations, trans / scaling, FPS, "y", recording.name))


def _lines(root: Path, name: str) -> list[str]:
    for path in files_under(root, name.removesuffix(".txt"), ".txt"):
        if path.name == name:
            try:
                return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError) as error:
                raise BadInputError(f"{path}: expected a list of names: {error}") from None
    return []
