"""One recording of a build: features and captions, as it is and mirrored, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from kinestream.data.layout import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    TextLine,
    has_features,
    safe_name,
    write_features,
    write_text_lines,
)
from kinestream.data.prepare import checked_features, smpl22_motion
from kinestream.data.sources import Recording, Segment, TextSource
from kinestream.data.sources.archive import file_sha256
from kinestream.data.text.captions import sample_captions, swap_sides
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.motion import Motion, mirror

# Raised whenever the same recording would be built differently; older journals are then passed over.
ITEM_FORMAT = 1
# Raised whenever the same labels would be put into other words; texts are then written anew.
_TEXT_FORMAT = 2


@dataclass(frozen=True)
class BuiltItem:
    """One written clip; `content` has its sides swapped when it is a mirrored copy."""

    name: str
    content: str
    frames: int
    captions: int
    mirrored: bool


@dataclass(frozen=True)
class BuiltRecording:
    """What became of a recording: its clips, or the reason why it is rejected (else "")."""

    name: str
    sha256: str
    labels: str
    items: tuple[BuiltItem, ...] = ()
    reject: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BuiltRecording:
        """From `to_dict`'s values; KeyError or TypeError when they are others."""
        return cls(**{**values, "items": tuple(BuiltItem(**item) for item in values["items"])})


def build_recordings(
    recordings: Sequence[Recording],
    known: Mapping[str, BuiltRecording | None],
    root: Path,
    captions: int,
    mirrored: bool,
    sources: Mapping[str, TextSource],
) -> list[BuiltRecording]:
    """Build some recordings into `root`; those that `known` has with the same bytes and labels are left as they are."""
    return [
        _build_recording(recording, known.get(recording.name), root, captions, mirrored, sources[recording.source])
        for recording in recordings
    ]


def _build_recording(
    recording: Recording, known: BuiltRecording | None, root: Path, captions: int, mirrored: bool, source: TextSource
) -> BuiltRecording:
    digest, labels = _source_digest(recording), _label_digest(recording)
    if known is not None and known.sha256 == digest and _is_complete(known, root):
        return known if known.labels == labels else _relabelled(recording, known, labels, root, captions)
    try:
        safe_name(recording.name)
        motion = smpl22_motion(source.read(recording), source.bone_map)
        versions = [(motion, False)] + ([(mirror(motion), True)] if mirrored else [])
        items = tuple(_write_item(recording, version, flag, root, captions) for version, flag in versions)
    except BadInputError as error:
        # Manifests travel: they name the file, not where it lay.
        reason = str(error).replace(str(recording.path), recording.path.name)
        return BuiltRecording(recording.name, digest, labels, reject=reason)
    return BuiltRecording(recording.name, digest, labels, items)


def _relabelled(recording: Recording, known: BuiltRecording, labels: str, root: Path, captions: int) -> BuiltRecording:
    """The same motions under other labels or captions: only the texts are written again."""
    items = tuple(
        _write_texts(recording, item.name, item.frames, item.mirrored, root, captions) for item in known.items
    )
    return replace(known, labels=labels, items=items)


def _source_digest(recording: Recording) -> str:
    try:
        return file_sha256(recording.path)
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _grammar_digest() -> str:
    return hashlib.sha256(files("kinestream.data.text").joinpath("captions.json").read_bytes()).hexdigest()


def _label_digest(recording: Recording) -> str:
    segments = [asdict(segment) for segment in recording.segments]
    own = [asdict(line) for line in recording.captions]
    labels = [recording.content, recording.style, segments, own, _grammar_digest(), _TEXT_FORMAT]
    return hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]


def _is_complete(known: BuiltRecording, root: Path) -> bool:
    return all(
        has_features(root / MOTION_FOLDER / f"{item.name}.npy", item.frames)
        and (root / TEXT_FOLDER / f"{item.name}.txt").is_file()
        for item in known.items
    )


def _write_item(recording: Recording, motion: Motion, mirrored: bool, root: Path, captions: int) -> BuiltItem:
    name = f"M_{recording.name}" if mirrored else recording.name
    features = checked_features(motion)
    write_features(root / MOTION_FOLDER / f"{name}.npy", features)
    return _write_texts(recording, name, features.shape[0], mirrored, root, captions)


def _write_texts(recording: Recording, name: str, frames: int, mirrored: bool, root: Path, captions: int) -> BuiltItem:
    lines = _text_lines(recording, frames / MOTION272.fps, captions, name, mirrored)
    write_text_lines(root / TEXT_FOLDER / f"{name}.txt", lines)
    content = swap_sides(recording.content) if mirrored else recording.content
    return BuiltItem(name, content, frames, len(lines), mirrored)


def _text_lines(recording: Recording, duration_s: float, count: int, name: str, mirrored: bool) -> list[TextLine]:
    if recording.captions:
        return [_own_line(line, duration_s, mirrored) for line in recording.captions]
    segments = recording.segments or (Segment(recording.content, recording.style, 0.0, 0.0),)
    lines = []
    for part in segments:
        captions = sample_captions(part.content, part.style, count, f"{name} {part.start_s}", mirrored=mirrored)
        lines += [TextLine(caption, part.start_s, min(part.end_s, duration_s)) for caption in captions]
    return lines


def _own_line(line: TextLine, duration_s: float, mirrored: bool) -> TextLine:
    """A sentence of the recording's own, its sides exchanged for a mirrored copy, its range within the recording."""
    if line.start_s >= duration_s:
        raise BadInputError(f"a caption starts at {line.start_s:g} s, and the recording lasts {duration_s:.2f} s")
    caption = swap_sides(line.caption) if mirrored else line.caption
    return TextLine(caption, line.start_s, min(line.end_s, duration_s))
