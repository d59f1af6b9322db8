"""Whole dances from songs: the dance session, fed until the sound is over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import FEATURE_HZ, MusicFeatures
from kinestream.errors import BadInputError
from kinestream.inference import Mode
from kinestream.io.audio import Audio, AudioReader
from kinestream.motion import Motion, concatenate
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.dance.engine import DanceEngine
from kinestream.streaming.dance.options import DanceOptions, ReferenceSource
from kinestream.streaming.dance.references import NamedReferences
from kinestream.streaming.events import AudioEvent, MusicEvent

MIN_SONG_S = 1.0
_BLOCK_S = 4.0


def generate_dance(
    audio: Audio | MusicFeatures | str | os.PathLike[str],
    model: MusicToDanceModel | DanceEngine,
    *,
    genre: str | None = None,
    seed: int = 0,
    start_s: float = 0.0,
    end_s: float | None = None,
    references: Sequence[Motion] | ReferenceSource | None = None,
    options: DanceOptions | None = None,
    mode: Mode = "exact",
    on_chunk: Callable[[Chunk], None] | None = None,
) -> Motion:
    """Dance to a song: SMPL-22 at 30 fps, frame k at k / 30 s of the sound, from the origin facing +Z on y = 0.

    Args:
        audio: a sound file, read block by block however long it is, sound in memory, or music that is analysed.
        model: a music-to-dance model, or an engine that holds one.
        genre: one of the model's genres; None leaves it to the music.
        seed: the same seed gives the same dance.
        start_s, end_s: the part of the sound to dance to, seconds; None for its end.
        references: motions to take after, best first, or where reference dances come from; None for none.
        options: everything else that can be chosen.
        mode: "exact" or "fast", as of DanceEngine, where there is none yet.
        on_chunk: called with every piece as soon as it is danced.

    Raises:
        BadInputError: the sound can't be read or lasts less than a second, or what DanceEngine and DanceSession raise.
    """
    engine = model if isinstance(model, DanceEngine) else DanceEngine(model, mode=mode)
    source = NamedReferences(engine.model, list(references)) if isinstance(references, Sequence) else references
    session = engine.session(seed, options, genre=genre, references=source)
    parts: list[Motion] = []

    def step() -> None:
        for chunk in session:
            parts.append(chunk.motion)
            if on_chunk is not None:
                on_chunk(chunk)

    def dance(blocks: Iterator[NDArray[np.float32] | Tensor], rate_hz: int, name: str) -> Motion:
        count = 0
        for block in blocks:
            count += len(block)
            session.apply(MusicEvent(block) if isinstance(block, Tensor) else AudioEvent(block, rate_hz))
            step()
        if count < MIN_SONG_S * rate_hz:
            raise BadInputError(
                f"{name or 'the sound'}: expected at least {MIN_SONG_S:g} s of music, got {count / rate_hz:.2f} s"
            )
        session.finish()
        step()
        return replace(concatenate(parts), name=Path(name).stem)

    if isinstance(audio, MusicFeatures):
        return dance(_rows(audio, start_s, end_s), FEATURE_HZ, "")
    if isinstance(audio, Audio):
        return dance(_blocks(audio, start_s, end_s), audio.rate_hz, audio.name)
    with AudioReader(audio) as reader:
        return dance(reader.blocks(start_s, end_s), reader.rate_hz, reader.path.name)


def _check_part(duration_s: float, start_s: float, end_s: float | None) -> None:
    if not 0.0 <= start_s < duration_s or (end_s is not None and not start_s < end_s):
        raise BadInputError(f"expected 0 <= start < end within {duration_s:.2f} s, got {start_s} and {end_s}")


def _rows(music: MusicFeatures, start_s: float, end_s: float | None) -> Iterator[Tensor]:
    _check_part(len(music.values) / FEATURE_HZ, start_s, end_s)
    last = len(music.values) if end_s is None else min(round(end_s * FEATURE_HZ), len(music.values))
    yield music.values[round(start_s * FEATURE_HZ) : last]


def _blocks(audio: Audio, start_s: float, end_s: float | None) -> Iterator[NDArray[np.float32]]:
    _check_part(audio.duration_s, start_s, end_s)
    last = len(audio.samples) if end_s is None else min(round(end_s * audio.rate_hz), len(audio.samples))
    size = round(_BLOCK_S * audio.rate_hz)
    for first in range(round(start_s * audio.rate_hz), last, size):
        yield audio.samples[first : min(first + size, last)]
