"""Build a training set in the HumanML3D-272 layout from recordings: in parallel, resumable, with a manifest."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from kinestream.data.journal import Journal
from kinestream.data.layout import (
    MOTION_FOLDER,
    SPLIT_FOLDER,
    STATISTICS_FOLDERS,
    TEXT_FOLDER,
    TextLine,
    read_features,
)
from kinestream.data.manifest import Clip, Manifest, Pair
from kinestream.data.sources import Recording, Reject, Source
from kinestream.data.sources.archive import dataset_folder
from kinestream.data.sources.bandai_namco import BandaiNamco
from kinestream.data.sources.dance_recording import DanceSource
from kinestream.data.sources.deepmimic import DeepMimic
from kinestream.data.sources.motions import NAME_PREFIX, OwnMotions
from kinestream.data.splits import MIN_FILES_FOR_TEST, Labelled, assign_file_splits, assign_splits
from kinestream.data.text.build_item import ITEM_FORMAT, BuiltItem, BuiltRecording, build_recordings
from kinestream.data.text.pair_build import PAIR_FORMAT, PairPlan, build_pairs, plan_pairs
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.io.atomic import atomic_path

SOURCES: Mapping[str, Source] = {source.name: source for source in (BandaiNamco(), DeepMimic(), OwnMotions())}
# Importers of dances, which are built by `data.dance.build` into folders of their own.
DANCE_SOURCE_NAMES = ("dance-with-melody", "aistpp", "finedance", "infinitedance")
CACHE_FOLDER = ".sources"
_PREFIXES = ("BN", "DM", NAME_PREFIX)
_RECORDINGS_A_TASK = 8
_PAIRS_A_TASK = 32
DEFAULT_PAIRS = 3000
PAIRS_A_CLIP = 10

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class BuildOptions:
    """What to make: captions a recording that the grammar writes, mirrored copies, contextual pairs of the train split
    (a tenth as many of the validation split; None: 3000, at most ten a clip), and the number of processes."""

    captions_per_recording: int = 12
    mirror: bool = True
    pairs: int | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        ranges = ((1, self.captions_per_recording, 200), (0, self.pairs or 0, 1_000_000), (1, self.workers, 64))
        if not all(low <= value <= high for low, value, high in ranges):
            raise BadInputError(
                "expected 1 to 200 captions a recording, 0 to 1000000 pairs and 1 to 64 workers, got "
                f"{self.captions_per_recording}, {self.pairs} and {self.workers}"
            )

    def parameters(self) -> dict[str, Any]:
        """What decides the result; the number of processes does not."""
        return {k: v for k, v in asdict(self).items() if k != "workers"} | {"item_format": ITEM_FORMAT}


def build(
    inputs: Mapping[str, str | Path],
    output: str | Path,
    options: BuildOptions | None = None,
    *,
    hold_out: str | Path | None = None,
    progress: bool = True,
) -> Manifest:
    """Build the data set at `output` from {source name: folder or .tar archive} and return its manifest.

    Dances (DANCE_SOURCE_NAMES) make a set with music, see `build_dances`, also for `hold_out`, a folder of songs; they
    are not mixed with other sources.
    A second run skips recordings whose source bytes and parameters are unchanged; an interrupted one goes on where it
    stopped. Recordings that cannot be used become rejects with a reason. BadInputError for unknown sources, folders
    without recordings, or when nothing is left to train on.
    """
    options = options or BuildOptions()
    root = Path(output)
    dances = set(inputs) & set(DANCE_SOURCE_NAMES)
    if dances and dances == set(inputs):
        from kinestream.data.dance.build import build_dances

        return build_dances(inputs, root, options, hold_out=hold_out, progress=progress)
    if hold_out is not None:
        raise BadInputError("songs can be held out of sets of dances only")
    if not inputs or set(inputs) - set(SOURCES):
        given = ", ".join(inputs) or "none"
        hint = ". Dances and other recordings are built into folders of their own" if dances else ""
        raise BadInputError(f"expected sources out of {', '.join((*SOURCES, *DANCE_SOURCE_NAMES))}, got {given}{hint}")
    try:
        for folder in (MOTION_FOLDER, TEXT_FOLDER, SPLIT_FOLDER, STATISTICS_FOLDERS[0]):
            (root / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"cannot make the output folder {root}: {error}") from None
    recordings, rejects, used = _find_all(inputs, root, progress)
    built = _build_all(recordings, root, options, progress)
    clips, failed = _clips(recordings, built)
    rejects += failed
    if not any(clip.split == "train" for clip in clips):
        first = f"{rejects[0].name}: {rejects[0].reason}" if rejects else "none"
        raise BadInputError(f"{root}: nothing to train on; {len(rejects)} recordings were rejected; the first: {first}")
    if all(clip.source == OwnMotions.name and clip.split == "train" for clip in clips):
        raise BadInputError(
            f"{root}: only {clips[0].recording_id} can be used ({len(rejects)} files were rejected), and at least two "
            "are needed: one to train on, one to validate with. Cut it in two, or add another source"
        )
    write_splits(root, clips)
    write_statistics(root, clips)
    pairs = _make_pairs(root, clips, options, progress)
    remove_leftovers(root, (MOTION_FOLDER, TEXT_FOLDER), {clip.name for clip in clips}, _PREFIXES)
    for split in ("train", "val"):
        remove_leftovers(root, (f"{split}_stream", f"{split}_stream_text"), {pair.name for pair in pairs}, ("pair_",))
    manifest = Manifest(
        sources={name: source_entry(SOURCES[name], given, clips, rejects) for name, given in used.items()},
        parameters=options.parameters(),
        clips=tuple(clips),
        pairs=tuple(pairs),
        rejects=tuple(asdict(reject) for reject in rejects),
        notes=_notes(clips),
    )
    manifest.save(root)
    return manifest


def _find_all(
    inputs: Mapping[str, str | Path], root: Path, progress: bool
) -> tuple[list[Recording], list[Reject], dict[str, str]]:
    recordings: list[Recording] = []
    rejects: list[Reject] = []
    used = {}
    for name, path in inputs.items():
        folder = dataset_folder(Path(path), root / CACHE_FOLDER, progress=progress)
        listing = SOURCES[name].find(folder)
        recordings += listing.recordings
        rejects += listing.rejects
        used[name] = Path(path).name
    names = [recording.name for recording in recordings]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:3]
        raise BadInputError(f"the sources hold recordings twice: {', '.join(twice)}; give each folder once")
    return recordings, rejects, used


def _build_all(
    recordings: Sequence[Recording], root: Path, options: BuildOptions, progress: bool
) -> dict[str, BuiltRecording]:
    digest = hashlib.sha256(json.dumps(options.parameters() | {"pairs": 0}, sort_keys=True).encode()).hexdigest()
    built: dict[str, BuiltRecording] = {}
    with Journal(root / "build.journal.jsonl", digest, BuiltRecording.from_dict) as journal:
        known = journal.known
        tasks = [
            (chunk, {r.name: known.get(r.name) for r in chunk}, root, options.captions_per_recording, options.mirror)
            for chunk in _chunks(recordings, _RECORDINGS_A_TASK)
        ]
        with tqdm(total=len(recordings), desc="recordings", unit="clip", disable=not progress) as bar:
            for results in run_in_processes(_build_task, tasks, options.workers):
                for result in results:
                    built[result.name] = result
                    journal.add(result)
                bar.update(len(results))
    return built


def _build_task(task: tuple[Sequence[Recording], Mapping[str, Any], Path, int, bool]) -> list[BuiltRecording]:
    recordings, known, root, captions, mirrored = task
    return build_recordings(recordings, known, root, captions, mirrored, SOURCES)


def run_in_processes(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Results as they come; one process works in place. An error or Ctrl-C drops the tasks that have not begun."""
    if workers == 1 or len(tasks) <= 1:
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        waiting: set[Future[Result]] = {pool.submit(work, task) for task in tasks}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    """One thread a process, and no process that outlives the one that asked for the work."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def _exit_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _chunks(items: Sequence[Task], size: int) -> list[Sequence[Task]]:
    return [items[k : k + size] for k in range(0, len(items), size)]


def _clips(recordings: Sequence[Recording], built: Mapping[str, BuiltRecording]) -> tuple[list[Clip], list[Reject]]:
    good = [r for r in recordings if not built[r.name].reject]
    rejects = [Reject(r.name, r.source, built[r.name].reject) for r in recordings if built[r.name].reject]
    splits = assign_splits([Labelled(r.name, r.content, r.style, r.only_train) for r in good if not r.captions])
    splits |= assign_file_splits([r.name for r in good if r.captions])
    clips = [
        _clip(recording, built[recording.name].sha256, item, splits[recording.name])
        for recording in good
        for item in built[recording.name].items
    ]
    return clips, rejects


def _clip(recording: Recording, sha256: str, item: BuiltItem, split: str) -> Clip:
    return Clip(
        name=item.name,
        source=recording.source,
        content=item.content,
        style=recording.style,
        source_content=recording.source_content,
        source_style=recording.source_style,
        recording=recording.name,
        recording_id=recording.recording_id,
        split=split,
        frames=item.frames,
        captions=item.captions,
        mirrored=item.mirrored,
        sha256=sha256,
        details={"longest_caption_s": max(_lasts_s(line, item) for line in recording.captions)}
        if recording.captions
        else {},
    )


def _lasts_s(line: TextLine, item: BuiltItem) -> float:
    whole = item.frames / MOTION272.fps
    return round(min(line.end_s or whole, whole) - line.start_s, 3)


def write_splits(root: Path, clips: Sequence[Clip]) -> None:
    """Write split/{train,val,test}.txt."""
    for split in ("train", "val", "test"):
        with atomic_path(root / SPLIT_FOLDER / f"{split}.txt") as path:
            path.write_text("".join(f"{clip.name}\n" for clip in clips if clip.split == split), encoding="utf-8")


def write_statistics(root: Path, clips: Sequence[Clip]) -> None:
    """Write mean_std/Mean.npy and Std.npy of the train split's files."""
    names = [clip.name for clip in clips if clip.split == "train"]
    mean, std = grouped_statistics(read_features(root / MOTION_FOLDER / f"{name}.npy", mmap=True) for name in names)
    for name, values in (("Mean", mean), ("Std", std)):
        with atomic_path(root / STATISTICS_FOLDERS[0] / f"{name}.npy") as path:
            np.save(path, values.astype(np.float32))


def grouped_statistics(arrays: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean per column, and the standard deviation averaged over each part of the layout, as published.

    A shared deviation keeps columns that hardly vary (the root's own x and z are always 0) from being blown up.
    """
    count, total, squares = 0, np.zeros(MOTION272.width), np.zeros(MOTION272.width)
    for array in arrays:
        values = array.astype(np.float64)
        count += len(values)
        total += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    if count == 0:
        raise BadInputError("expected at least one clip to take statistics from")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    std = np.empty_like(deviation)
    for part in MOTION272.slices.values():
        std[part] = max(float(deviation[part].mean()), 1e-4)
    return mean, std


def _make_pairs(root: Path, clips: Sequence[Clip], options: BuildOptions, progress: bool) -> list[Pair]:
    plans: list[PairPlan] = []
    most = min(DEFAULT_PAIRS, PAIRS_A_CLIP * sum(clip.split == "train" for clip in clips))
    wanted = most if options.pairs is None else options.pairs
    for split, count in (("train", wanted), ("val", wanted // 10)):
        plans += plan_pairs([clip for clip in clips if clip.split == split], split, count)
    pairs: list[Pair] = []
    with (
        Journal(root / "pairs.journal.jsonl", str(PAIR_FORMAT), Pair.from_dict) as journal,
        tqdm(total=len(plans), desc="contextual pairs", unit="pair", disable=not progress) as bar,
    ):
        known = journal.known
        tasks = [
            (root, chunk, {plan.name: known[plan.name] for plan in chunk if plan.name in known})
            for chunk in _chunks(plans, _PAIRS_A_TASK)
        ]
        for results in run_in_processes(_pair_task, tasks, options.workers):
            for pair in results:
                journal.add(pair)
            pairs += results
            bar.update(len(results))
    return sorted(pairs, key=lambda pair: pair.name)


def _pair_task(task: tuple[Path, Sequence[PairPlan], Mapping[str, Pair]]) -> list[Pair]:
    return build_pairs(*task)


def remove_leftovers(root: Path, folders: Sequence[str], kept: Set[str], prefixes: tuple[str, ...]) -> None:
    """Remove what an earlier build left in `folders` and this one does not have; only names that a build writes."""
    for folder in folders:
        for path in (root / folder).glob("*"):
            if path.stem not in kept and path.stem.removeprefix("M_").startswith(prefixes):
                path.unlink()


def source_entry(
    source: Source | DanceSource, given: str, clips: Sequence[Clip], rejects: Sequence[Reject]
) -> dict[str, Any]:
    """What a manifest says of one source; `given` is the name of the folder or archive."""
    own = [clip for clip in clips if clip.source == source.name and not clip.mirrored]
    return {
        "given": given,
        "licence": source.licence,
        "citation": source.citation,
        "recordings": len(own),
        "hours": round(sum(clip.frames for clip in own) / MOTION272.fps / 3600.0, 3),
        "rejects": sum(reject.source == source.name for reject in rejects),
    }


def _notes(clips: Sequence[Clip]) -> tuple[str, ...]:
    labelled = [clip for clip in clips if clip.source != OwnMotions.name]
    own = [clip for clip in clips if clip.source == OwnMotions.name and not clip.mirrored]
    few = sorted({c.content for c in labelled} - {c.content for c in labelled if c.split == "test"})
    counts = {content: sum(c.content == content and not c.mirrored for c in labelled) for content in few}
    notes = ["Splits are by recording; mirrored copies (names M_...) are in the split of their recording."]
    if few:
        listed = ", ".join(f"{content} ({count})" for content, count in counts.items())
        notes.append(f"Few-shot contents that are only in train (number of recordings): {listed}.")
    if own:
        of_split = {split: sum(clip.split == split for clip in own) for split in ("train", "val", "test")}
        listed = ", ".join(f"{count} in {split}" for split, count in of_split.items())
        notes.append(f"Own motions, whole files by the SHA-256 of their names: {listed}.")
        if not of_split["test"]:
            notes.append(f"Too few own motions for a test split: {MIN_FILES_FOR_TEST} are needed.")
    return tuple(notes)
