"""The manifest: what a data set was built from, with which licences, labels, splits and rejects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.io.atomic import atomic_path

MANIFEST_NAME = "manifest.json"
FORMAT = "kinestream-data"
FORMAT_VERSION = 1
# Between the two contents of a mix: "walk+wave-left-hand".
MIX_MARK = "+"


@dataclass(frozen=True)
class Clip:
    """One motion file: its labels (canonical and the dataset's), recording, split, length and source.

    Dances have their genre as `content` and its class as `style`, the `song` they were danced to ("" for none known),
    whether music/NAME.npz is there, and facts of the import (residuals, alignment) in `details`.
    """

    name: str
    source: str
    content: str
    style: str
    source_content: str
    source_style: str
    recording: str
    recording_id: str
    split: str
    frames: int
    captions: int
    mirrored: bool
    sha256: str
    song: str = ""
    music: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def made(self) -> bool:
        """Whether this is no recording: mixed of two, or one at another tempo (`details` say of what)."""
        return "base" in self.details or "tempo" in self.details


@dataclass(frozen=True)
class Pair:
    """A contextual pair: `frames_before` frames of history, then the rest; `kind` is "cut" or "joined" (synthetic).

    `before` and `after` name the clips; `inputs` is a digest of what it was made from.
    """

    name: str
    kind: str
    split: str
    before: str
    after: str
    frames_before: int
    frames: int
    inputs: str = ""

    @property
    def synthetic(self) -> bool:
        """Whether the transition was made by a blend instead of recorded."""
        return self.kind == "joined"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pair:
        """From `to_dict`'s values, also with `synthetic`; TypeError when they are others."""
        return cls(**{key: value for key, value in values.items() if key != "synthetic"})


@dataclass(frozen=True)
class Manifest:
    """Everything about a built data set; `sources` maps a source's name to licence, citation and counts."""

    sources: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, Any]
    clips: tuple[Clip, ...]
    pairs: tuple[Pair, ...] = ()
    rejects: tuple[Mapping[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def split_clips(self, split: str, *, mirrored: bool | None = None) -> list[Clip]:
        """Clips of a split, all or only the (un)mirrored ones."""
        return [c for c in self.clips if c.split == split and (mirrored is None or c.mirrored == mirrored)]

    def clip(self, name: str) -> Clip:
        """The clip of that name; BadInputError when there is none."""
        for clip in self.clips:
            if clip.name == name:
                return clip
        raise BadInputError(f"the manifest has no clip {name!r}")

    def summary(self) -> dict[str, Any]:
        """Counts and hours by split, source and label, recomputed from the clips."""
        originals = [clip for clip in self.clips if not clip.mirrored and not clip.made]
        return {
            "clips": len(self.clips),
            "recordings": len(originals),
            "hours": _hours(originals),
            "hours_with_mirrored": _hours(self.clips),
            "captions": sum(clip.captions for clip in self.clips),
            "splits": {
                split: {"recordings": len(own), "clips": len(self.split_clips(split)), "hours": _hours(own)}
                for split in ("train", "val", "test")
                for own in [[clip for clip in originals if clip.split == split]]
            },
            "contents": _counts(clip.content for clip in originals),
            "styles": _counts(clip.style for clip in originals),
            "pairs": {
                split: _counts(pair.kind for pair in self.pairs if pair.split == split) for split in ("train", "val")
            },
            "made": _counts("mixed" if "base" in clip.details else "tempo" for clip in self.clips if clip.made),
            "rejects": len(self.rejects),
        }

    def save(self, root: Path) -> Path:
        """Write ROOT/manifest.json whole or not at all."""
        document = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "features": MOTION272.name,
            "fps": MOTION272.fps,
            "summary": self.summary(),
            "sources": self.sources,
            "parameters": self.parameters,
            "notes": list(self.notes),
            "rejects": list(self.rejects),
            "clips": [asdict(clip) for clip in self.clips],
            "pairs": [pair.to_dict() | {"synthetic": pair.synthetic} for pair in self.pairs],
        }
        with atomic_path(root / MANIFEST_NAME) as path:
            path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        return root / MANIFEST_NAME


def load_manifest(root: str | Path) -> Manifest:
    """Read ROOT/manifest.json; BadInputError when it is missing or not one of ours."""
    path = Path(root) / MANIFEST_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or document["version"] != FORMAT_VERSION:
            raise BadInputError(f"{path}: expected {FORMAT} version {FORMAT_VERSION}")
        return Manifest(
            sources=dict(document["sources"]),
            parameters=dict(document["parameters"]),
            clips=tuple(Clip(**clip) for clip in document["clips"]),
            pairs=tuple(Pair.from_dict(pair) for pair in document["pairs"]),
            rejects=tuple(dict(reject) for reject in document["rejects"]),
            notes=tuple(str(note) for note in document["notes"]),
        )
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected a manifest that `kinestream data build` wrote: {error}") from None


def _hours(clips: Iterable[Clip]) -> float:
    return round(sum(clip.frames for clip in clips) / MOTION272.fps / 3600.0, 3)


def _counts(labels: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(labels).items()))
