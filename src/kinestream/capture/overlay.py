"""The film with each person's skeleton over the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kinestream.capture.film import Film
from kinestream.capture.landmarks import BONES, PersonTrack, landmark
from kinestream.capture.prefetch import prefetched
from kinestream.errors import KinestreamError
from kinestream.io.atomic import atomic_path

Picture = NDArray[np.uint8]

# Bones of the left and right side, and across; persons after the first have a tint of their own.
_SIDES = {"left": (70, 200, 90), "right": (230, 80, 70), "across": (245, 245, 245)}
_TINTS = ((0, 0, 0), (60, 110, 255), (255, 190, 30), (200, 60, 220), (30, 210, 220))
_TINT_SHARE = 0.55
_THICKNESS_SHARE = 0.008  # of the body's height in the picture
_UNSURE = 0.5


def write_preview(
    path: Path, film: Film, tracks: Sequence[PersonTrack], on_frame: Callable[[int, int | None], None] | None = None
) -> None:
    """Write an H.264 film of `film`'s pictures with the tracks' skeletons; bones that are hardly seen are thin."""
    import av

    width, height = film.info.width_px // 2 * 2, film.info.height_px // 2 * 2
    rate = Fraction(film.info.fps).limit_denominator(1001)
    try:
        with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "21", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for picture in prefetched(film.pictures()):
                image = picture.rgb[:height, :width].copy()
                for track in tracks:
                    if 0 <= picture.number - track.frames[0] < track.num_frames:
                        draw_person(image, track, picture.number - int(track.frames[0]))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                if on_frame is not None:
                    on_frame(picture.number + 1, film.info.num_frames or None)
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise KinestreamError(f"{path}: the preview could not be written: {error}") from error


def draw_person(image: Picture, track: PersonTrack, row: int) -> None:
    """Draw a person's skeleton of one row of the track into a picture [height, width, 3]; nothing where they hide."""
    if not track.seen[row]:
        return
    points, sure = track.keypoints_px[row].astype(np.float64), track.confidence[row]
    tall = float(track.boxes_px[row, 3] - track.boxes_px[row, 1])
    tint = np.array(_TINTS[(track.person - 1) % len(_TINTS)])
    share = _TINT_SHARE if track.person > 1 else 0.0
    for a, b in BONES:
        side = a.split("_")[0] if a.split("_")[0] == b.split("_")[0] else "across"
        colour = (1.0 - share) * np.array(_SIDES[side]) + share * tint
        first, last = landmark(a), landmark(b)
        thick = max(1.2, _THICKNESS_SHARE * tall) * (0.4 if min(sure[first], sure[last]) < _UNSURE else 1.0)
        _line(image, points[first], points[last], thick, colour)


@njit(cache=True, nogil=True)
def _line(image, a, b, radius, colour):  # type: ignore[no-untyped-def]
    """A line with round ends and soft edges."""
    height, width = image.shape[0], image.shape[1]
    low_x, high_x = max(0, int(min(a[0], b[0]) - radius - 1)), min(width - 1, int(max(a[0], b[0]) + radius + 2))
    low_y, high_y = max(0, int(min(a[1], b[1]) - radius - 1)), min(height - 1, int(max(a[1], b[1]) + radius + 2))
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy + 1e-9
    for y in range(low_y, high_y + 1):
        for x in range(low_x, high_x + 1):
            t = min(1.0, max(0.0, ((x - a[0]) * dx + (y - a[1]) * dy) / square))
            away = np.hypot(x - a[0] - t * dx, y - a[1] - t * dy)
            cover = min(1.0, max(0.0, radius + 0.5 - away))
            if cover > 0.0:
                for k in range(3):
                    image[y, x, k] = int(image[y, x, k] + cover * (colour[k] - image[y, x, k]))
