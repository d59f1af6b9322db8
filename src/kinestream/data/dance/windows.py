"""Dances with their music as training and retrieval read them: clips of one split, and windows of them.

A data set in the usual layout is one of dances where it also has `music/NAME.npz` with `features` [T, M], one vector a
frame of `motion_data/NAME.npy`. Motion files are memory-mapped; music is small and stays in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import MOTION_FOLDER, read_features, read_split, statistics_folder
from kinestream.data.manifest import MANIFEST_NAME, load_manifest
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics

MUSIC_FOLDER = "music"
# Music and motion of a pair may differ by rounding; more than this is another song or another rate.
_SLACK_FRAMES = 3


@dataclass(frozen=True)
class DanceWindow:
    """Frames `start` to `start + frames` of a clip, and what the clip was made from.

    `recording` is the same for all clips of one recording, mirrored ones included; `genre` is empty where unknown.
    """

    clip: str
    recording: str
    genre: str
    start: int
    frames: int


@dataclass(frozen=True, eq=False)
class DanceClip:
    """One dance and its music, [T, M], un-normalised; `frames` is what both have.

    `beats_s` are the beats' times where they are known; `motion` [T, 272] is the dance where it isn't as in `path`.
    """

    name: str
    recording: str
    genre: str
    path: Path
    music: Float[Tensor, "t m"]
    frames: int
    beats_s: Float[Tensor, "n"] | None = None
    motion: Float[Tensor, "t 272"] | None = None


@dataclass(frozen=True)
class DanceClips:
    """Dances with music of one split, the data set's statistics of motion, and what could not be used."""

    clips: list[DanceClip]
    statistics: Statistics
    rejects: list[Reject]

    @classmethod
    def load(cls, roots: Sequence[str | Path], split: str, *, min_frames: int = 1) -> DanceClips:
        """Read folders; the first folder's statistics hold for all. Shorter clips are left out and listed.

        Raises BadInputError where a split can't be read or holds no dance with music, or music of different widths.
        """
        clips: list[DanceClip] = []
        rejects: list[Reject] = []
        for root in map(Path, roots):
            labels = _labels(root)
            for name in read_split(root, split):
                recording, genre = labels.get(name, (name, ""))
                found = _read_clip(root, name, f"{root.resolve().name}/{recording}", genre, min_frames)
                if isinstance(found, DanceClip):
                    clips.append(found)
                else:
                    rejects.append(found)
        if not clips:
            why = f" ({rejects[0].name}: {rejects[0].reason})" if rejects else ""
            raise BadInputError(
                f"{', '.join(map(str, roots))}: the split {split!r} has no dance with music of at least {min_frames} "
                f"frames{why}; expected {MOTION_FOLDER}/NAME.npy beside {MUSIC_FOLDER}/NAME.npz"
            )
        widths = {clip.music.shape[1] for clip in clips}
        if len(widths) > 1:
            raise BadInputError(
                f"{', '.join(map(str, roots))}: the music features have different widths, {sorted(widths)}; "
                "build the data sets with the same music features"
            )
        return cls(clips, Statistics.load(statistics_folder(Path(roots[0]))), rejects)

    @property
    def music_width(self) -> int:
        """Values per frame of music."""
        return int(self.clips[0].music.shape[1])

    def music_statistics(self) -> Statistics:
        """Mean and deviation of each music feature over all frames."""
        frames = torch.cat([clip.music[: clip.frames] for clip in self.clips]).double()
        return Statistics(frames.mean(0).float(), frames.std(0).clamp_min(1e-3).float())

    def dance(self, index: int, start: int, stop: int) -> Float[Tensor, "t 272"]:
        """Motion features of a clip's frames, un-normalised; only these frames are read, from memory or the file."""
        clip = self.clips[index]
        if clip.motion is not None:
            return clip.motion[start:stop]
        frames = np.load(clip.path, mmap_mode="r", allow_pickle=False)[start:stop]
        return torch.from_numpy(np.array(frames, dtype=np.float32))

    def music(self, index: int, start: int, stop: int) -> Float[Tensor, "t m"]:
        """Music features of a clip's frames, un-normalised."""
        return self.clips[index].music[start:stop]

    def windows(self, frames: int, hop: int) -> list[tuple[int, DanceWindow]]:
        """All windows of `frames` frames, `hop` apart, each with its clip's place in `clips`."""
        if frames < 1 or hop < 1:
            raise BadInputError(f"windows need at least one frame and a hop of at least one, got {frames} and {hop}")
        return [
            (index, DanceWindow(clip.name, clip.recording, clip.genre, start, frames))
            for index, clip in enumerate(self.clips)
            for start in range(0, clip.frames - frames + 1, hop)
        ]


def read_music(path: Path) -> Float[Tensor, "t m"]:
    """The `features` [T, M] of a music file, fp32; BadInputError where they are missing, damaged or not finite."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            features = np.asarray(archive["features"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: expected an .npz with music `features` [T, M]: {str(error)[:200]}") from None
    if features.ndim != 2 or features.dtype.kind != "f" or not np.isfinite(features).all():
        raise BadInputError(f"{path}: expected finite values [T, M], got {features.dtype} {features.shape}")
    return torch.from_numpy(features.astype(np.float32))


def _beats(path: Path) -> Float[Tensor, "n"] | None:
    """The `beats_s` of a music file that was read already; None where it has none that can be used."""
    with np.load(path, allow_pickle=False) as archive:
        beats = np.asarray(archive["beats_s"]) if "beats_s" in archive.files else np.zeros(0)
    known = beats.ndim == 1 and beats.dtype.kind == "f" and len(beats) > 0 and bool(np.isfinite(beats).all())
    return torch.from_numpy(beats.astype(np.float64)) if known else None


def _labels(root: Path) -> dict[str, tuple[str, str]]:
    """Recording and genre of each clip; without a manifest every clip is a recording of its own."""
    if not (root / MANIFEST_NAME).is_file():
        return {}
    return {clip.name: (clip.recording, clip.content) for clip in load_manifest(root).clips}


def _read_clip(root: Path, name: str, recording: str, genre: str, min_frames: int) -> DanceClip | Reject:
    music_path = root / MUSIC_FOLDER / f"{name}.npz"
    if not music_path.is_file():
        return Reject(name, root.name, "it has no music")
    path = root / MOTION_FOLDER / f"{name}.npy"
    try:
        motion, music = read_features(path, mmap=True), read_music(music_path)
    except BadInputError as error:
        return Reject(name, root.name, str(error))
    if abs(len(motion) - len(music)) > _SLACK_FRAMES:
        return Reject(name, root.name, f"{len(motion)} frames of motion but {len(music)} of music")
    frames = min(len(motion), len(music))
    if frames < min_frames:
        return Reject(name, root.name, f"{frames / MOTION272.fps:.1f} s are too short")
    return DanceClip(name, recording, genre, path, music, frames, _beats(music_path))
