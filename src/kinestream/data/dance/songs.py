"""The songs of a dance set: analysed once, kept beside the build, and told apart by how they sound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kinestream.conditioning.music import FEATURE_HZ, MUSIC_SLICES, MUSIC_WIDTH, Beats, MusicStream
from kinestream.data.sources.archive import file_sha256
from kinestream.errors import BadInputError
from kinestream.io.arrays import read_arrays, write_npz
from kinestream.io.audio import AudioReader

SONG_FOLDER = ".songs"
# Raised whenever the same sound would be analysed differently.
SONG_FORMAT = 1
MAX_SONG_S = 3 * 60 * 60
# Two files hold the same song when their timbre over time correlates this much at some shift.
SAME_SONG = 0.6
_SHORTEST_COMMON_S = 20.0
_COMPARED_HZ = 10


@dataclass(frozen=True, eq=False)
class Song:
    """Music features [T, 44] fp32 at 30 Hz of a whole file, its beats and downbeats, and the digest of its bytes."""

    values: NDArray[np.float32]
    beats: Beats
    sha256: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.values) / FEATURE_HZ


def analysed(path: Path, cache: Path) -> Song:
    """The song in a file, from `cache` when the same bytes were analysed before; BadInputError for what is no sound."""
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from None
    kept = cache / f"{digest[:24]}-{SONG_FORMAT}.npz"
    if kept.is_file():
        try:
            arrays = read_arrays(kept, ("values", "beats_s", "downbeats_s", "tempo_bpm"))
            values = np.asarray(arrays["values"], np.float32)
            if values.ndim == 2 and values.shape[1] == MUSIC_WIDTH:
                beats = Beats(
                    np.asarray(arrays["beats_s"], np.float64),
                    np.asarray(arrays["downbeats_s"], np.float64),
                    float(np.asarray(arrays["tempo_bpm"], np.float64)),
                )
                return Song(values, beats, digest)
        except BadInputError:
            pass  # a torn file: the song is analysed again
    song = _analyse(path, digest)
    cache.mkdir(parents=True, exist_ok=True)
    beats = song.beats
    write_npz(
        kept,
        {
            "values": song.values,
            "beats_s": beats.times_s,
            "downbeats_s": beats.downbeats_s,
            "tempo_bpm": beats.tempo_bpm,
        },
    )
    return song


def _analyse(path: Path, digest: str) -> Song:
    with AudioReader(path) as reader:
        stream = MusicStream(reader.rate_hz)
        rows = [stream.push(block.mean(axis=1)) for block in reader.blocks(end_s=MAX_SONG_S)]
        rows.append(stream.finish())
    return Song(torch.cat(rows).numpy(), Beats.of(stream.beats), digest)


def same_songs(songs: Mapping[str, Song]) -> dict[str, str]:
    """Name -> name of the first (in order) that holds the same song, wherever in the files it begins."""
    names = sorted(songs)
    prints = {name: _print_of(songs[name]) for name in names}
    first: dict[str, str] = {}
    for k, name in enumerate(names):
        matches = (other for other in names[:k] if first[other] == other)
        first[name] = next((m for m in matches if likeness(prints[m], prints[name]) >= SAME_SONG), name)
    return first


def _print_of(song: Song) -> NDArray[np.float64]:
    """Chroma and low cepstra at 10 Hz, each of zero mean and unit deviation."""
    columns = np.concatenate((song.values[:, MUSIC_SLICES["chroma"]], song.values[:, MUSIC_SLICES["mfcc"]][:, 1:9]), 1)
    step = FEATURE_HZ // _COMPARED_HZ
    short = columns[: len(columns) // step * step].reshape(-1, step, columns.shape[1]).mean(axis=1).astype(np.float64)
    if len(short) == 0:
        return np.zeros((1, columns.shape[1]))
    short -= short.mean(axis=0)
    return np.asarray(short / np.maximum(short.std(axis=0), 1e-6), dtype=np.float64)


def likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The best correlation over all shifts at which at least twenty seconds (or all of the shorter) overlap."""
    size = 1 << (len(a) + len(b)).bit_length()
    products = np.fft.irfft((np.fft.rfft(a, size, axis=0) * np.conj(np.fft.rfft(b, size, axis=0))).sum(axis=1), size)
    shifts = np.concatenate((np.arange(len(a)), np.arange(-len(b) + 1, 0)))
    scores = np.concatenate((products[: len(a)], products[size - len(b) + 1 :]))
    overlap = np.minimum(len(a), shifts + len(b)) - np.maximum(0, shifts)
    enough = overlap >= min(_SHORTEST_COMMON_S * _COMPARED_HZ, len(a), len(b))
    return float((scores[enough] / (overlap[enough] * a.shape[1])).max(initial=-1.0))


def cut_music(song: Song, first_frame: int, frames: int) -> tuple[NDArray[np.float32], Beats]:
    """Features of `frames` frames from `first_frame` on (30 Hz), and the beats among them in seconds from there.

    Frames beyond the song's end repeat its last row without beats.
    """
    rows = song.values[first_frame : first_frame + frames]
    if len(rows) < frames:
        last = song.values[-1:].copy()
        for name in ("onset_strength", "band_onsets", "beat", "downbeat", "beat_phase", "bar_phase", "tempo"):
            last[:, MUSIC_SLICES[name]] = 0.0
        rows = np.concatenate((rows, np.repeat(last, frames - len(rows), axis=0)))
    start, stop = first_frame / FEATURE_HZ, (first_frame + frames) / FEATURE_HZ
    return rows, Beats(
        _within(song.beats.times_s, start, stop), _within(song.beats.downbeats_s, start, stop), song.beats.tempo_bpm
    )


def _within(times_s: NDArray[np.float64], start: float, stop: float) -> NDArray[np.float64]:
    return np.asarray(times_s[(times_s >= start) & (times_s < stop)] - start, dtype=np.float64)


def other_songs(songs: Mapping[str, Song], group_of: Mapping[str, str], own: str) -> Iterable[Song]:
    """One file of each song that is not the one named `own`, in order."""
    seen: set[str] = {group_of[own]}
    names: Sequence[str] = sorted(songs)
    for name in names:
        if group_of[name] not in seen:
            seen.add(group_of[name])
            yield songs[name]
