"""Bandai-Namco Research Motion Dataset 1 and 2: BVH clips whose file names carry content and style."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from kinestream.data.sources.recording import Recording, Reject, Segment, SourceListing, files_under
from kinestream.data.text.captions import canonical_content, canonical_style
from kinestream.errors import BadInputError
from kinestream.io.bvh import read_bvh
from kinestream.motion import Motion

_FILE_NAME = re.compile(r"dataset-(\d)_([a-z0-9-]+)_([a-z0-9-]+)_(\d+)")


@dataclass(frozen=True)
class BandaiNamco:
    """Importer of the two published sets (2,955 clips; CC BY-NC 4.0)."""

    name: str = "bandai-namco"
    licence: str = "CC BY-NC 4.0"
    citation: str = "Bandai Namco Research Inc., Bandai-Namco-Research-Motiondataset-1 and -2"
    bone_map: None = None

    def find(self, root: Path) -> SourceListing[Recording]:
        """All `dataset-N_CONTENT_STYLE_ID.bvh` under `root`; a name or a label file that disagrees is a reject."""
        recordings, rejects = [], []
        for path in files_under(root, "", ".bvh"):
            try:
                recordings.append(self._recording(path))
            except BadInputError as error:
                rejects.append(Reject(path.stem, self.name, str(error)))
        if not recordings:
            raise BadInputError(
                f"{root}: found no dataset-N_CONTENT_STYLE_ID.bvh; expected the unpacked Bandai-Namco folders"
            )
        return SourceListing(tuple(recordings), tuple(rejects))

    def read(self, recording: Recording) -> Motion:
        """The clip on its own skeleton, 30 fps."""
        return read_bvh(recording.path)

    def _recording(self, path: Path) -> Recording:
        match = _FILE_NAME.fullmatch(path.stem)
        if match is None:
            raise BadInputError("the file name is not dataset-N_CONTENT_STYLE_ID.bvh")
        number, content, style, identity = match.groups()
        _check_label_file(path, f"dataset-{number}_{content}", f"dataset-{number}_{style}")
        name = f"BN{number}_{content}_{style}_{identity}"
        return Recording(
            name=name,
            source=self.name,
            path=path,
            content=canonical_content(content),
            style=canonical_style(style),
            source_content=content,
            source_style=style,
            recording_id=f"dataset-{number}/{identity}",
            segments=_segments(name),
        )


@lru_cache(maxsize=64)
def _label_names(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return ()


def _check_label_file(path: Path, content: str, style: str) -> None:
    """Where label ids lie beside the clip, they must name what the file name says."""
    labels = path.with_suffix(".json")
    if not labels.is_file():
        return
    try:
        ids = json.loads(labels.read_text(encoding="utf-8"))
        pairs = [("content", content, int(ids["content"])), ("style", style, int(ids["style"]))]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise BadInputError(f"{labels.name} is not a label file with 'content' and 'style'") from None
    for kind, expected, number in pairs:
        names = _label_names(path.parent.parent / "cfg" / f"{kind}_label.txt")
        if 0 <= number < len(names) and names[number] != expected:
            raise BadInputError(f"mislabelled: the name says {kind} {expected!r}, its label file {names[number]!r}")


@lru_cache(maxsize=1)
def _all_segments() -> Mapping[str, Any]:
    text = files("kinestream.data").joinpath("sources/bandai_namco_segments.json").read_text(encoding="utf-8")
    segments: Mapping[str, Any] = json.loads(text)["segments"]
    return segments


def _segments(name: str) -> tuple[Segment, ...]:
    return tuple(
        Segment(str(content), str(style), float(start), float(end))
        for content, style, start, end in _all_segments().get(name, ())
    )
