"""Reference dances that music can be searched for: windows, their embeddings in a FAISS index, one file on disk.

The file is safetensors: the serialised FAISS index, the table of windows, and in its metadata the format's version and
the fingerprint of the network that made the embeddings, so that an index can't be searched with another network.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from kinestream.data.dance.windows import DanceWindow
from kinestream.errors import BadInputError, MissingExtraError
from kinestream.io.atomic import atomic_path

FORMAT = "kinestream-references"
VERSION = 1
_CONTENT = "content."
_MAX_FILE_BYTES = 16 * 1024**3
_UNIT_SLACK = 1e-3


@dataclass(frozen=True)
class Match:
    """A reference that suits the music: its window and the cosine similarity, 1 at best."""

    window: DanceWindow
    similarity: float


class ReferenceIndex:
    """Exact search by cosine similarity over windows of reference dances."""

    def __init__(
        self,
        index: Any,
        windows: Sequence[DanceWindow],
        fingerprint: str,
        contents: Mapping[str, Tensor],
        frames_per_row: int,
    ):
        self._index = index
        self.windows = tuple(windows)
        self.fingerprint = fingerprint
        self.contents = dict(contents)
        self.frames_per_row = frames_per_row
        self._recordings = np.array([window.recording for window in self.windows])
        self._genres = np.array([window.genre for window in self.windows])

    @classmethod
    def build(
        cls,
        embeddings: Float[Tensor, "n e"],
        windows: Sequence[DanceWindow],
        fingerprint: str,
        *,
        contents: Mapping[str, Tensor] | None = None,
        frames_per_row: int = 1,
    ) -> ReferenceIndex:
        """Index unit-length embeddings of windows; `fingerprint` names the network that they come from.

        contents: what a reference holds, by clip: features or codes [rows, ...] with `frames_per_row` frames a row, so
        that the file is enough where the recordings are not at hand.

        Raises:
            MissingExtraError: faiss is not installed.
            BadInputError: no windows, other counts, embeddings that are not of unit length, or clips without contents.
        """
        faiss = _faiss()
        if len(embeddings) == 0 or len(embeddings) != len(windows):
            raise BadInputError(f"an index needs one embedding a window, got {len(embeddings)} for {len(windows)}")
        if not bool(((embeddings.norm(dim=-1) - 1.0).abs() < _UNIT_SLACK).all()):
            raise BadInputError("an index needs finite embeddings of unit length")
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(_rows(embeddings))
        _check_contents(windows, contents or {}, frames_per_row, "the index")
        return cls(index, windows, fingerprint, contents or {}, frames_per_row)

    @property
    def dim(self) -> int:
        """Values of an embedding."""
        return int(self._index.d)

    def __len__(self) -> int:
        return len(self.windows)

    def search(
        self,
        queries: Float[Tensor, "n e"],
        k: int,
        *,
        without: Sequence[str | None] | None = None,
        genre: str | None = None,
    ) -> list[list[Match]]:
        """Give the `k` most similar references of each query, best first.

        without: for each query the recording that must not be found, or None: in training the query's own, since a
        model that is handed the answer learns to copy it. genre: search these references only. Fewer than `k` come
        back where fewer are allowed; BadInputError where none is.
        """
        if k < 1:
            raise BadInputError(f"expected at least one reference to search for, got k = {k}")
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise BadInputError(f"expected queries [N, {self.dim}], got {tuple(queries.shape)}")
        if without is None:
            without = [None] * len(queries)
        if len(without) != len(queries):
            raise BadInputError(f"expected a recording or None for each of {len(queries)} queries, got {len(without)}")
        found: list[list[Match]] = [[] for _ in range(len(queries))]
        for recording in dict.fromkeys(without):
            rows = [row for row, other in enumerate(without) if other == recording]
            for row, matches in zip(rows, self._search(queries[rows], k, recording, genre), strict=True):
                found[row] = matches
        return found

    def _search(self, queries: Tensor, k: int, recording: str | None, genre: str | None) -> list[list[Match]]:
        faiss = _faiss()
        allowed = np.ones(len(self), dtype=bool)
        if recording is not None:
            allowed &= self._recordings != recording
        if genre is not None:
            allowed &= self._genres == genre
        count = int(allowed.sum())
        if count == 0:
            known = ", ".join(sorted(set(self._genres.tolist()) - {""})) or "none"
            raise BadInputError(
                f"no reference is left to search (genre {genre!r}, known: {known}; without {recording!r})"
            )
        parameters = None
        if count < len(self):
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(allowed)))
        similarities, places = self._index.search(_rows(queries), min(k, count), params=parameters)
        return [
            [Match(self.windows[place], float(value)) for value, place in zip(values, row, strict=True) if place >= 0]
            for values, row in zip(similarities, places, strict=True)
        ]

    def content(self, window: DanceWindow) -> Tensor:
        """What the index holds of a window: [frames / frames_per_row, ...]; BadInputError where it holds nothing."""
        if window.clip not in self.contents:
            raise BadInputError(f"the index holds no contents of {window.clip!r}; read the clip from its data set")
        first = window.start // self.frames_per_row
        return self.contents[window.clip][first : first + window.frames // self.frames_per_row]

    def save(self, path: str | Path) -> None:
        """Write the index, whole or not at all; KinestreamError where that fails."""
        serialized = torch.from_numpy(_faiss().serialize_index(self._index).copy())
        clips = {window.clip: (window.recording, window.genre) for window in self.windows}
        number = {clip: place for place, clip in enumerate(clips)}
        header = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "sha256": hashlib.sha256(serialized.numpy().tobytes()).hexdigest(),
            "frames_per_row": self.frames_per_row,
            "clips": [[name, *labels] for name, labels in clips.items()],
        }
        table = torch.tensor([[number[w.clip], w.start, w.frames] for w in self.windows], dtype=torch.int64)
        tensors = {"faiss": serialized, "windows": table}
        tensors |= {_CONTENT + name: value.contiguous().cpu() for name, value in self.contents.items()}
        with atomic_path(path) as temporary:
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata={"index": json.dumps(header, ensure_ascii=False)})
            os.chmod(temporary, mode)  # safetensors writes files that only their owner can read

    @classmethod
    def load(cls, path: str | Path, fingerprint: str | None = None) -> ReferenceIndex:
        """Read an index; with `fingerprint`, of exactly that network.

        Raises:
            MissingExtraError: faiss is not installed.
            BadInputError: the file is missing, damaged, of another version, or was made with another network.
        """
        faiss = _faiss()
        path = Path(path)
        tensors, header = _read(path)
        if fingerprint is not None and header["fingerprint"] != fingerprint:
            raise BadInputError(
                f"{path}: the index was made with another retrieval network ({header['fingerprint'][:12]}) than "
                f"this one ({fingerprint[:12]}); build it again"
            )
        try:
            serialized, table = tensors.pop("faiss"), tensors.pop("windows")
            if hashlib.sha256(serialized.numpy().tobytes()).hexdigest() != header["sha256"]:
                raise ValueError("its sha256 is not the recorded one")
            index = faiss.deserialize_index(serialized.numpy())
            clips = [(str(name), str(recording), str(genre)) for name, recording, genre in header["clips"]]
            rows: list[list[int]] = table.tolist()
            windows = [DanceWindow(*clips[clip], start=start, frames=frames) for clip, start, frames in rows]
            frames_per_row = int(header["frames_per_row"])
            if index.ntotal != len(windows) or not windows:
                raise ValueError(f"{index.ntotal} embeddings for {len(windows)} windows")
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise BadInputError(f"{path}: the index is damaged ({error}); build it again") from None
        contents = {name.removeprefix(_CONTENT): value for name, value in tensors.items() if name.startswith(_CONTENT)}
        _check_contents(windows, contents, frames_per_row, str(path))
        return cls(index, windows, str(header["fingerprint"]), contents, frames_per_row)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("searching reference dances", "dance") from None
    return faiss


def _rows(embeddings: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(embeddings.detach().cpu().float().numpy())


def _check_contents(
    windows: Sequence[DanceWindow], contents: Mapping[str, Tensor], frames_per_row: int, where: str
) -> None:
    if not contents:
        return
    if frames_per_row < 1:
        raise BadInputError(f"{where}: frames_per_row must be at least 1, got {frames_per_row}")
    for window in windows:
        rows = len(contents[window.clip]) if window.clip in contents else 0
        if window.start % frames_per_row or (window.start + window.frames) > rows * frames_per_row:
            raise BadInputError(
                f"{where}: the contents of {window.clip!r} ({rows} rows of {frames_per_row} frames) don't cover the "
                f"window of {window.frames} frames from frame {window.start}"
            )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise BadInputError(f"{path}: expected an index of reference dances, but there is no such file")
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise BadInputError(f"{path}: expected an index of at most {_MAX_FILE_BYTES >> 30} GiB")
    try:
        data = path.read_bytes()
        tensors = load(data)
        start = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + start])["__metadata__"]["index"])
        known = header["format"] == FORMAT and isinstance(header["fingerprint"], str)
        version = header["version"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path}: expected an index of reference dances: {str(error)[:200]}") from None
    if not known or version != VERSION:
        raise BadInputError(f"{path}: expected {FORMAT} of version {VERSION}, got {version!r}; build the index again")
    return tensors, header
