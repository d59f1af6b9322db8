"""glTF 2.0 containers (GLB, VRM, VRMA): the JSON document, its binary chunk, and checked reading of accessors."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError

GLTF_SUFFIXES = (".glb", ".vrm", ".vrma")
_MAX_FILE_BYTES = 2**30
_JSON_CHUNK, _BIN_CHUNK = 0x4E4F534A, 0x004E4942
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5126: np.float32}


@dataclass(frozen=True, eq=False)
class GltfFile:
    """A GLB container: `document` is its JSON, `binary` its BIN chunk (None without one), `others` further chunks."""

    path: Path
    document: dict[str, Any]
    binary: bytes | None
    others: bytes = b""

    def items(self, name: str) -> list[Any]:
        """A list of objects of the document, empty where it has none."""
        found = self.document.get(name, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.bad(f"expected a list of objects as {name!r}")
        return found

    def item(self, name: str, index: Any) -> dict[str, Any]:
        """One object of such a list; BadInputError for an index that points nowhere."""
        found = self.items(name)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(found):
            raise self.bad(f"expected an index into the {len(found)} {name}, got {index!r}")
        item: dict[str, Any] = found[index]
        return item

    def accessor(self, index: Any) -> NDArray[np.float64]:
        """The values [count, width] of an accessor of floats or normalised integers, out of the BIN chunk."""
        entry = self.item("accessors", index)
        if "sparse" in entry or "bufferView" not in entry:
            raise self.bad(f"accessor {index} is sparse, which is not read for keys: export the file without")
        view = self.item("bufferViews", entry["bufferView"])
        extensions = view.get("extensions", {})
        if extensions:
            raise self.bad(f"its keys are compressed ({', '.join(map(str, extensions))}): export it uncompressed")
        width, kind = _WIDTH.get(entry.get("type", "")), _TYPES.get(entry.get("componentType", 0))
        if width is None or kind is None:
            raise self.bad(f"accessor {index} has the type {entry.get('type')!r} of {entry.get('componentType')!r}")
        if view.get("buffer") != 0 or self.binary is None or "uri" in self.item("buffers", 0):
            raise self.bad("its keys lie outside the file: pack everything into one GLB")
        size = np.dtype(kind).itemsize * width
        numbers = (entry.get("count"), entry.get("byteOffset", 0), view.get("byteOffset", 0), view.get("byteLength"))
        stride = view.get("byteStride", size)
        if not all(isinstance(n, int) and n >= 0 for n in numbers) or not isinstance(stride, int) or stride < size:
            raise self.bad(f"accessor {index} has no sound counts and offsets")
        count, inner, outer, length = (int(number) for number in numbers if number is not None)
        last = inner + (stride * (count - 1) + size if count else 0)
        if last > length or outer + length > len(self.binary):
            raise self.bad(f"accessor {index} reaches beyond its data: the file is cut off or damaged")
        raw = np.ndarray((count, width), kind, self.binary, outer + inner, (stride, np.dtype(kind).itemsize))
        with np.errstate(invalid="ignore"):
            values = raw.astype(np.float64)
        if raw.dtype.kind != "f":
            values = np.maximum(values / np.iinfo(raw.dtype).max, -1.0)
        if not np.isfinite(values).all():
            raise self.bad(f"accessor {index} holds numbers that are not finite")
        return values

    def numbers(self, value: Any, count: int, what: str) -> NDArray[np.float64]:
        """A JSON list of `count` finite numbers."""
        sound = isinstance(value, list) and len(value) == count
        if not sound or not all(isinstance(x, int | float) and abs(x) < 1e9 and math.isfinite(x) for x in value):
            raise self.bad(f"expected {count} numbers as {what}")
        return np.array(value, dtype=np.float64)

    def bad(self, why: str) -> BadInputError:
        """The error for this file."""
        return BadInputError(f"{self.path}: {why}")

    def to_bytes(self) -> bytes:
        """The GLB file of this document and these chunks."""
        text = json.dumps(self.document, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), _JSON_CHUNK) + text
        if self.binary is not None:
            binary = self.binary + b"\0" * (-len(self.binary) % 4)
            chunks += struct.pack("<II", len(binary), _BIN_CHUNK) + binary
        chunks += self.others
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def read_gltf_file(path: str | os.PathLike[str]) -> GltfFile:
    """A GLB, VRM or VRMA file, taken apart; BadInputError for files that are no whole, sound GLB."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadInputError(f"{path}: expected at most {_MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    if len(data) < 20 or data[:4] != b"glTF" or struct.unpack_from("<I", data, 4)[0] != 2:
        raise BadInputError(f"{path}: expected a binary glTF 2.0 file (GLB), which begins with 'glTF' and version 2")
    length, size, kind = struct.unpack_from("<III", data, 8)
    if length > len(data) or 20 + size > length or kind != _JSON_CHUNK:
        raise BadInputError(f"{path}: the file is cut off or damaged: expected {length} bytes, got {len(data)}")
    try:
        document = json.loads(data[20 : 20 + size])
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: its JSON part is damaged: {error}") from None
    if not isinstance(document, dict):
        raise BadInputError(f"{path}: expected a JSON object as its first part")
    at, binary = 20 + size, None
    if at + 8 <= length and struct.unpack_from("<I", data, at + 4)[0] == _BIN_CHUNK:
        size = struct.unpack_from("<I", data, at)[0]
        if at + 8 + size > length:
            raise BadInputError(f"{path}: its binary part is cut off")
        binary, at = data[at + 8 : at + 8 + size], at + 8 + size
    return GltfFile(path, document, binary, data[at:length])
