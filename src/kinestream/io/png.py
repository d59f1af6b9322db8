"""PNG files of RGB pictures, with nothing but zlib."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinestream.io.atomic import atomic_path


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """A picture [height, width, 3] (sRGB) as a PNG file's bytes."""
    height, width, _ = image.shape
    # Filter 2 (difference to the row above) makes smooth backgrounds small.
    above = np.vstack([np.zeros_like(image[:1]), image[:-1]])
    rows = (image - above).reshape(height, width * 3)
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 7)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def write_png(image: NDArray[np.uint8], path: str | Path) -> None:
    """Write a picture [height, width, 3] (sRGB), whole or not at all."""
    data = png_bytes(image)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
