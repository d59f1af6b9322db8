"""KIT-ML's captions (Plappert et al., 2016) for recordings that are built from another source: CMU's.

The file is JSON by clip: `path` (the source clip's, as AMASS names it), `duration` and `annotations` with `text`,
`start` and `end` in seconds of the whole source clip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinestream.data.layout import TextLine
from kinestream.data.sources.recording import Recording, Reject
from kinestream.errors import BadInputError

_CMU_PATH = re.compile(r"CMU/\d+/(\d+_\d+)(?:_poses)?(?:\.npy)?")
_FRAME_LINE = re.compile(rb"^[ \t]*\d+[ \t]*\r?$", re.MULTILINE)
# Durations that differ by more are of a clip that was trimmed: its times and what it shows are others.
_SAME_CLIP_S = 0.1


def with_kit_ml(recordings: Sequence[Recording], path: str | Path) -> tuple[list[Recording], list[Reject]]:
    """The recordings, CMU's with KIT-ML's captions besides their own; and the clips whose captions do not fit.

    Times are seconds of the source clip, so they hold for a recording of the same length (within 0.1 s) only. Captions
    of mirrored copies (KIT-ML's own, paths `M/...`) are passed over: mirrored recordings get mirrored words.
    BadInputError when the file is not KIT-ML's captions, or fits no recording.
    """
    captions = _read(Path(path))
    found, rejects, used = [], [], 0
    for recording in recordings:
        own = captions.get(recording.recording_id) if recording.source == "cmu" else None
        if own is None:
            found.append(recording)
            continue
        duration_s, written = own
        length_s = _frames(recording.path) / (recording.fps or 1.0)
        if abs(duration_s - length_s) > _SAME_CLIP_S:
            reason = f"captions of {duration_s:.2f} s do not fit a clip of {length_s:.2f} s: it was trimmed"
            rejects.append(Reject(f"KIT-ML {recording.recording_id}", recording.source, reason))
            found.append(recording)
            continue
        used += 1
        whole = tuple(_of_whole(caption, duration_s) for caption in written)
        found.append(replace(recording, written=recording.written + whole))
    if not used:
        raise BadInputError(f"{path}: describes none of the recordings; KIT-ML's captions belong to the source cmu")
    return found, rejects


def _of_whole(caption: TextLine, duration_s: float) -> TextLine:
    """A caption from start to end has no times: 0 and 0 mean all of it."""
    covers = caption.start_s <= _SAME_CLIP_S and caption.end_s >= duration_s - _SAME_CLIP_S
    return TextLine(caption.caption) if covers else caption


def _frames(path: Path) -> int:
    """Frames of an AMC file, by its lines that hold one whole number; 0 where it cannot be read."""
    try:
        return len(_FRAME_LINE.findall(path.read_bytes()))
    except OSError:
        return 0


def _read(path: Path) -> dict[str, tuple[float, list[TextLine]]]:
    """CMU's clips ("06_06") -> the source clip's duration in seconds and its captions."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        return dict(_clips(document))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(
            f"{path}: expected KIT-ML's captions, JSON with 'path', 'duration' and 'annotations' by clip: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from None


def _clips(document: Mapping[str, Any]) -> Iterable[tuple[str, tuple[float, list[TextLine]]]]:
    for entry in document.values():
        match = _CMU_PATH.fullmatch(entry["path"])
        if match is None:
            continue
        written = [
            TextLine(" ".join(str(one["text"]).split()), float(one["start"]), float(one["end"]))
            for one in entry["annotations"]
        ]
        yield match[1], (float(entry["duration"]), [caption for caption in written if caption.caption])
