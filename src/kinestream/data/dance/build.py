"""Build a dance set: motions in step with their songs, music features beside them, splits by song."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinestream.conditioning.music import MUSIC_WIDTH
from kinestream.data.build_steps import (
    SET_FOLDERS,
    check_trainable,
    find_all,
    make_folders,
    remove_leftovers,
    source_entry,
    write_splits,
    write_statistics,
)
from kinestream.data.dance.item import DANCE_FORMAT, MUSIC_FOLDER, BuiltDance, DanceTask, build_dance
from kinestream.data.dance.songs import SONG_FOLDER, SONG_FORMAT, Song, analysed, same_songs
from kinestream.data.journal import Journal
from kinestream.data.layout import MOTION_FOLDER, TEXT_FOLDER
from kinestream.data.manifest import Clip, Manifest
from kinestream.data.processes import run_in_processes
from kinestream.data.sources.aistpp import Aistpp
from kinestream.data.sources.dance_recording import DanceRecording, DanceSource, audio_named, genre_named
from kinestream.data.sources.dance_with_melody import DanceWithMelody
from kinestream.data.sources.finedance import FineDance
from kinestream.data.sources.infinitedance import InfiniteDance
from kinestream.data.sources.recording import Reject
from kinestream.data.splits import MIN_CONTENT_FOR_TEST, Labelled, assign_splits
from kinestream.errors import BadInputError

DANCE_SOURCES: Mapping[str, DanceSource] = {
    source.name: source for source in (DanceWithMelody(), Aistpp(), FineDance(), InfiniteDance())
}
_PREFIXES = ("DWM_", "AIST_", "FD_", "ID_")
# So many other songs stand as the control of an alignment.
MAX_OTHER_SONGS = 40


def build_dances(
    inputs: Mapping[str, str | Path],
    output: str | Path,
    *,
    mirror: bool = True,
    workers: int = 2,
    hold_out: str | Path | None = None,
    progress: bool = True,
) -> Manifest:
    """Build a dance set at `output` from {source name: folder or .tar archive} and return its manifest.

    The layout is the text sets' (motion_data, texts, split, mean_std, manifest.json) with music/NAME.npz beside: what
    the music has in the same frames (`features` [T, 44] at 30 Hz, `beats_s`, `downbeats_s`, `tempo_bpm`). Dances
    without a song have no music file. Songs are in one split only; those that sound like a file in the folder
    `hold_out` are in test. A second run does what has changed. BadInputError for unknown sources, folders without
    dances, or when nothing is left to train on.
    """
    root = Path(output)
    if not inputs or set(inputs) - set(DANCE_SOURCES):
        raise BadInputError(f"expected dance sources out of {', '.join(DANCE_SOURCES)}, got {', '.join(inputs)}")
    make_folders(root, (*SET_FOLDERS, MUSIC_FOLDER, SONG_FOLDER))
    recordings, rejects, used = find_all(DANCE_SOURCES, inputs, root, "dances", progress=progress)
    kept_back = [] if hold_out is None else _audio_files(Path(hold_out))
    recordings, failed, held = _with_songs(recordings, root, workers, kept_back, progress)
    rejects += failed
    built = _build_all(recordings, root, mirror, workers, progress)
    rejects += [Reject(r.name, r.source, built[r.name].reject) for r in recordings if built[r.name].reject]
    good = [r for r in recordings if not built[r.name].reject]
    clips = _clips(good, built, held)
    check_trainable(root, clips, rejects, "dances")
    write_splits(root, clips)
    write_statistics(root, clips)
    remove_leftovers(root, (MOTION_FOLDER, TEXT_FOLDER, MUSIC_FOLDER), {clip.name for clip in clips}, _PREFIXES)
    manifest = Manifest(
        sources={
            name: source_entry(DANCE_SOURCES[name], given, clips, rejects) | _dance_entry(name, clips)
            for name, given in used.items()
        },
        parameters=_parameters(mirror),
        clips=tuple(clips),
        rejects=tuple(asdict(reject) for reject in rejects),
        notes=_notes(clips),
    )
    manifest.save(root)
    return manifest


def _parameters(mirror: bool) -> dict[str, Any]:
    formats = {"dance_format": DANCE_FORMAT, "song_format": SONG_FORMAT, "music_width": MUSIC_WIDTH}
    return {"mirror": mirror} | formats


def _audio_files(folder: Path) -> list[Path]:
    found = sorted(audio_named(folder).values()) if folder.is_dir() else []
    if not found:
        raise BadInputError(f"{folder}: expected a folder with the songs to hold out, found no audio file")
    return found


def _analyse_task(task: tuple[Path, Path]) -> tuple[Path, str]:
    path, cache = task
    try:
        analysed(path, cache)
    except BadInputError as error:
        return path, str(error).replace(str(path), path.name)
    return path, ""


def _with_songs(
    recordings: Sequence[DanceRecording],
    root: Path,
    workers: int,
    kept_back: Sequence[Path],
    progress: bool,
) -> tuple[list[DanceRecording], list[Reject], frozenset[str]]:
    """Analyse the songs, give those that sound the same one name, and set aside dances whose song cannot be read.

    Also gives the names of the songs that sound like one of the files `kept_back`.
    """
    paths = sorted({*kept_back, *(recording.audio for recording in recordings if recording.audio is not None)})
    reasons: dict[Path, str] = {}
    cache = root / SONG_FOLDER
    with tqdm(total=len(paths), desc="songs", unit="song", disable=not progress) as bar:
        for path, reason in run_in_processes(_analyse_task, [(path, cache) for path in paths], workers):
            reasons[path] = reason
            bar.update()
    songs: dict[str, Song] = {}
    for recording in recordings:
        if recording.audio is not None and not reasons[recording.audio] and recording.song not in songs:
            songs[recording.song] = analysed(recording.audio, cache)
    for path in kept_back:
        if reasons[path]:
            raise BadInputError(f"a song to hold out cannot be used: {reasons[path]}")
    # Their names sort after all others, so that songs keep their own.
    first = same_songs(songs | {f"~{path}": analysed(path, cache) for path in kept_back})
    held = frozenset(first[f"~{path}"] for path in kept_back)
    kept, rejects = [], []
    for recording in recordings:
        reason = "" if recording.audio is None else reasons[recording.audio]
        if reason:
            rejects.append(Reject(recording.name, recording.source, f"its song cannot be used: {reason}"))
        else:
            kept.append(replace(recording, song=first.get(recording.song, recording.song)))
    return kept, rejects, held


def _build_all(
    recordings: Sequence[DanceRecording], root: Path, mirror: bool, workers: int, progress: bool
) -> dict[str, BuiltDance]:
    digest = hashlib.sha256(json.dumps(_parameters(mirror), sort_keys=True).encode()).hexdigest()
    one_file = {r.song: r.audio for r in reversed(recordings) if r.audio is not None}
    built: dict[str, BuiltDance] = {}
    with (
        Journal(root / "build.journal.jsonl", digest, BuiltDance.from_dict) as journal,
        tqdm(total=len(recordings), desc="dances", unit="dance", disable=not progress) as bar,
    ):
        tasks = [
            DanceTask(
                recording=recording,
                source=DANCE_SOURCES[recording.source],
                root=root,
                mirror=mirror,
                others=_others(recording, one_file),
                known=journal.known.get(recording.name),
            )
            for recording in recordings
        ]
        for result in run_in_processes(build_dance, tasks, workers):
            built[result.name] = result
            journal.add(result)
            bar.update()
    return built


def _others(recording: DanceRecording, one_file: Mapping[str, Path]) -> tuple[Path, ...]:
    """Other songs' files for the control, the same for every build of the same songs."""
    if recording.audio is None or not DANCE_SOURCES[recording.source].drifts:
        return ()
    return tuple(one_file[song] for song in sorted(one_file) if song != recording.song)[:MAX_OTHER_SONGS]


def _clips(recordings: Sequence[DanceRecording], built: Mapping[str, BuiltDance], held: frozenset[str]) -> list[Clip]:
    splits = song_splits(recordings, held)
    return [
        Clip(
            name=item.name,
            source=recording.source,
            content=recording.genre,
            style=genre_named(recording.genre).group,
            source_content=recording.genre,
            source_style=genre_named(recording.genre).group,
            recording=recording.name,
            recording_id=recording.recording_id,
            split=splits[recording.name],
            frames=item.frames,
            captions=item.captions,
            mirrored=item.mirrored,
            sha256=built[recording.name].sha256,
            song=recording.song,
            music=built[recording.name].music,
            details=built[recording.name].details,
        )
        for recording in recordings
        for item in built[recording.name].items
    ]


def song_splits(recordings: Sequence[DanceRecording], held: frozenset[str] = frozenset()) -> dict[str, str]:
    """Recording name -> split. A song's dances stay together; a dataset's own split holds where it has one.

    Songs in `held` are in test. Else the song's name decides within its genre (see `assign_splits`), but a genre of
    few songs, one of which is held out, gives no more. Dances without a song are in train.
    """
    own = dict.fromkeys(held, "test")
    for recording in recordings:
        if recording.split:
            # Where a dataset puts one song into two splits, testing wins: nothing tested may have been trained.
            order = {"train": 0, "val": 1, "test": 2}
            own[recording.song] = max(own.get(recording.song, "train"), recording.split, key=lambda s: order[s])
    heard = {r.song for r in recordings if r.audio is not None}
    free = {r.song: r.genre for r in recordings if r.song and r.song not in own}
    spent = {r.genre for r in recordings if r.song in held}
    count = Counter(free.values())
    labelled = [
        Labelled(song, genre, "", song not in heard or (genre in spent and count[genre] < MIN_CONTENT_FOR_TEST))
        for song, genre in sorted(free.items())
    ]
    assigned = assign_splits(labelled)
    return {r.name: own.get(r.song) or assigned.get(r.song) or r.split or "train" for r in recordings}


def _dance_entry(source: str, clips: Sequence[Clip]) -> dict[str, Any]:
    """Songs of a source, and means over its dances of the residual and of the alignment's gain over other songs, where
    they were measured."""
    own = [clip for clip in clips if clip.source == source and not clip.mirrored]
    entry: dict[str, Any] = {
        "with_music": sum(clip.music for clip in own),
        "songs": len({clip.song for clip in own if clip.music}),
    }
    residuals = [clip.details["residual_mm"]["mean"] for clip in own if "residual_mm" in clip.details]
    if residuals:
        entry["residual_mm"] = {"mean": round(float(np.mean(residuals)), 1), "largest": max(residuals)}
    fits = [clip.details["alignment"] for clip in own if "alignment" in clip.details]
    if fits:
        gains = np.array([fit["gain"] for fit in fits])
        spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
        entry["alignment"] = {
            "dances": len(fits),
            "median_scale": round(float(np.median([fit["scale"] for fit in fits])), 4),
            "mean_score": round(float(np.mean([fit["score"] for fit in fits])), 4),
            "mean_gain": round(float(gains.mean()), 4),
            "gain_standard_error": round(spread / max(len(gains), 1) ** 0.5, 4),
            "gains_above_zero": int((gains > 0).sum()),
            "own_song_best": sum(fit["rank"] == 1 for fit in fits),
        }
    return entry


def _notes(clips: Sequence[Clip]) -> tuple[str, ...]:
    tested = {clip.song for clip in clips if clip.split == "test"}
    missing = sorted({c.content for c in clips} - {c.content for c in clips if c.split == "test"})
    notes = [
        "Splits are by song: no song of the test split is in another; mirrored copies (M_...) go with their recording.",
        f"Songs in test: {', '.join(sorted(tested)) or 'none'}.",
    ]
    if missing:
        notes.append(f"Genres with too few songs to test: {', '.join(missing)}.")
    return tuple(notes)
