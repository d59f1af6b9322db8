"""What every importer of dances gives: recordings with their songs and genres, and a way to read one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from kinestream.data.sources.recording import Source, files_under
from kinestream.errors import BadInputError
from kinestream.motion import Motion

AUDIO_SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".opus")


@dataclass(frozen=True)
class DanceRecording:
    """One recorded dance: a file-safe unique `name`, its motion file, its genre and its song.

    `song` names the song (equal names: the same song; "" for none known), `audio` is its file if there is one, and
    `music_start_s` where in it the dance begins. `split` is the dataset's own, "" where it has none.
    """

    name: str
    source: str
    path: Path
    genre: str
    song: str
    recording_id: str
    audio: Path | None = None
    music_start_s: float = 0.0
    split: str = ""


@dataclass(frozen=True, eq=False)
class ReadDance:
    """A dance as recorded: the motion at its own rate, and facts of its import for the manifest (residuals, ...)."""

    motion: Motion
    facts: Mapping[str, Any] = field(default_factory=dict)


class DanceSource(Source[DanceRecording, ReadDance], Protocol):
    """An importer of one dance dataset."""

    @property
    def drifts(self) -> bool:
        """Whether the motion's clock must be fitted to the music's."""


@dataclass(frozen=True)
class Genre:
    """A genre of the taxonomy: its name, its class, and whether it stands in the paper's Table 6."""

    name: str
    group: str
    in_paper: bool


@lru_cache(maxsize=1)
def genres() -> tuple[Genre, ...]:
    """The taxonomy of InfiniteDance's Table 6 in its order, then genres of our own data that it lacks."""
    table = json.loads(files("kinestream.data.dance").joinpath("genres.json").read_text(encoding="utf-8"))
    paper = [Genre(name, group, True) for group, names in table["classes"].items() for name in names]
    return (*paper, *(Genre(name, group, False) for group, names in table["added"].items() for name in names))


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    table = json.loads(files("kinestream.data.dance").joinpath("genres.json").read_text(encoding="utf-8"))
    known = {_key(genre.name): genre.name for genre in genres()}
    return known | {_key(alias): name for alias, name in table["aliases"].items()}


def genre_named(label: str) -> Genre:
    """The genre of that name or alias, however it is written; BadInputError lists the known ones."""
    name = _aliases().get(_key(label))
    for genre in genres():
        if genre.name == name:
            return genre
    raise BadInputError(f"unknown genre {label!r}; known: {', '.join(genre.name for genre in genres())}")


def genre_or_unknown(*labels: str) -> str:
    """The name of the first label that the taxonomy knows, else "unknown"."""
    for label in labels:
        try:
            return genre_named(label).name
        except BadInputError:
            continue
    return "unknown"


def audio_named(root: Path) -> dict[str, Path]:
    """Audio files under a folder by their names without suffix; of several formats the first in the alphabet."""
    found: dict[str, Path] = {}
    for suffix in sorted(AUDIO_SUFFIXES, reverse=True):
        found |= {path.stem: path for path in files_under(root, "", suffix)}
    return found


def _key(label: str) -> str:
    return "".join(letter for letter in label.lower() if letter.isalnum())
