"""Your own motions with your own sentences: a folder of motion files, captions beside them or in one table.

    takes/walks/walk1.bvh   takes/walks/walk1.txt     one sentence a line
    takes/wave.npz          takes/captions.csv        file,caption[,start,end] (seconds)

Every file that `kinestream.io.read_motion` reads is a recording, in sub-folders too (their path is the content that the
manifest counts). Sentences of both kinds add up. Hidden files are passed over.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kinestream.data.layout import MAX_TEXT_BYTES, TextLine, safe_name
from kinestream.data.sources.recording import Recording, Reject, SourceListing, files_under
from kinestream.errors import BadInputError
from kinestream.io import READ_SUFFIXES, read_motion
from kinestream.motion import Motion

NAME_PREFIX = "OWN_"
UNSORTED = "unsorted"
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class OwnMotions:
    """Importer of a folder of motion files with captions in .txt files or a .csv table."""

    name: str = "motions"
    licence: str = "not stated: your own recordings"
    citation: str = "not stated: your own recordings"
    bone_map: None = None

    def find(self, root: Path) -> SourceListing[Recording]:
        """All motion files under `root` that have a caption; those without one are rejects, named with their path.

        BadInputError when there is no motion file, none has a caption, or the table cannot be read.
        """
        paths = [path for path in files_under(root, "", "") if _is_motion(path, root)]
        if not paths:
            raise BadInputError(f"{root}: found no motion file; expected files named {', '.join(READ_SUFFIXES)}")
        of_file, rejects = _table_captions(root, paths)
        recordings: dict[str, Recording] = {}
        for path in paths:
            shown = path.relative_to(root).as_posix()
            try:
                captions = _beside(path) + of_file[path]
                if not captions:
                    raise BadInputError(
                        f"no caption: write sentences into {path.stem}.txt beside it, or list it in a .csv"
                    )
                recording = _recording(path, root, captions, self.name)
                if recording.name in recordings:
                    other = recordings[recording.name].recording_id
                    raise BadInputError(f"in the set it would have the name of {other}; give one another name")
                recordings[recording.name] = recording
            except BadInputError as error:
                rejects.append(Reject(shown, self.name, str(error)))
        if not recordings:
            raise BadInputError(
                f"{root}: none of its {len(paths)} motion files can be used; the first, {rejects[-len(paths)].name}: "
                f"{rejects[-len(paths)].reason}"
            )
        return SourceListing(tuple(recordings.values()), tuple(rejects))

    def read(self, recording: Recording) -> Motion:
        """The recording on its own skeleton at its own rate; arrays without a rate count as 30 fps."""
        return read_motion(recording.path)


def _is_motion(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in READ_SUFFIXES and not hidden


def _recording(path: Path, root: Path, captions: list[TextLine], source: str) -> Recording:
    relative = path.relative_to(root)
    content = relative.parent.as_posix() if len(relative.parts) > 1 else UNSORTED
    # Names go into split files, a line each: no white space, nothing that a file system minds.
    name = safe_name(NAME_PREFIX + re.sub(r"[^\w.-]", "_", relative.with_suffix("").as_posix().replace("/", "__")))
    distinct = tuple(dict.fromkeys(captions))
    return Recording(
        name, source, path, content, "normal", content, "", relative.as_posix(), captions=distinct
    )  # fmt: skip


def _beside(path: Path) -> list[TextLine]:
    """The sentences in NAME.txt beside a motion file, one a line, or lines in the published form."""
    text = path.with_suffix(".txt")
    if not text.is_file():
        return []
    captions = []
    for number, line in enumerate(_read_text(text).splitlines(), start=1):
        caption, *tags = line.split("#")
        # `caption#tokens#start#end`, as in published sets, where it is clearly that; else a sentence may hold a "#".
        if len(tags) >= 3:
            captions.append(_caption(caption, tags[-2], tags[-1], f"{text.name}, line {number}"))
        elif line.strip():
            captions.append(_caption(line, "", "", f"{text.name}, line {number}"))
    return captions


def _table_captions(root: Path, paths: list[Path]) -> tuple[dict[Path, list[TextLine]], list[Reject]]:
    """Captions by motion file from the one .csv at the top of the folder, where there is one."""
    of_file: dict[Path, list[TextLine]] = defaultdict(list)
    tables = sorted(path for path in root.glob("*.csv") if not path.name.startswith("."))
    if len(tables) > 1:
        raise BadInputError(f"{root}: expected one table of captions, got {', '.join(path.name for path in tables)}")
    if not tables:
        return of_file, []
    known: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        relative = path.relative_to(root)
        known[relative.as_posix()].append(path)
        known[relative.with_suffix("").as_posix()].append(path)
    rejects = []
    for where, row in _rows(tables[0]):
        name = PurePosixPath((row["file"] or "").strip().replace("\\", "/")).as_posix()
        found = known.get(name, [])
        try:
            if len(found) != 1:
                what = "no motion file of that name" if not found else "several motion files: name it with its suffix"
                raise BadInputError(f"{where}: {what}")
            of_file[found[0]].append(_caption(row["caption"], row.get("start"), row.get("end"), where))
        except BadInputError as error:
            rejects.append(Reject(name[:200], OwnMotions.name, str(error)))
    return of_file, rejects


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Rows of a table by column name, each with where it stands; commas, semicolons or tabs stand between columns."""
    lines = _read_text(table).splitlines()
    for delimiter in _DELIMITERS:
        reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True, restkey="more")
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if {"file", "caption"} <= set(names):
            break
    else:
        header = (lines or [""])[0][:80]
        raise BadInputError(
            f"{table}: expected a first line with the columns file, caption[, start, end], got {header!r}"
        )
    reader.fieldnames = names
    try:
        for row in reader:
            where = f"{table.name}, line {reader.line_num}"
            if "more" in row:
                raise BadInputError(
                    f"{table}, line {reader.line_num}: too many fields; put captions that hold {delimiter!r} in quotes"
                )
            yield where, row
    except csv.Error as error:
        raise BadInputError(f"{table}, line {reader.line_num}: {error}") from None


def _caption(text: str | None, start: str | None, end: str | None, where: str) -> TextLine:
    caption = " ".join((text or "").split())
    if not any(character.isalnum() for character in caption):
        raise BadInputError(f"{where}: the caption has no words")
    start_s, end_s = _seconds(start, where), _seconds(end, where)
    if end_s and end_s <= start_s:
        raise BadInputError(f"{where}: the caption ends at {end_s:g} s, before it starts at {start_s:g} s")
    return TextLine(caption, start_s, end_s)


def _seconds(text: str | None, where: str) -> float:
    """A time in seconds; empty is 0: from the beginning, or up to the end."""
    try:
        value = float((text or "").strip() or 0.0)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0.0):
        raise BadInputError(f"{where}: expected start and end in seconds from 0 on, got {text!r}")
    return value


def _read_text(path: Path) -> str:
    try:
        if os.path.getsize(path) > MAX_TEXT_BYTES:
            raise BadInputError(f"{path.name}: expected a text file of at most {MAX_TEXT_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path.name} cannot be read as UTF-8 text: {error}") from None
