"""One dance of a build: its clock fitted to its song, on SMPL-22 at 30 fps, with the music beside it; and mirrored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinestream.conditioning.music import FEATURE_HZ
from kinestream.data.dance.floor import on_level_floor
from kinestream.data.dance.music_alignment import EXPECTED_SCALE, align, movement_curve, music_curve
from kinestream.data.dance.songs import SONG_FOLDER, Song, analysed, cut_music
from kinestream.data.layout import (
    MOTION_FOLDER,
    TEXT_FOLDER,
    TextLine,
    has_features,
    safe_name,
    write_features,
    write_text_lines,
)
from kinestream.data.prepare import checked_features, smpl22_motion
from kinestream.data.sources.archive import file_sha256
from kinestream.data.sources.dance_recording import DanceRecording, DanceSource, genre_named
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.io.arrays import write_npz
from kinestream.motion import Motion, mirror
from kinestream.rotations import quat_slerp
from kinestream.skeleton import smpl22
from kinestream.skeleton.retarget import retarget

MUSIC_FOLDER = "music"
# Raised whenever the same recording would be built differently.
DANCE_FORMAT = 3


@dataclass(frozen=True)
class BuiltClip:
    """One written clip."""

    name: str
    frames: int
    captions: int
    mirrored: bool


@dataclass(frozen=True)
class BuiltDance:
    """What became of a dance: its clips and facts, or the reason why it is rejected (else "").

    `inputs` is a digest of all that it was made from.
    """

    name: str
    sha256: str
    inputs: str
    items: tuple[BuiltClip, ...] = ()
    music: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    reject: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BuiltDance:
        """From `to_dict`'s values; KeyError or TypeError when they are others."""
        return cls(**{**values, "items": tuple(BuiltClip(**item) for item in values["items"])})


@dataclass(frozen=True)
class DanceTask:
    """One dance to build: `others` are audio files of other songs, for the control of the alignment."""

    recording: DanceRecording
    source: DanceSource
    root: Path
    mirror: bool
    others: tuple[Path, ...]
    known: BuiltDance | None = None


def build_dance(task: DanceTask) -> BuiltDance:
    """Build one dance into its folder, or leave it as it is when nothing that it was made from has changed."""
    recording = task.recording
    digest = _digest_of(recording.path)
    inputs = _inputs(task, digest)
    known = task.known
    if known is not None and known.inputs == inputs and is_complete(known, task.root):
        return known
    try:
        safe_name(recording.name)
        dance = task.source.read(recording)
        motion, song, first, facts = _in_time(task, _on_smpl22(dance.motion))
        details = {**dance.facts, **facts}
        versions = [(motion, False)] + ([(mirror(motion), True)] if task.mirror else [])
        items = tuple(_write(recording, version, flag, task.root, song, first) for version, flag in versions)
    except BadInputError as error:
        reason = str(error)
        for path in (recording.path, recording.audio):
            reason = reason if path is None else reason.replace(str(path), path.name)
        return BuiltDance(recording.name, digest, inputs, reject=reason)
    return BuiltDance(recording.name, digest, inputs, items, song is not None, details)


def is_complete(known: BuiltDance, root: Path) -> bool:
    """Whether all files of a finished dance are there, whole."""
    for item in known.items:
        motion = root / MOTION_FOLDER / f"{item.name}.npy"
        beside = [root / TEXT_FOLDER / f"{item.name}.txt"]
        beside += [root / MUSIC_FOLDER / f"{item.name}.npz"] if known.music else []
        if not has_features(motion, item.frames) or not all(path.is_file() for path in beside):
            return False
    return True


def _inputs(task: DanceTask, motion_digest: str) -> str:
    recording = task.recording
    audio = [] if recording.audio is None else [_digest_of(recording.audio)]
    others = [_digest_of(path) for path in task.others]
    parts = [motion_digest, audio, recording.genre, recording.music_start_s, others, task.mirror, DANCE_FORMAT]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@lru_cache(maxsize=4096)
def _digest_of(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return ""


@lru_cache(maxsize=256)
def _music_curve(path: Path, cache: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    return music_curve(analysed(path, cache).values)


def _on_smpl22(motion: Motion) -> Motion:
    if motion.skeleton is smpl22():
        return motion
    moved, _ = retarget(motion, smpl22())
    return moved


def _in_time(task: DanceTask, motion: Motion) -> tuple[Motion, Song | None, int, dict[str, Any]]:
    """The motion at 30 fps in step with its song's frames, the song, its first frame in the song, and facts."""
    recording = task.recording
    cache = task.root / SONG_FOLDER
    song = None if recording.audio is None else analysed(recording.audio, cache)
    scale, start = (EXPECTED_SCALE if task.source.drifts else 1.0), recording.music_start_s
    facts: dict[str, Any] = {}
    if song is not None and task.source.drifts:
        curve = movement_curve(motion.joint_positions_m(), motion.fps)
        others = [_music_curve(path, cache) for path in task.others]
        fit = align(curve, motion.fps, music_curve(song.values), start, others)
        scale, start, facts = fit.scale, start + fit.offset_s, {"alignment": fit.to_dict()}
    first = max(math.ceil(start * FEATURE_HZ - 1e-6), 0)
    skipped = first / FEATURE_HZ - start
    last = (motion.num_frames - 1) / motion.fps * scale - skipped
    count = math.floor(last * FEATURE_HZ + 1e-6) + 1
    if song is not None:
        count = min(count, len(song.values) - first)
    if count < 2:
        raise BadInputError(f"{recording.name}: the dance lies outside its song ({start:.1f} s on)")
    seconds = (skipped + torch.arange(count, dtype=torch.float64) / FEATURE_HZ) / scale
    moved = (
        on_level_floor(sampled(motion, seconds * motion.fps, MOTION272.fps))
        if task.source.drifts
        else sampled(motion, seconds * motion.fps, MOTION272.fps)
    )
    facts["first_song_frame"] = first
    return smpl22_motion(moved), song, first, facts


def sampled(motion: Motion, frames: torch.Tensor, fps: float) -> Motion:
    """The motion at fractional frame numbers [N], as a motion of `fps`: slerp of rotations, linear positions."""
    where = frames.clamp(0.0, motion.num_frames - 1.0)
    low = where.floor().long()
    high = (low + 1).clamp(max=motion.num_frames - 1)
    share = (where - low).float()
    return replace(
        motion,
        local_rotations=quat_slerp(motion.local_rotations[low], motion.local_rotations[high], share[:, None]),
        root_position_m=torch.lerp(motion.root_position_m[low], motion.root_position_m[high], share[:, None]),
        fps=fps,
    )


def _write(
    recording: DanceRecording, motion: Motion, mirrored: bool, root: Path, song: Song | None, first: int
) -> BuiltClip:
    name = f"M_{recording.name}" if mirrored else recording.name
    features = checked_features(motion)
    write_features(root / MOTION_FOLDER / f"{name}.npy", features)
    if song is not None:
        rows, beats = cut_music(song, first, len(features))
        arrays: dict[str, Any] = {"features": rows, "beats_s": beats.times_s, "downbeats_s": beats.downbeats_s}
        write_npz(root / MUSIC_FOLDER / f"{name}.npz", arrays | {"tempo_bpm": beats.tempo_bpm})
    lines = captions(recording.genre)
    write_text_lines(root / TEXT_FOLDER / f"{name}.txt", map(TextLine, lines))
    return BuiltClip(name, len(features), len(lines), mirrored)


def captions(genre: str) -> Sequence[str]:
    """Sentences that name the genre, so that dances can stand among texts."""
    name = genre_named(genre).name.replace("-mix", "").replace("unknown", "").replace("-", " ").strip()
    kind = f"{name} " if name else ""
    return (f"a person dances {name}".strip(), f"a {kind}dance", f"someone performs a {kind}dance to music")
