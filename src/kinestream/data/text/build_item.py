"""One recording of a build: features and captions, as it is and mirrored, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.data.layout import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    TextLine,
    has_features,
    read_features,
    safe_name,
    write_features,
    write_text_lines,
)
from kinestream.data.prepare import MIN_FRAMES, checked_features, smpl22_motion
from kinestream.data.sources import Recording, Segment, TextSource
from kinestream.data.sources.archive import file_sha256
from kinestream.data.text.captions import contents, sample_captions, swap_sides
from kinestream.data.text.measured import measured
from kinestream.data.text.wording import Said, wording
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.motion import Motion, mirror, resample

# Raised whenever the same recording would be built differently; older journals are then passed over.
ITEM_FORMAT = 2
# Raised whenever the same labels would be put into other words; texts are then written anew.
_TEXT_FORMAT = 3
# Longer recordings are cut into windows by the recipes (300 frames).
MAX_WHOLE_S = 10.0
_SEVERAL = re.compile(r",|;|\b(and|then|after|before|while)\b", re.IGNORECASE)


@dataclass(frozen=True)
class BuiltItem:
    """One written clip; `content` has its sides swapped when it is a mirrored copy; `tempo` is how much faster it was
    made than it was recorded."""

    name: str
    content: str
    frames: int
    captions: int
    mirrored: bool
    tempo: float = 1.0


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
    tempo_percent: int,
    sources: Mapping[str, TextSource],
) -> list[BuiltRecording]:
    """Build some recordings into `root`; those that `known` has with the same bytes and labels are left as they are."""
    return [
        _build_recording(
            recording, known.get(recording.name), root, captions, mirrored, tempo_percent, sources[recording.source]
        )
        for recording in recordings
    ]


def _build_recording(
    recording: Recording,
    known: BuiltRecording | None,
    root: Path,
    captions: int,
    mirrored: bool,
    tempo_percent: int,
    source: TextSource,
) -> BuiltRecording:
    digest, labels = _source_digest(recording), _label_digest(recording)
    if known is not None and known.sha256 == digest and _is_complete(known, root):
        return known if known.labels == labels else _relabelled(recording, known, labels, root, captions)
    try:
        safe_name(recording.name)
        motion = smpl22_motion(source.read(recording), source.bone_map)
        versions = [(motion, False, 1.0), *([(mirror(motion), True, 1.0)] if mirrored else [])]
        versions += _other_tempo(recording, versions, tempo_percent)
        items = tuple(_write_item(recording, *version, root, captions) for version in versions)
    except BadInputError as error:
        # Manifests travel: they name the file, not where it lay.
        reason = str(error).replace(str(recording.path), recording.path.name)
        return BuiltRecording(recording.name, digest, labels, reject=reason)
    return BuiltRecording(recording.name, digest, labels, items)


def _other_tempo(
    recording: Recording, versions: Sequence[tuple[Motion, bool, float]], percent: int
) -> list[tuple[Motion, bool, float]]:
    """For so many of a hundred recordings one copy, of the recording or of its mirror image, at 0.8 to 0.92 or 1.1 to
    1.25 times its tempo; the name decides. Nothing that flies, rolls or falls: gravity keeps its own time."""
    rng = random.Random(f"tempo {recording.name}")
    contents_here = {recording.content, *(part.content for part in recording.segments)}
    unsuited = contents_here & set(wording()["airborne"]) or not contents_here <= set(contents())
    if rng.random() * 100.0 >= percent or unsuited or recording.segments or recording.captions:
        return []
    motion, mirrored, _ = rng.choice(versions)
    tempo = round(rng.choice((rng.uniform(0.8, 0.92), rng.uniform(1.1, 1.25))), 2)
    # Kept at 30 fps: sampled at as many frames a second of the recording as make the tempo.
    return [(replace(resample(motion, MOTION272.fps / tempo), fps=MOTION272.fps), mirrored, tempo)]


def _relabelled(recording: Recording, known: BuiltRecording, labels: str, root: Path, captions: int) -> BuiltRecording:
    """The same motions under other labels or captions: only the texts are written again."""
    items = tuple(
        _write_texts(recording, item.name, _features(root, item.name), item.mirrored, item.tempo, root, captions)
        for item in known.items
    )
    return replace(known, labels=labels, items=items)


def _source_digest(recording: Recording) -> str:
    try:
        return file_sha256(recording.path)
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _grammar_digest() -> str:
    texts = [files("kinestream.data.text").joinpath(f"{name}.json") for name in ("captions", "wording", "pace")]
    return hashlib.sha256(b"".join(text.read_bytes() for text in texts)).hexdigest()


def _label_digest(recording: Recording) -> str:
    segments = [asdict(segment) for segment in recording.segments]
    own = [[asdict(line) for line in lines] for lines in (recording.captions, recording.written)]
    labels = [recording.content, recording.style, segments, own, recording.fps, _grammar_digest(), _TEXT_FORMAT]
    return hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]


def _is_complete(known: BuiltRecording, root: Path) -> bool:
    return all(
        has_features(root / MOTION_FOLDER / f"{item.name}.npy", item.frames)
        and (root / TEXT_FOLDER / f"{item.name}.txt").is_file()
        for item in known.items
    )


def _features(root: Path, name: str) -> Float[Tensor, "t 272"]:
    return torch.from_numpy(np.array(read_features(root / MOTION_FOLDER / f"{name}.npy")))


def _write_item(
    recording: Recording, motion: Motion, mirrored: bool, tempo: float, root: Path, captions: int
) -> BuiltItem:
    name = f"M_{recording.name}" if mirrored else recording.name
    name = name if tempo == 1.0 else f"{name}_x{round(tempo * 100):03d}"
    features = checked_features(motion)
    write_features(root / MOTION_FOLDER / f"{name}.npy", features)
    return _write_texts(recording, name, features, mirrored, tempo, root, captions)


def _write_texts(
    recording: Recording,
    name: str,
    features: Float[Tensor, "t 272"],
    mirrored: bool,
    tempo: float,
    root: Path,
    captions: int,
) -> BuiltItem:
    lines = _text_lines(recording, features, captions, name, mirrored, tempo)
    write_text_lines(root / TEXT_FOLDER / f"{name}.txt", lines)
    content = swap_sides(recording.content) if mirrored else recording.content
    return BuiltItem(name, content, len(features), len(lines), mirrored, tempo)


def _text_lines(
    recording: Recording, features: Float[Tensor, "t 272"], count: int, name: str, mirrored: bool, tempo: float
) -> list[TextLine]:
    duration_s = len(features) / MOTION272.fps
    if recording.captions:
        return [_own_line(line, duration_s, mirrored) for line in recording.captions]
    segments = recording.segments or (Segment(recording.content, recording.style, 0.0, 0.0),)
    lines = []
    for part in segments:
        if part.content not in contents():
            continue
        start, stop = (round(seconds * MOTION272.fps) for seconds in (part.start_s, part.end_s or duration_s))
        shown = swap_sides(part.content) if mirrored else part.content
        said = measured(features[start:stop], shown) if stop - start >= MIN_FRAMES else Said()
        seed = f"{name} {part.start_s}"
        captions = sample_captions(part.content, part.style, count, seed, mirrored=mirrored, said=said)
        lines += [TextLine(caption, part.start_s, min(part.end_s, duration_s)) for caption in captions]
    # What people wrote was about the recording's own tempo.
    for line in recording.written if tempo == 1.0 else ():
        if _holds_in_windows(line, duration_s) or not lines:
            lines.append(_own_line(line, duration_s, mirrored))
    return lines


def _holds_in_windows(line: TextLine, duration_s: float) -> bool:
    """Whether what is said of a recording may be said of its windows: training cuts long ones, and a list of things
    that are done one after the other is then false of each of them."""
    length_s = (line.end_s or duration_s) - line.start_s
    return length_s <= MAX_WHOLE_S or _SEVERAL.search(line.caption) is None


def _own_line(line: TextLine, duration_s: float, mirrored: bool) -> TextLine:
    """A sentence of the recording's own, its sides exchanged for a mirrored copy, its range within the recording."""
    if line.start_s >= duration_s:
        raise BadInputError(f"a caption starts at {line.start_s:g} s, and the recording lasts {duration_s:.2f} s")
    caption = swap_sides(line.caption) if mirrored else line.caption
    return TextLine(caption, line.start_s, min(line.end_s, duration_s))
