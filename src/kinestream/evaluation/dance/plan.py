"""What the dance protocol measures: recorded dances with the music that they were danced to, whole and in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kinestream.conditioning.music import MUSIC_WIDTH, Beats, MusicFeatures
from kinestream.data.dance.windows import MUSIC_FOLDER
from kinestream.data.layout import MOTION_FOLDER, read_split
from kinestream.data.manifest import MANIFEST_NAME, Clip, load_manifest
from kinestream.data.sources.humanml3d_272 import feature_count
from kinestream.data.sources.recording import Reject
from kinestream.errors import BadInputError
from kinestream.evaluation.items import Item, chosen_items, mirrored_names, require_folder
from kinestream.features import MOTION272
from kinestream.io.arrays import read_arrays

# Eight seconds: some twelve beats of a song.
WINDOW_FRAMES = 240
WINDOW_S = WINDOW_FRAMES / MOTION272.fps
# Two songs for each half of the recordings.
MIN_SONGS = 4
# Music and motion may differ by rounding.
_SLACK_FRAMES = 3


@dataclass(frozen=True)
class DanceItem(Item):
    """A recorded dance and its music; `prompt` is its genre ("" where unknown), `song` is shared by dances to it."""

    song: str = ""
    music_path: Path = Path()

    @property
    def files(self) -> tuple[Path, ...]:
        """Motion and music."""
        return (self.path, self.music_path)

    def music(self) -> MusicFeatures:
        """Features [T, 44] at 30 Hz, a row a frame of the dance, and the beats among them."""
        arrays = read_arrays(self.music_path, ("features", "beats_s", "downbeats_s", "tempo_bpm"))
        values = torch.from_numpy(np.asarray(arrays["features"], np.float32))[: self.frames]
        times, downbeats = (np.asarray(arrays[name], np.float64) for name in ("beats_s", "downbeats_s"))
        return MusicFeatures(values, Beats(times, downbeats, float(np.asarray(arrays["tempo_bpm"]))))


@dataclass(frozen=True)
class DancePlan:
    """Dances with music; `all_items` has those without as well, for what needs no music; what could not be used."""

    items: tuple[DanceItem, ...]
    all_items: tuple[Item, ...]
    rejects: tuple[Reject, ...]


@dataclass(frozen=True)
class Window:
    """Frames `start` to `start + WINDOW_FRAMES` of the dance at place `item` of the items."""

    item: int
    start: int
    name: str
    song: str

    @property
    def stop(self) -> int:
        """The frame after its last."""
        return self.start + WINDOW_FRAMES


def dance_plan(root: Path, split: str, count: int | None) -> DancePlan:
    """Each dance of a split, mirrored copies left out, with its music.

    BadInputError where the split or its music is missing, or it has fewer than `MIN_SONGS` songs.
    """
    require_folder(root)
    mirrored, clips = mirrored_names(root), _clips(root)
    found, silent, rejects = list[DanceItem](), list[Item](), list[Reject]()
    for name in dict.fromkeys(read_split(root, split)):
        if name in mirrored:
            continue
        clip, path, music = clips.get(name), root / MOTION_FOLDER / f"{name}.npy", root / MUSIC_FOLDER / f"{name}.npz"
        genre, song = (clip.content, clip.song) if clip is not None else ("", "")
        try:
            frames = feature_count(path)
            if not music.is_file():
                silent.append(Item(name, genre, path, 0, frames))
                continue
            found.append(DanceItem(name, genre, path, 0, _common(frames, music), song=song or name, music_path=music))
        except BadInputError as error:
            rejects.append(Reject(name, root.name, str(error)))
    items = chosen_items(found, count, root, split, rejects)
    if len({item.song for item in items}) < MIN_SONGS:
        raise BadInputError(
            f"{root}: the dance protocol needs dances with music to at least {MIN_SONGS} songs, two for each half of "
            f"them, got {len({item.song for item in items})} in the split {split!r}"
        )
    return DancePlan(items, (*items, *(silent if count is None else ())), tuple(rejects))


def windows_of(items: Sequence[DanceItem]) -> list[Window]:
    """All windows of the dances, one after the other; what remains at a dance's end is left out."""
    return [
        Window(place, start, f"{item.name} {start / MOTION272.fps:.0f} s", item.song)
        for place, item in enumerate(items)
        for start in range(0, item.frames - WINDOW_FRAMES + 1, WINDOW_FRAMES)
    ]


def window_item(item: DanceItem, window: Window) -> Item:
    """The window as a recording of its own."""
    return Item(window.name, item.prompt, item.path, window.start, window.stop)


def _clips(root: Path) -> dict[str, Clip]:
    if not (root / MANIFEST_NAME).is_file():
        return {}
    return {clip.name: clip for clip in load_manifest(root).clips}


def _common(frames: int, music: Path) -> int:
    """Frames that motion and music have in common."""
    arrays = read_arrays(music, ("features", "beats_s", "downbeats_s", "tempo_bpm"))
    rows = arrays["features"]
    if rows.ndim != 2 or rows.shape[1] != MUSIC_WIDTH or not np.isfinite(rows).all():
        raise BadInputError(f"{music.name}: expected finite music features [T, {MUSIC_WIDTH}], got {rows.shape}")
    if abs(frames - len(rows)) > _SLACK_FRAMES:
        raise BadInputError(f"{frames} frames of motion but {len(rows)} of music")
    common = min(frames, len(rows))
    if common < WINDOW_FRAMES:
        raise BadInputError(f"{common} frames are fewer than a window of {WINDOW_FRAMES}")
    return common
