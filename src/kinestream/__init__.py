"""kinestream: streaming 3D human motion from sentences and music.

    import kinestream

    motion = kinestream.generate(["walks forward", "waves"], seed=7)
    kinestream.write_motion(motion, "walk.glb")
    kinestream.write_motion(kinestream.dance("song.mp3", genre="waltz"), "waltz.glb")

Names are loaded when they are first used, so that `import kinestream` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from kinestream.checkpoints import load_music_to_dance, load_text_to_motion
    from kinestream.errors import BadInputError, KinestreamError
    from kinestream.io import read_motion, write_motion
    from kinestream.motion import Motion
    from kinestream.skeleton import Skeleton, smpl22
    from kinestream.skeleton.retarget import retarget
    from kinestream.streaming import DanceEngine, DanceSession, Engine, Scheduler, Session

__version__ = "0.1.0"

_HOMES = {
    "BadInputError": "kinestream.errors",
    "DanceEngine": "kinestream.streaming",
    "DanceSession": "kinestream.streaming",
    "Engine": "kinestream.streaming",
    "KinestreamError": "kinestream.errors",
    "Motion": "kinestream.motion",
    "Scheduler": "kinestream.streaming",
    "Session": "kinestream.streaming",
    "Skeleton": "kinestream.skeleton",
    "load_music_to_dance": "kinestream.checkpoints",
    "load_text_to_motion": "kinestream.checkpoints",
    "read_motion": "kinestream.io",
    "retarget": "kinestream.skeleton.retarget",
    "smpl22": "kinestream.skeleton",
    "write_motion": "kinestream.io",
}

__all__ = [
    "BadInputError",
    "DanceEngine",
    "DanceSession",
    "Engine",
    "KinestreamError",
    "Motion",
    "Scheduler",
    "Session",
    "Skeleton",
    "dance",
    "generate",
    "load_music_to_dance",
    "load_text_to_motion",
    "read_motion",
    "restore",
    "retarget",
    "smpl22",
    "write_motion",
]


def generate(
    prompts: str | Sequence[str],
    *,
    seconds: float | Sequence[float | None] | None = None,
    seed: int = 0,
    guidance: float | None = None,
    model: str | Path | None = None,
) -> Motion:
    """One motion that acts the prompts one after the other, on SMPL-22 at 30 fps, from the origin facing +Z.

    `seconds` is how long each prompt lasts (None: until the model ends it), `model` a folder in place of the packaged
    one. The same seed gives the same motion. `kinestream.streaming.text.generate` makes several samples at once. Raises
    BadInputError for prompts, durations or a model folder that cannot be used.
    """
    from kinestream.checkpoints import load_text_to_motion
    from kinestream.streaming import generate as generate_samples

    return generate_samples(load_text_to_motion(model), prompts, seconds, seed, guidance)[0]


def dance(
    song: str | os.PathLike[str],
    *,
    genre: str | None = None,
    seed: int = 0,
    start_s: float = 0.0,
    end_s: float | None = None,
    references: Sequence[Motion] | None = None,
    model: str | Path | None = None,
) -> Motion:
    """A dance to a sound file, on SMPL-22 at 30 fps: frame k at k / 30 s after `start_s`, from the origin facing +Z.

    `genre` is one of the model's (None: what the music suggests), `end_s` where to end (None: with the song),
    `references` are motions to take after, best first, `model` a folder in place of the packaged one. The same seed
    gives the same dance. `kinestream.streaming.generate_dance` takes sound in memory, too. Raises BadInputError for a
    song, times, a genre, references or a model folder that cannot be used.
    """
    from kinestream.checkpoints import load_music_to_dance
    from kinestream.streaming import generate_dance

    return generate_dance(
        song, load_music_to_dance(model), genre=genre, seed=seed, start_s=start_s, end_s=end_s, references=references
    )


def restore(
    motion: Motion,
    stages: Sequence[str] = ("feet", "smooth"),
    *,
    everything: bool = False,
    seed: int = 0,
    model: str | Path | None = None,
) -> Motion:
    """A take mended where it is wrong: skating feet, jitter, a body in the floor or above it. Any human skeleton.

    `stages` out of "physics" (needs the extra `physics`), "feet" and "smooth". Frames in which nothing is wrong come
    back to the bit, unless `everything` is set; `model` is a foot-restoration folder in place of the packaged one.
    `kinestream.restoration.restore_motion` says what was found and done, too. Raises BadInputError for unknown stages,
    a model folder that cannot be used, and skeletons that are no human body's.
    """
    from kinestream.restoration import restore_motion

    options = {"feet": {"seed": seed, "model": model}}
    return restore_motion(motion, stages, everything=everything, options=options).motion


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kinestream' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
