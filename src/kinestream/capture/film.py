"""Films as upright pictures with their times, one after the other: memory stays flat whatever the film's length.

Turned (a phone held upright), squeezed (pixels that are not square), interlaced and HDR films come out as they are
meant to be seen. A damaged picture in the middle is passed over, as players do.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError

Picture = NDArray[np.uint8]

# Pictures are made smaller to this: the models look at 256 pixels of a person.
MAX_SIDE_PX = 1920
MIN_SIDE_PX = 32
# Focal length over the picture's diagonal that is assumed where nobody tells it: phones' main cameras while filming.
ASSUMED_FOCAL_DIAGONALS = 0.8
_FULL_FRAME_DIAGONAL_MM = 43.27
_EXPECTED = "expected a film (mp4, mov, mkv, webm, avi, ...)"
_PQ = 16  # ISO 23091-2's number of HDR's perceptual quantizer
_WHITE_NITS = 203.0
_BAD_PACKETS = 50
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("vfwcap", "{}")}


@dataclass(frozen=True)
class FilmInfo:
    """What is known before the first picture: its upright size, frames a second and how many (0: not said)."""

    width_px: int
    height_px: int
    fps: float
    num_frames: int
    focal_px: float | None


@dataclass(frozen=True, eq=False)
class FilmPicture:
    """One picture: its number from 0, its presentation time, `rgb` [height, width, 3] upright, square pixels, sRGB."""

    number: int
    time_s: float
    rgb: Picture


class Film:
    """A film file, or a camera, picture by picture. Use as a context manager.

    Raises BadInputError where it is missing, no film, holds no pictures, or can't be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: IO[bytes] | None = None
        self._container: Any = None
        if not self.path.is_file():
            raise BadInputError(f"{self.path}: {'not a file' if self.path.exists() else 'no such file'}; {_EXPECTED}")
        self._file = open(self.path, "rb")  # noqa: SIM115 - closed by `close`
        self._open(self._file, {"protocol_whitelist": "none"}, None)

    @classmethod
    def camera(cls, number: int) -> Film:
        """The machine's camera of that number; its pictures never end."""
        kind, name = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
        film = cls.__new__(cls)
        film.path, film._file, film._container = Path(f"camera-{number}"), None, None
        film._open(name.format(number), {}, kind)
        return film

    def _open(self, source: Any, options: dict[str, str], kind: str | None) -> None:
        import av

        try:
            self._container = av.open(source, mode="r", options=options, format=kind)
            if not self._container.streams.video:
                raise BadInputError(f"{self.path}: {_EXPECTED}; the file has no pictures")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self._left = self._frames()
            self._first = next(self._left, None)
        except (av.FFmpegError, OSError, ValueError) as error:
            self.close()
            what = "no such camera, or it is in use" if kind else f"{_EXPECTED}; it cannot be read"
            raise BadInputError(f"{self.path}: {what}: {_words(error)}") from None
        except BaseException:
            self.close()
            raise
        if self._first is None:
            self.close()
            raise BadInputError(f"{self.path}: {_EXPECTED}; not one picture of it can be decoded")
        self._turns, self._size = self._upright()
        self.info = self._described()

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        for handle in (self._container, self._file):
            if handle is not None:
                handle.close()

    def _upright(self) -> tuple[int, tuple[int, int]]:
        """Quarter turns to the left that put pictures upright, and the size (before turning) to decode them at."""
        frame = self._first
        assert frame is not None
        aspect = self._stream.sample_aspect_ratio or 1
        if min(frame.width, frame.height) < MIN_SIDE_PX:
            raise BadInputError(
                f"{self.path}: expected pictures of at least {MIN_SIDE_PX} pixels a side, got {frame.width} x "
                f"{frame.height}"
            )
        width, height = frame.width * float(aspect), float(frame.height)
        scale = min(1.0, MAX_SIDE_PX / max(width, height))
        turns = round(frame.rotation / 90.0) % 4
        return turns, (max(2, round(width * scale)), max(2, round(height * scale)))

    def _described(self) -> FilmInfo:
        width, height = self._size if self._turns % 2 == 0 else self._size[::-1]
        fps = float(self._stream.average_rate or self._stream.guessed_rate or 30.0)
        focal_px = None
        for key, value in (*self._container.metadata.items(), *self._stream.metadata.items()):
            if "focal_length" in key and "35mm" in key:
                with contextlib.suppress(ValueError):
                    focal_px = float(value) / _FULL_FRAME_DIAGONAL_MM * float(np.hypot(width, height))
        return FilmInfo(width, height, fps, int(self._stream.frames or 0), focal_px)

    def pictures(self) -> Iterator[FilmPicture]:
        """All pictures in order of time; can be gone through once."""
        import av

        deinterlace: Any = None
        last_s, number = -np.inf, 0
        for frame in self._with_first():
            if frame.interlaced_frame and deinterlace is None:
                deinterlace = _deinterlacer(av, self._stream)
            for whole in _through(av, deinterlace, frame):
                time_s = whole.time
                if time_s is None or not time_s > last_s:
                    time_s = 0.0 if last_s == -np.inf else last_s + 1.0 / self.info.fps
                last_s = time_s
                yield FilmPicture(number, float(time_s), self._picture(whole))
                number += 1
        for whole in _through(av, deinterlace, None):
            last_s += 1.0 / self.info.fps
            yield FilmPicture(number, float(last_s), self._picture(whole))
            number += 1

    def _with_first(self) -> Iterator[Any]:
        first, self._first = self._first, None
        if first is None:
            raise BadInputError(f"{self.path}: a film's pictures can be gone through once; open it again")
        yield first
        yield from self._left

    def _frames(self) -> Iterator[Any]:
        """Decoded frames; damaged packets are passed over, many in a row end the film."""
        import av

        damaged = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                damaged += 1
                if damaged > _BAD_PACKETS:
                    return
                continue
            if frames:
                damaged = 0
            yield from frames

    def _packets(self) -> Iterator[Any]:
        """Packets up to the film's end, or to where a file that was cut off ends."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.InvalidDataError, av.error.EOFError):
                return
            if packet is None:
                return
            yield packet

    def _picture(self, frame: Any) -> Picture:
        width, height = self._size
        rgb: Picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
        if int(getattr(frame, "color_trc", 0) or 0) == _PQ:
            rgb = _pq_table()[rgb]
        return np.ascontiguousarray(np.rot90(rgb, self._turns)) if self._turns else rgb


def _deinterlacer(av: Any, stream: Any) -> Any:
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream), graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()  # fmt: skip
    return graph


def _through(av: Any, graph: Any, frame: Any) -> Iterator[Any]:
    """The frames that leave the graph when one goes in (None: the end); without a graph the frame itself."""
    if graph is None:
        if frame is not None:
            yield frame
        return
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _pq_table() -> Picture:
    """SMPTE ST 2084's curve to sRGB's, 8 bits each: HDR's highlights are rolled off above the white of text."""
    code = (np.arange(256) / 255.0) ** (1 / 78.84375)
    nits = 10_000.0 * (np.maximum(code - 0.8359375, 0.0) / (18.8515625 - 18.6875 * code)) ** (1 / 0.1593017578125)
    linear = nits / _WHITE_NITS
    rolled = np.where(linear < 0.75, linear, 1.0 - 0.25 / (1.0 + (linear - 0.75) / 0.25))
    encoded = np.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * np.maximum(rolled, 1e-9) ** (1 / 2.4) - 0.055)
    table: Picture = np.round(255.0 * np.clip(encoded, 0.0, 1.0)).astype(np.uint8)
    return table


def _words(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
