"""A build's journal: one JSON line per finished item, so that an interrupted build goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, Protocol, TypeVar, runtime_checkable

from kinestream.errors import KinestreamError


@runtime_checkable
class Item(Protocol):
    """Something that a build finishes."""

    @property
    def name(self) -> str:
        """What it is found by."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""


ItemType = TypeVar("ItemType", bound=Item)


class Journal(Generic[ItemType]):
    """Append-only results by name, read back by `parse`; lines of other parameters and torn lines are passed over."""

    def __init__(self, path: Path, parameters_digest: str, parse: Callable[[dict[str, Any]], ItemType]) -> None:
        self._path, self._digest, self._parse = path, parameters_digest, parse
        self._file: IO[str] | None = None
        self.known: dict[str, ItemType] = {}

    def __enter__(self) -> Journal[ItemType]:
        try:
            if self._path.is_file():
                for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                    self._take(line)
            self._file = open(self._path, "w", encoding="utf-8")
            for result in list(self.known.values()):
                self._write(result)
        except OSError as error:
            raise KinestreamError(f"cannot write {self._path}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, result: ItemType) -> None:
        """Note a finished item at once; KinestreamError when the disk is full."""
        if self.known.get(result.name) == result:
            return
        self.known[result.name] = result
        try:
            self._write(result)
        except OSError as error:
            raise KinestreamError(f"cannot write {self._path}: {error}") from error

    def _write(self, result: ItemType) -> None:
        assert self._file is not None
        self._file.write(json.dumps({"parameters": self._digest} | result.to_dict()) + "\n")
        self._file.flush()

    def _take(self, line: str) -> None:
        try:
            entry: dict[str, Any] = json.loads(line)
            if entry.pop("parameters") == self._digest:
                result = self._parse(entry)
                self.known[result.name] = result
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
