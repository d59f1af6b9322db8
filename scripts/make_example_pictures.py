"""Runs the examples and draws what each of them shows: docs/images/examples/NAME.webp.

python scripts/make_example_pictures.py [NAME ...]
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kinestream.io.atomic import atomic_path
from kinestream.io.video import strip
from kinestream.motion import Motion

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
PICTURES = REPOSITORY / "docs" / "images" / "examples"
# What is imported by examples and is none.
HELPERS = ("made_song",)
WIDTH_PX, MAX_BYTES = 960, 60_000


def names() -> list[str]:
    """The examples, by name."""
    return [path.stem for path in sorted(EXAMPLES.glob("*.py")) if path.stem not in HELPERS]


def picture(motions: list[Motion]) -> NDArray[np.uint8]:
    """All motions in one row of eight poses, [H, 960, 3] sRGB."""
    poses = 8 // len(motions)
    return np.hstack([strip(motion, poses, panel_width=WIDTH_PX // 8, panel_height=170) for motion in motions])


def webp_bytes(image: NDArray[np.uint8], quality: int = 75) -> bytes:
    """A picture [H, W, 3] as the bytes of a WebP file."""
    codec = av.CodecContext.create("libwebp", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt, codec.time_base = "yuv420p", Fraction(1)
    codec.options = {"quality": str(quality)}
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def draw(name: str) -> Path:
    """Run one example in a folder of its own and write its picture."""
    with tempfile.TemporaryDirectory() as folder:
        motions = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](Path(folder))
    data = webp_bytes(picture(motions))
    if len(data) > MAX_BYTES:
        raise SystemExit(f"{name}: the picture has {len(data)} bytes, at most {MAX_BYTES} are wanted")
    with atomic_path(PICTURES / f"{name}.webp") as path:
        path.write_bytes(data)
    return PICTURES / f"{name}.webp"


def main(argv: list[str]) -> None:
    """Draw all examples, or those that are named."""
    sys.path.insert(0, str(EXAMPLES))
    for name in argv or names():
        print(draw(name), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
