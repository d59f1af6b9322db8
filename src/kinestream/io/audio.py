"""Audio files as numbers: mp3, wav, flac, ogg, opus, m4a and what else the bundled decoders read, block by block.

Nothing of the system is needed: PyAV brings its decoders. A file is opened as bytes under a list of audio containers,
so a playlist that calls itself a song opens nothing else. Damaged packets are passed over, as players do.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError

if TYPE_CHECKING:
    import os

__all__ = ["MAX_READ_S", "Audio", "AudioReader", "read_audio"]

# What is held in memory at once; longer songs are read block by block.
MAX_READ_S = 20 * 60
MAX_RATE_HZ = 384_000
MIN_RATE_HZ = 4_000
BLOCK_S = 1.0

_CONTAINERS = (
    "mp3", "wav", "w64", "flac", "ogg", "mov,mp4,m4a,3gp,3g2,mj2", "aac", "aiff", "au", "caf", "matroska,webm", "asf",
    "ac3", "wv", "ape", "amr", "avi", "mpeg", "mpegts", "opus",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Audio:
    """A piece of sound in memory.

    Attributes:
        samples: `[N]` float32, the mean of the channels, full scale 1.
        rate_hz: samples per second, as the file has them.
        channels: `[N, C]` float32 with C 1 or 2, for writing the sound back beside a picture.
        start_s: where in its file it begins.
        name: the file's name.
    """

    samples: NDArray[np.float32]
    rate_hz: int
    channels: NDArray[np.float32]
    start_s: float = 0.0
    name: str = ""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz

    @classmethod
    def from_samples(cls, samples: NDArray[Any], rate_hz: int, name: str = "") -> Audio:
        """Sound from an array `[N]` or `[N, C]` of floats; BadInputError for other shapes, NaN or absurd rates."""
        channels = np.asarray(samples, dtype=np.float32)
        channels = channels[:, None] if channels.ndim == 1 else channels
        if channels.ndim != 2 or channels.shape[1] < 1 or not np.isfinite(channels).all():
            raise BadInputError(f"expected finite samples [N] or [N, C], got shape {np.shape(samples)}")
        _check_rate(rate_hz, name or "samples")
        return cls(channels.mean(axis=1), int(rate_hz), channels[:, :2], name=name)


class AudioReader:
    """A file's sound in blocks of about a second, memory bounded whatever its length.

    Use as a context manager. `rate_hz` and `num_channels` (1, or 2: more are mixed down) hold for all blocks.
    Raises BadInputError where the file is missing, no audio, or cannot be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: IO[bytes] | None = None
        self._container: Any = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        for handle in (self._container, self._file):
            if handle is not None:
                handle.close()

    def _open(self) -> None:
        import av

        if not self.path.is_file():
            raise BadInputError(f"{self.path}: {'not a file' if self.path.exists() else 'no such file'}")
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - closed by `close`
            options = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "none"}
            self._container = av.open(self._file, mode="r", options=options)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise BadInputError(f"{self.path}: {_EXPECTED}; it cannot be opened: {_words(error)}") from None
        if not self._container.streams.audio:
            raise BadInputError(f"{self.path}: {_EXPECTED}; the file has no sound track")
        self._stream = self._container.streams.audio[0]
        self.rate_hz = int(self._stream.rate or 0)
        _check_rate(self.rate_hz, str(self.path))
        self.num_channels = 1 if int(self._stream.codec_context.channels or 1) == 1 else 2

    @property
    def duration_s(self) -> float | None:
        """What the file says of its length; None where it does not."""
        length = self._container.duration
        return None if length is None or length <= 0 else length / 1e6

    def blocks(self, start_s: float = 0.0, end_s: float | None = None) -> Iterator[NDArray[np.float32]]:
        """Blocks `[n, C]` of the samples from `start_s` to `end_s` (None: the end); once a reader.

        Times are counted in decoded samples, so they are exact in files whose index is not. BadInputError where the
        range is none, the sound ends before it begins, or nothing can be decoded.
        """
        if not 0.0 <= start_s < math.inf or (end_s is not None and not start_s < end_s < math.inf):
            raise BadInputError(f"expected 0 <= start < end in seconds, got {start_s} and {end_s}")
        first = round(start_s * self.rate_hz)
        last = None if end_s is None else round(end_s * self.rate_hz)
        given = position = 0
        for block in self._joined(self._decoded()):
            low, position = position, position + len(block)
            kept = block[max(0, first - low) : None if last is None else max(0, last - low)]
            if len(kept):
                given += len(kept)
                yield kept
            if last is not None and position >= last:
                break
        if not given and position:
            raise BadInputError(f"{self.path}: the sound ends at {position / self.rate_hz:.2f} s, before {start_s:g} s")
        if not given:
            raise BadInputError(f"{self.path}: {_EXPECTED}; not one sample of it can be decoded")

    def _decoded(self) -> Iterator[NDArray[np.float32]]:
        import av

        layout = "mono" if self.num_channels == 1 else "stereo"
        convert = av.AudioResampler(format="flt", layout=layout, rate=self.rate_hz)
        for frame in self._frames():
            for part in convert.resample(frame):
                yield self._checked(part.to_ndarray())
        with contextlib.suppress(av.FFmpegError, ValueError):  # the converter never saw a frame
            for part in convert.resample(None):
                yield self._checked(part.to_ndarray())

    def _frames(self) -> Iterator[Any]:
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError, ValueError):
                return  # the file is cut off or damaged from here on: what came before is used
            try:
                yield from packet.decode()
            except (av.FFmpegError, ValueError):
                continue

    def _checked(self, interleaved: NDArray[Any]) -> NDArray[np.float32]:
        block = np.asarray(interleaved, dtype=np.float32).reshape(-1, self.num_channels)
        if not np.isfinite(block).all():
            raise BadInputError(f"{self.path}: the samples hold NaN or infinity; export the sound again")
        return block

    def _joined(self, parts: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Decoders give a few milliseconds at a time; blocks of a second cost less to pass on."""
        waiting: list[NDArray[np.float32]] = []
        count, wanted = 0, int(BLOCK_S * self.rate_hz)
        for part in parts:
            waiting.append(part)
            count += len(part)
            if count >= wanted:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if count:
            yield np.concatenate(waiting)


def read_audio(path: str | os.PathLike[str], *, start_s: float = 0.0, end_s: float | None = None) -> Audio:
    """The sound of a file from `start_s` to `end_s` (None: the end) in memory, at the file's own rate.

    At most 20 minutes; longer sounds are read through `AudioReader`. Raises BadInputError where the file is missing,
    no audio, damaged throughout, or the range is not in it.
    """
    with AudioReader(path) as reader:
        limit = MAX_READ_S * reader.rate_hz
        parts, count = [], 0
        for block in reader.blocks(start_s, end_s):
            parts.append(block)
            count += len(block)
            if count > limit:
                raise BadInputError(
                    f"{path}: more than {MAX_READ_S // 60} minutes at once; give a start and an end, or read it in "
                    "blocks (AudioReader)"
                )
        channels = np.concatenate(parts)
        return Audio(channels.mean(axis=1), reader.rate_hz, channels, start_s, reader.path.name)


_EXPECTED = "expected an audio file (mp3, wav, flac, ogg, m4a)"


def _check_rate(rate_hz: int, where: str) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise BadInputError(f"{where}: expected {MIN_RATE_HZ} to {MAX_RATE_HZ} samples a second, got {rate_hz}")


def _words(error: BaseException) -> str:
    return ascii(f"{getattr(error, 'strerror', None) or error}"[:200])[1:-1]
