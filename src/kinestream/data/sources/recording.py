"""What every importer gives: recordings with labels, rejects with reasons, and a way to read one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from kinestream.data.layout import TextLine
from kinestream.motion import Motion


@dataclass(frozen=True)
class Segment:
    """A part of a recording with labels of its own: canonical content and style, start and end in seconds."""

    content: str
    style: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Recording:
    """One recorded clip: a file-safe unique `name`, its file, and its labels.

    `content` and `style` are the grammar's canonical labels, `source_content` and `source_style` the dataset's own.
    `only_train` keeps few-shot recordings out of validation and test. `segments` replaces the labels where parts of the
    recording show different things; empty means the labels hold for all of it. `captions` are the recording's own
    sentences, taken as they are in place of those that the grammar makes of the labels, which then may be any words.
    `written` are sentences besides the grammar's, and all there are for a content that it does not know. `fps` is the
    rate where the file says none.
    """

    name: str
    source: str
    path: Path
    content: str
    style: str
    source_content: str
    source_style: str
    recording_id: str
    only_train: bool = False
    segments: tuple[Segment, ...] = ()
    captions: tuple[TextLine, ...] = ()
    written: tuple[TextLine, ...] = ()
    fps: float | None = None


@dataclass(frozen=True)
class Reject:
    """Something that is not used, and why."""

    name: str
    source: str
    reason: str


Found = TypeVar("Found", covariant=True)
Given = TypeVar("Given")
Read = TypeVar("Read", covariant=True)


@dataclass(frozen=True)
class SourceListing(Generic[Found]):
    """All recordings that a source found in a folder."""

    recordings: tuple[Found, ...]
    rejects: tuple[Reject, ...]


class Source(Protocol[Given, Read]):
    """An importer of one dataset: recordings of the kind `Given`, each read as a `Read`."""

    @property
    def name(self) -> str:
        """The dataset's name on the command line and in manifests."""

    @property
    def licence(self) -> str:
        """The licence of the recordings, as a short name."""

    @property
    def citation(self) -> str:
        """Who made the recordings."""

    def find(self, root: Path) -> SourceListing[Given]:
        """List the recordings under a folder; BadInputError when there are none."""

    def read(self, recording: Given) -> Read:
        """The recording at its own rate; BadInputError when it cannot be used."""


class TextSource(Source[Recording, Motion], Protocol):
    """An importer of recordings with labels, read as motions on the source's own skeleton (or SMPL-22)."""

    @property
    def bone_map(self) -> Mapping[str, str] | None:
        """Bone names by hand for the retargeting to SMPL-22; None where they are recognised."""


def files_under(root: Path, prefix: str, suffix: str) -> Iterator[Path]:
    """Files below a folder by the start and end of their names, sorted; follows links to folders, each folder once."""
    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(folder) / name for name in names if name.startswith(prefix) and name.endswith(suffix)]
    yield from sorted(found)
