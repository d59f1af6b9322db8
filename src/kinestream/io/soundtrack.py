"""Sound beside a picture: an excerpt of a song as AAC, in a film's own track or alone for a page."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError, KinestreamError
from kinestream.io.audio import MAX_READ_S, AudioReader

__all__ = ["Soundtrack", "TrackWriter", "encoded_sound"]

# What every player knows; other rates are resampled to the second.
_RATES_HZ = (44_100, 48_000)
_BITS_PER_S = 160_000


@dataclass(frozen=True)
class Soundtrack:
    """The part of a sound file that belongs to a motion: its second `start_s` sounds with the first frame."""

    path: str | os.PathLike[str]
    start_s: float = 0.0
    end_s: float | None = None


class TrackWriter:
    """An AAC track of an open film, written as far as the picture is, so that neither waits for the other in memory.

    Use as a context manager around the writing of the pictures; the track is made on entering. It ends where the sound
    does, after `longest_s` at latest. Raises BadInputError where the sound can't be read.
    """

    def __init__(self, container: Any, sound: Soundtrack, longest_s: float) -> None:
        self._container, self._sound, self._longest_s = container, sound, longest_s

    def __enter__(self) -> TrackWriter:
        import av

        self._reader = AudioReader(self._sound.path)
        try:
            self._rate = self._reader.rate_hz
            self._layout = "mono" if self._reader.num_channels == 1 else "stereo"
            rate = self._rate if self._rate in _RATES_HZ else _RATES_HZ[1]
            self._stream = self._container.add_stream("aac", rate=rate, layout=self._layout)
            self._stream.bit_rate = _BITS_PER_S
            self._convert = av.AudioResampler(format="fltp", layout=self._layout, rate=rate)
            self._blocks: Iterator[NDArray[np.float32]] = self._reader.blocks(self._sound.start_s, self._sound.end_s)
            self._written, self._limit = 0, round(self._longest_s * self._rate)
        except BaseException:
            self._reader.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def write_until(self, seconds: float) -> None:
        """Write the sound up to this time of the film, and at most a block more."""
        while self._written < min(seconds * self._rate, self._limit):
            block = next(self._blocks, None)
            if block is None:
                return
            block = block[: self._limit - self._written]
            self._encode(self._frame(block))
            self._written += len(block)

    def finish(self) -> None:
        """Write what remains, and what the encoder holds back."""
        self.write_until(self._longest_s)
        self._encode(None)
        self._container.mux(self._stream.encode(None))

    def is_longer(self) -> bool:
        """Whether sound is left that was not written."""
        return next(self._blocks, None) is not None

    def _frame(self, block: NDArray[np.float32]) -> Any:
        import av

        loud = np.ascontiguousarray(np.clip(block, -1.0, 1.0).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(loud, format="flt", layout=self._layout)
        frame.sample_rate = self._rate
        frame.pts = self._written
        return frame

    def _encode(self, frame: Any) -> None:
        for part in self._convert.resample(frame):
            self._container.mux(self._stream.encode(part))


def encoded_sound(sound: Soundtrack) -> bytes:
    """The excerpt as an .m4a file, which browsers play and seek to the sample; BadInputError beyond 20 minutes."""
    import av

    target = io.BytesIO()
    try:
        with (
            av.open(target, "w", format="ipod") as container,
            TrackWriter(container, sound, MAX_READ_S) as track,
        ):
            track.finish()
            if track.is_longer():
                raise BadInputError(
                    f"{Path(sound.path).name}: a page holds at most {MAX_READ_S // 60} minutes of sound; "
                    "give a start and an end, or write a film"
                )
    except av.FFmpegError as error:
        raise KinestreamError(f"the sound could not be encoded: {error}") from error
    return target.getvalue()
