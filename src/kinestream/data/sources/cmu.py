"""CMU's motion capture library: AMC recordings beside their subjects' ASF skeletons, with CMU's own descriptions.

cmu_labels.json says which descriptions are contents of the caption grammar. What else the library holds is taken with
CMU's description as its only caption, and for training only: nothing could judge it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from kinestream.data.layout import TextLine
from kinestream.data.sources.recording import Recording, Reject, SourceListing, files_under
from kinestream.data.text.captions import contents
from kinestream.errors import BadInputError
from kinestream.io.asf_amc import asf_beside, read_asf_amc
from kinestream.motion import Motion

INDEX_NAME = "index.csv"
_CLIP = re.compile(r"(\d{2,3})_(\d{2,3})")
_OTHER = "cmu-other"


@dataclass(frozen=True)
class CMU:
    """Importer of SUBJECT_TRIAL.amc and SUBJECT.asf files with the library's index.csv."""

    name: str = "cmu"
    licence: str = "free for research and commercial use, not to be resold as data"
    citation: str = "mocap.cs.cmu.edu, created with funding from NSF EIA-0196217"
    bone_map: None = None

    def find(self, root: Path) -> SourceListing[Recording]:
        """All `SUBJECT_TRIAL.amc` under `root`; what has no description, no known rate or no skeleton is a reject."""
        recordings, rejects = [], []
        index = _read_index(root)
        for path in files_under(root, "", ".amc"):
            try:
                recordings.append(self._recording(path, index))
            except BadInputError as error:
                rejects.append(Reject(path.stem, self.name, str(error)))
        if not recordings:
            why = f"; the first of {len(rejects)} rejected: {rejects[0].reason}" if rejects else ""
            raise BadInputError(f"{root}: found no SUBJECT_TRIAL.amc with a line in {INDEX_NAME}{why}")
        return SourceListing(tuple(recordings), tuple(rejects))

    def read(self, recording: Recording) -> Motion:
        """The clip on its subject's skeleton, at the rate that the index gives."""
        return read_asf_amc(recording.path, fps=recording.fps)

    def _recording(self, path: Path, index: Mapping[str, tuple[str, float]]) -> Recording:
        if _CLIP.fullmatch(path.stem) is None:
            raise BadInputError("the file name is not SUBJECT_TRIAL.amc")
        if path.stem not in index:
            raise BadInputError(f"{INDEX_NAME} has no description and frame rate of it")
        description, fps = index[path.stem]
        asf_beside(path)
        content = _content(path.stem, description)
        return Recording(
            name=f"CMU_{path.stem}",
            source=self.name,
            path=path,
            content=content,
            style="normal",
            source_content=description,
            source_style="",
            recording_id=path.stem,
            only_train=content not in _labels()["testable"],
            written=(TextLine(_sentence(description)),),
            fps=fps,
        )


def _read_index(root: Path) -> dict[str, tuple[str, float]]:
    """Clip -> (description, frames a second); lines without them are left out. BadInputError when there is no index."""
    found = sorted(files_under(root, INDEX_NAME, ""))
    if not found:
        raise BadInputError(f"{root}: found no {INDEX_NAME} with CMU's descriptions")
    index: dict[str, tuple[str, float]] = {}
    try:
        with open(found[0], encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if number == 1:
                    _check_columns(row, found[0])
                elif len(row) >= 4 and row[2].strip() and row[3].strip().isdigit() and int(row[3]) > 0:
                    index[f"{row[0].strip():0>2}_{row[1].strip():0>2}"] = (row[2].strip(), float(row[3]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{found[0]}: cannot be read as a table of descriptions: {error}") from None
    return index


def _check_columns(row: list[str], path: Path) -> None:
    names = [name.strip().lower() for name in row[:4]]
    if names != ["subject", "trial #", "motion description", "framerate"]:
        raise BadInputError(
            f"{path}, line 1: expected the columns Subject, Trial #, Motion Description, framerate, got {row[:4]}"
        )


@lru_cache(maxsize=1)
def _labels() -> Mapping[str, Any]:
    text = files("kinestream.data").joinpath("sources/cmu_labels.json").read_text(encoding="utf-8")
    labels: Mapping[str, Any] = json.loads(text)
    return labels


def _content(clip: str, description: str) -> str:
    """The clip's content in the caption grammar: by the clip where it was looked at, else by its description."""
    labels = _labels()
    content = labels["clips"].get(clip) or labels["descriptions"].get(" ".join(description.lower().split()), _OTHER)
    if content != _OTHER and content not in contents():
        raise AssertionError(f"cmu_labels.json names {content!r}, which the caption grammar does not know")
    return str(content)


def _sentence(description: str) -> str:
    """CMU's description as a caption: the shared heading of a session ("playground - ") left out."""
    return " ".join(description.rpartition(" - ")[2].replace("/", " or ").split()).lower()
