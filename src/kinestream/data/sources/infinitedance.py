"""InfiniteDance's release (Li et al., 2026): 264-d motion features at 30 fps; it publishes no sound.

    dance/alldata_new_joint_vecs264_ft_balanced/NAME.npy   [T, 264], un-normalised (folders named ..._joint_vecs264...)
    styles/all_style_map.json                              {"NAME": "genre", ...}, optional
    partition/All_cleandata_{train,val,test}.txt           names a line, optional
    music/NAME.wav (or another audio suffix)               your own copy of a dance's sound, where you have it

Dances without sound train what needs none (the tokenizer). The layout holds positions; rotations are solved from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from kinestream.data.sources.dance_recording import DanceRecording, ReadDance, audio_named, genre_or_unknown
from kinestream.data.sources.recording import SourceListing, files_under
from kinestream.errors import BadInputError
from kinestream.features import HUMANML264, motion_from_humanml264
from kinestream.io.arrays import read_numbers

MAX_STYLES_BYTES = 64 * 2**20


@dataclass(frozen=True)
class InfiniteDance:
    """Importer of the folder InfiniteDanceData."""

    name: str = "infinitedance"
    licence: str = "InfiniteDance Non-Commercial Research License"
    citation: str = "Li et al.: InfiniteDance, 2026"
    drifts: bool = False

    def find(self, root: Path) -> SourceListing[DanceRecording]:
        """All npy files in folders named after 264-d features, with their style, split and sound where they are."""
        styles, splits, songs = _styles(root), _splits(root), audio_named(root)
        recordings = [
            DanceRecording(
                f"ID_{path.stem}",
                self.name,
                path,
                genre_or_unknown(styles.get(path.stem, "")),
                f"id-{path.stem}",
                path.stem,
                audio=songs.get(path.stem),
                split=splits.get(path.stem, ""),
            )
            for path in files_under(root, "", ".npy")
            if "joint_vecs264" in path.parent.name
        ]
        if not recordings:
            raise BadInputError(f"{root}: found no ..._joint_vecs264.../NAME.npy; expected InfiniteDanceData's folders")
        return SourceListing(tuple(recordings), ())

    def read(self, recording: DanceRecording) -> ReadDance:
        """The dance at 30 fps on SMPL-22."""
        features = torch.from_numpy(read_numbers(recording.path, ("",))[""])
        if features.ndim != 2 or len(features) < 2:
            raise BadInputError(f"{recording.path}: expected [T, {HUMANML264.width}], got {tuple(features.shape)}")
        HUMANML264.check(features, str(recording.path))
        return ReadDance(motion_from_humanml264(features, recording.name))


def _styles(root: Path) -> Mapping[str, str]:
    path = root / "styles" / "all_style_map.json"
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_STYLES_BYTES:
            raise ValueError(f"{path.stat().st_size >> 20} MiB")
        table = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): style for name, style in table.items() if isinstance(style, str)}
    except (OSError, UnicodeDecodeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected a table of names and styles: {error}") from None


def _splits(root: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = root / "partition" / f"All_cleandata_{split}.txt"
        if path.is_file():
            try:
                names = path.read_text(encoding="utf-8").split()
            except (OSError, UnicodeDecodeError) as error:
                raise BadInputError(f"{path}: expected a list of names: {error}") from None
            splits |= {name.removesuffix(".npy"): split for name in names}
    return splits
