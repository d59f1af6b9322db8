"""The node tree of a binary FBX 7.5 file, read where it lies, so that single values can be replaced in place."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import KinestreamError

_MAGIC = b"Kaydara FBX Binary  \x00\x1a\x00"
_FIRST_NODE = 27
_SCALARS = {b"C": "<b", b"Y": "<h", b"I": "<i", b"F": "<f", b"D": "<d", b"L": "<q"}
_ARRAYS = {b"b": "<i1", b"i": "<i4", b"l": "<i8", b"f": "<f4", b"d": "<f8"}


@dataclass(frozen=True)
class FbxProperty:
    """One value of a node: its type code, where its bytes start, and how many items it has (texts: bytes)."""

    code: bytes
    offset: int
    count: int


@dataclass
class FbxNode:
    """A named node with properties and children."""

    name: str
    properties: list[FbxProperty] = field(default_factory=list)
    children: list[FbxNode] = field(default_factory=list)

    def child(self, name: str) -> FbxNode:
        """The first child of a name; KinestreamError where there is none."""
        for node in self.children:
            if node.name == name:
                return node
        raise KinestreamError(f"the FBX file's node {self.name!r} has no {name!r}: expected what assimp 6 writes")

    def all(self, name: str) -> Iterator[FbxNode]:
        """All children of a name."""
        return (node for node in self.children if node.name == name)


class FbxFile:
    """A file's bytes and its tree. Values can be read and replaced by others of the same size."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        if not data.startswith(_MAGIC) or struct.unpack_from("<I", data, 23)[0] < 7500:
            raise KinestreamError("expected a binary FBX file of version 7.5, as assimp 6 writes it")
        self.root = FbxNode("")
        offset = _FIRST_NODE
        try:
            while struct.unpack_from("<Q", self.data, offset)[0]:
                node, offset = self._node(offset)
                self.root.children.append(node)
        except struct.error:
            raise KinestreamError("the FBX file that assimp wrote ends in the middle") from None

    def value(self, prop: FbxProperty) -> Any:
        """A number, text (bytes) or array."""
        if prop.code in _ARRAYS:
            return np.frombuffer(self.data, _ARRAYS[prop.code], prop.count, prop.offset).copy()
        if prop.code in _SCALARS:
            return struct.unpack_from(_SCALARS[prop.code], self.data, prop.offset)[0]
        return bytes(self.data[prop.offset : prop.offset + prop.count])

    def replace(self, prop: FbxProperty, value: float | NDArray[Any]) -> None:
        """Put a number or an array of the same length where the old one was."""
        if isinstance(value, np.ndarray):
            raw = value.astype(_ARRAYS[prop.code]).tobytes()
            assert value.size == prop.count
        else:
            raw = struct.pack(_SCALARS[prop.code], value)
        self.data[prop.offset : prop.offset + len(raw)] = raw

    def _node(self, offset: int) -> tuple[FbxNode, int]:
        end, count, _, name_length = struct.unpack_from("<QQQB", self.data, offset)
        offset += 25
        node = FbxNode(bytes(self.data[offset : offset + name_length]).decode("utf-8", "replace"))
        offset += name_length
        for _ in range(count):
            prop, offset = self._property(offset)
            node.properties.append(prop)
        while offset < end:
            if struct.unpack_from("<Q", self.data, offset)[0] == 0:
                break
            child, offset = self._node(offset)
            node.children.append(child)
        return node, end

    def _property(self, offset: int) -> tuple[FbxProperty, int]:
        code = bytes(self.data[offset : offset + 1])
        offset += 1
        if code in _SCALARS:
            return FbxProperty(code, offset, 1), offset + struct.calcsize(_SCALARS[code])
        if code in _ARRAYS:
            count, encoding, size = struct.unpack_from("<III", self.data, offset)
            if encoding != 0:
                raise KinestreamError("assimp wrote compressed FBX arrays, which this version does not expect")
            return FbxProperty(code, offset + 12, count), offset + 12 + size
        (count,) = struct.unpack_from("<I", self.data, offset)
        return FbxProperty(code, offset + 4, count), offset + 4 + count
