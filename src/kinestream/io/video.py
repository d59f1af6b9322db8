"""MP4 video and PNG pictures of motions, drawn by our own renderer and encoded with PyAV."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError, KinestreamError
from kinestream.io.atomic import atomic_path
from kinestream.io.png import write_png
from kinestream.io.render import Camera, render
from kinestream.io.soundtrack import Soundtrack, TrackWriter
from kinestream.io.stage import Stage, follow, stage_motions
from kinestream.motion import Motion

Image = NDArray[np.uint8]

MAX_SIDE_PX = 4096


def write_mp4(
    motions: Motion | Sequence[Motion],
    path: str | Path,
    *,
    width: int = 1280,
    height: int = 720,
    fps: float | None = None,
    azimuth_rad: float | None = None,
    on_frame: Callable[[int, int], None] | None = None,
    sound: Soundtrack | None = None,
) -> None:
    """Write an H.264 video of one motion, or of several side by side, seen by a camera that follows them.

    `fps` is the first motion's rate unless given (30 where that rate lies outside 5 to 120). `azimuth_rad` is where the
    camera stands about Y, 0 being +Z. `on_frame(done, total)` is called as frames are finished. `sound` becomes an AAC
    track that begins with the first frame and ends with the last, or before where it is shorter.
    Raises BadInputError for sizes that are odd, below 64 or above 4096 pixels, and for sound that can't be read.
    """
    _check_size(width, height, even=True)
    first = motions if isinstance(motions, Motion) else next(iter(motions), None)
    if fps is None and first is not None:
        fps = first.fps if 5.0 <= first.fps <= 120.0 else 30.0
    stage = stage_motions(motions, fps)
    cameras = follow(stage, width / height, azimuth_rad)
    film = _Film(stage.fps, width, height, stage.num_frames, on_frame, sound)
    with atomic_path(path) as temporary:
        _encode(_frames(stage, cameras, width, height), temporary, film)


def render_frame(
    motions: Motion | Sequence[Motion],
    frame: int,
    *,
    width: int = 1280,
    height: int = 720,
    azimuth_rad: float | None = None,
) -> Image:
    """One frame of the video that `write_mp4` would write, [height, width, 3] sRGB."""
    _check_size(width, height)
    stage = stage_motions(motions)
    if not 0 <= frame < stage.num_frames:
        raise BadInputError(f"expected a frame from 0 to {stage.num_frames - 1}, got {frame}")
    return render(stage.scene(frame), follow(stage, width / height, azimuth_rad)[frame], width, height)


def write_strip(
    motions: Motion | Sequence[Motion],
    path: str | Path,
    frames: int = 8,
    *,
    panel_width: int = 260,
    panel_height: int = 400,
    azimuth_rad: float | None = None,
) -> None:
    """Write a PNG with a row of `frames` pictures, evenly spaced in time, for each motion."""
    write_png(strip(motions, frames, panel_width=panel_width, panel_height=panel_height, azimuth_rad=azimuth_rad), path)


def strip(
    motions: Motion | Sequence[Motion],
    frames: int = 8,
    *,
    panel_width: int = 260,
    panel_height: int = 400,
    azimuth_rad: float | None = None,
) -> Image:
    """The picture that `write_strip` writes, [rows * panel_height, frames * panel_width, 3] sRGB."""
    _check_size(panel_width, panel_height)
    if not 1 <= frames <= 64:
        raise BadInputError(f"expected 1 to 64 pictures in a strip, got {frames}")
    rows = []
    for motion in [motions] if isinstance(motions, Motion) else motions:
        stage = stage_motions(motion)
        cameras = follow(stage, panel_width / panel_height, azimuth_rad)
        chosen = np.linspace(0, stage.num_frames - 1, frames).round().astype(int)
        rows.append(np.hstack([render(stage.scene(k), cameras[k], panel_width, panel_height) for k in chosen]))
    if not rows:
        raise BadInputError("expected at least one motion to draw, got none")
    return np.vstack(rows)


def _check_size(width: int, height: int, even: bool = False) -> None:
    fits = all(64 <= side <= MAX_SIDE_PX and not (even and side % 2) for side in (width, height))
    if not fits:
        raise BadInputError(
            f"expected {'even ' if even else ''}picture sides from 64 to {MAX_SIDE_PX} pixels, got {width} x {height}"
        )


def _frames(stage: Stage, cameras: list[Camera], width: int, height: int) -> Iterator[Image]:
    """Drawn frames in order; as many at once as there are processors (the compiled loops run without Python's lock)."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    pending: deque[Future[Image]] = deque()
    try:
        for frame, camera in enumerate(cameras):
            pending.append(pool.submit(_picture, stage, frame, camera, width, height))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _picture(stage: Stage, frame: int, camera: Camera, width: int, height: int) -> Image:
    return render(stage.scene(frame), camera, width, height)


class _Film(NamedTuple):
    """What the encoder must know beside the pictures."""

    fps: float
    width: int
    height: int
    num_frames: int
    on_frame: Callable[[int, int], None] | None
    sound: Soundtrack | None


def _encode(frames: Iterator[Image], path: Path, film: _Film) -> None:
    import av

    rate = Fraction(film.fps).limit_denominator(1001)
    try:
        with (
            av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container,
            contextlib.ExitStack() as stack,
        ):
            stream = container.add_stream("libx264", rate=rate, options={"crf": "19", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
            track = None
            if film.sound is not None:
                track = stack.enter_context(TrackWriter(container, film.sound, film.num_frames / film.fps))
            for done, image in enumerate(frames, start=1):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                if track is not None:
                    track.write_until(done / film.fps)
                if film.on_frame is not None:
                    film.on_frame(done, film.num_frames)
            container.mux(stream.encode())
            if track is not None:
                track.finish()
    except av.FFmpegError as error:
        raise KinestreamError(f"the video could not be written: {error}") from error
