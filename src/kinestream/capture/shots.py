"""Where a film cuts from one shot to another, found while the pictures go by."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from kinestream.capture.film import FilmPicture

FloatArray = NDArray[np.float32]

# Two pictures belong to different shots when their thumbnails differ by this much of full scale, what stands where in
# them correlates less than this (light that comes and goes changes no shot), and the difference is this many times what
# is usual here (a waving handheld camera differs always).
_LEAST_DIFFERENCE = 0.07
_MOST_CORRELATION = 0.55
_USUAL_TIMES = 3.0
# A flash lights one picture: the next is again like the one before it.
_FLASH_SHARE = 0.5
_THUMB = (36, 64)
_REMEMBERED = 12


def thumbnail(rgb: NDArray[np.uint8]) -> FloatArray:
    """[36, 64, 3] from 0 to 1: a picture's samples on a grid, four for each cell."""
    height, width = rgb.shape[:2]
    y = ((np.arange(2 * _THUMB[0]) + 0.5) * height / (2 * _THUMB[0])).astype(np.int64)
    x = ((np.arange(2 * _THUMB[1]) + 0.5) * width / (2 * _THUMB[1])).astype(np.int64)
    samples = rgb[y[:, None], x[None]].astype(np.float32) / 255.0
    return np.asarray(samples.reshape(_THUMB[0], 2, _THUMB[1], 2, 3).mean(axis=(1, 3)), np.float32)


def _correlation(a: FloatArray, b: FloatArray) -> float:
    """Of two thumbnails' lightness, whatever their exposure; pictures without any structure correlate with none."""
    x, y = (each.mean(axis=-1) - each.mean() for each in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 1e-6 else 0.0


class CutFinder:
    """Tells for each picture whether a new shot begins with it; needs to see the picture after it."""

    def __init__(self) -> None:
        self._before: FloatArray | None = None
        self._usual: deque[float] = deque(maxlen=_REMEMBERED)

    def cut(self, thumb: FloatArray, after: FloatArray | None) -> bool:
        """Whether a shot begins with `thumb`; `after` is the next picture's thumbnail (None: there is none)."""
        before, self._before = self._before, thumb
        if before is None:
            return False
        difference = float(np.abs(thumb - before).mean())
        usual = float(np.median(self._usual)) if self._usual else 0.0
        found = (
            difference > max(_LEAST_DIFFERENCE, _USUAL_TIMES * usual)
            and _correlation(thumb, before) < _MOST_CORRELATION
        )
        if found and after is not None and float(np.abs(after - before).mean()) < _FLASH_SHARE * difference:
            self._before = before  # the flash is not what the next picture is compared with
            return False
        if found:
            self._usual.clear()
        else:
            self._usual.append(difference)
        return found


def with_shots(pictures: Iterable[FilmPicture]) -> Iterator[tuple[FilmPicture, int]]:
    """Each picture with the number of its shot, from 0; one picture is held back to look ahead."""
    finder, shot = CutFinder(), 0
    held: tuple[FilmPicture, FloatArray] | None = None
    for picture in pictures:
        thumb = thumbnail(picture.rgb)
        if held is not None:
            shot += finder.cut(held[1], thumb)
            yield held[0], shot
        held = (picture, thumb)
    if held is not None:
        shot += finder.cut(held[1], None)
        yield held[0], shot
