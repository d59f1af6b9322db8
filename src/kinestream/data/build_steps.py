"""What every build of a data set does: finding recordings, splits, statistics, leftovers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinestream.data.layout import MOTION_FOLDER, SPLIT_FOLDER, STATISTICS_FOLDERS, TEXT_FOLDER, read_features
from kinestream.data.manifest import Clip
from kinestream.data.sources.archive import dataset_folder
from kinestream.data.sources.recording import Reject, Source, SourceListing
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.io.atomic import atomic_path

CACHE_FOLDER = ".sources"
SET_FOLDERS = (MOTION_FOLDER, TEXT_FOLDER, SPLIT_FOLDER, STATISTICS_FOLDERS[0])


class Named(Protocol):
    """A recording of any kind."""

    @property
    def name(self) -> str:
        """What it is called in the data set."""


Found = TypeVar("Found", bound=Named)


def make_folders(root: Path, folders: Sequence[str]) -> None:
    """Make the folders of a set; BadInputError where that cannot be."""
    try:
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"cannot make the output folder {root}: {error}") from None


def find_all(
    sources: Mapping[str, Source[Found, Any]],
    inputs: Mapping[str, str | Path],
    root: Path,
    what: str,
    *,
    progress: bool,
) -> tuple[list[Found], list[Reject], dict[str, str]]:
    """Recordings, rejects and the given names of {source name: folder or archive}; BadInputError for a name twice."""
    recordings: list[Found] = []
    rejects: list[Reject] = []
    for name, path in inputs.items():
        listing: SourceListing[Found] = sources[name].find(
            dataset_folder(Path(path), root / CACHE_FOLDER, progress=progress)
        )
        recordings += listing.recordings
        rejects += listing.rejects
    names = [recording.name for recording in recordings]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:3]
        raise BadInputError(f"the sources hold {what} twice: {', '.join(twice)}; give each folder once")
    return recordings, rejects, {name: Path(path).name for name, path in inputs.items()}


def check_trainable(root: Path, clips: Sequence[Clip], rejects: Sequence[Reject], what: str) -> None:
    """BadInputError with the first reason where no clip is in the train split."""
    if not any(clip.split == "train" for clip in clips):
        first = f"{rejects[0].name}: {rejects[0].reason}" if rejects else "none"
        raise BadInputError(f"{root}: nothing to train on; {len(rejects)} {what} were rejected; the first: {first}")


def write_splits(root: Path, clips: Sequence[Clip]) -> None:
    """Write split/{train,val,test}.txt."""
    for split in ("train", "val", "test"):
        with atomic_path(root / SPLIT_FOLDER / f"{split}.txt") as path:
            path.write_text("".join(f"{clip.name}\n" for clip in clips if clip.split == split), encoding="utf-8")


def write_statistics(root: Path, clips: Sequence[Clip]) -> None:
    """Write mean_std/Mean.npy and Std.npy of the train split's files."""
    names = [clip.name for clip in clips if clip.split == "train"]
    mean, std = grouped_statistics(read_features(root / MOTION_FOLDER / f"{name}.npy", mmap=True) for name in names)
    for name, values in (("Mean", mean), ("Std", std)):
        with atomic_path(root / STATISTICS_FOLDERS[0] / f"{name}.npy") as path:
            np.save(path, values.astype(np.float32))


def grouped_statistics(arrays: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean per column, and the standard deviation averaged over each part of the layout, as published.

    A shared deviation keeps columns that hardly vary (the root's own x and z are always 0) from being blown up.
    """
    count, total, squares = 0, np.zeros(MOTION272.width), np.zeros(MOTION272.width)
    for array in arrays:
        values = array.astype(np.float64)
        count += len(values)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    if count == 0:
        raise BadInputError("expected at least one clip to take statistics from")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    std = np.empty_like(deviation)
    for part in MOTION272.slices.values():
        std[part] = max(float(deviation[part].mean()), 1e-4)
    return mean, std


def remove_leftovers(root: Path, folders: Sequence[str], kept: Set[str], prefixes: tuple[str, ...]) -> None:
    """Remove what an earlier build left in `folders` and this one does not have; only names that a build writes."""
    for folder in folders:
        for path in (root / folder).glob("*"):
            if path.stem not in kept and path.stem.removeprefix("M_").startswith(prefixes):
                path.unlink()


def source_entry(
    source: Source[Any, Any], given: str, clips: Sequence[Clip], rejects: Sequence[Reject]
) -> dict[str, Any]:
    """What a manifest says of one source; `given` is the name of the folder or archive."""
    own = [clip for clip in clips if clip.source == source.name and not clip.mirrored and not clip.made]
    return {
        "given": given,
        "licence": source.licence,
        "citation": source.citation,
        "recordings": len(own),
        "hours": round(sum(clip.frames for clip in own) / MOTION272.fps / 3600.0, 3),
        "rejects": sum(reject.source == source.name for reject in rejects),
    }
