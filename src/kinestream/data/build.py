"""Build a training set in the HumanML3D-272 layout from recordings: in parallel, resumable, with a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

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
from kinestream.data.dance.build import DANCE_SOURCES, build_dances
from kinestream.data.journal import Journal
from kinestream.data.layout import MOTION_FOLDER, TEXT_FOLDER, TextLine
from kinestream.data.manifest import Clip, Manifest, Pair
from kinestream.data.processes import chunks, run_in_processes
from kinestream.data.sources import Recording, Reject, TextSource
from kinestream.data.sources.bandai_namco import BandaiNamco
from kinestream.data.sources.cmu import CMU
from kinestream.data.sources.deepmimic import DeepMimic
from kinestream.data.sources.kit_ml import with_kit_ml
from kinestream.data.sources.motions import NAME_PREFIX, OwnMotions
from kinestream.data.splits import MIN_FILES_FOR_TEST, Labelled, assign_file_splits, assign_splits
from kinestream.data.text.build_item import ITEM_FORMAT, BuiltItem, BuiltRecording, build_recordings
from kinestream.data.text.mixing import PREFIX as MIX_PREFIX
from kinestream.data.text.mixing import Judge, make_mixes
from kinestream.data.text.pair_build import PAIR_FORMAT, PairPlan, build_pairs, plan_pairs
from kinestream.errors import BadInputError
from kinestream.features import MOTION272

SOURCES: Mapping[str, TextSource] = {
    source.name: source for source in (BandaiNamco(), DeepMimic(), CMU(), OwnMotions())
}
_PREFIXES = ("BN", "DM", "CMU_", NAME_PREFIX, MIX_PREFIX)
_RECORDINGS_A_TASK = 8
_PAIRS_A_TASK = 32
DEFAULT_PAIRS = 3000
PAIRS_A_CLIP = 10


@dataclass(frozen=True)
class BuildOptions:
    """What to make: captions a recording that the grammar writes, mirrored copies, contextual pairs of the train split
    (a tenth as many of the validation split; None: 3000, at most ten a clip), and the number of processes.

    `tempo_percent` of the train recordings get a copy at another tempo, and `mixes` clips are tried that have the legs
    of one recording and the arms of another.
    """

    captions_per_recording: int = 12
    mirror: bool = True
    pairs: int | None = None
    workers: int = 2
    tempo_percent: int = 0
    mixes: int = 0

    def __post_init__(self) -> None:
        highest = {
            "captions_per_recording": 200,
            "pairs": 1_000_000,
            "workers": 64,
            "tempo_percent": 100,
            "mixes": 100_000,
        }
        for name, high in highest.items():
            low = 1 if name in ("captions_per_recording", "workers") else 0
            if not low <= (getattr(self, name) or 0) <= high:
                raise BadInputError(f"expected {name} from {low} to {high}, got {getattr(self, name)}")

    def parameters(self) -> dict[str, Any]:
        """What decides the result; the number of processes does not."""
        return {k: v for k, v in asdict(self).items() if k != "workers"} | {"item_format": ITEM_FORMAT}


def build(
    inputs: Mapping[str, str | Path],
    output: str | Path,
    options: BuildOptions | None = None,
    *,
    hold_out: str | Path | None = None,
    kit_ml: str | Path | None = None,
    judge: Judge | None = None,
    progress: bool = True,
) -> Manifest:
    """Build the data set at `output` from {source name: folder or .tar archive} and return its manifest.

    `kit_ml` is a file of KIT-ML's captions for CMU's recordings (see `data.sources.kit_ml`). `judge` gives a motion's
    penalties by check and is needed for mixes: a top-level function, as it goes to other processes.

    Dances (DANCE_SOURCES) make a set with music, see `build_dances`, also for `hold_out`, a folder of songs; they
    are not mixed with other sources.
    A second run skips recordings whose source bytes and parameters are unchanged; an interrupted one goes on where it
    stopped. Recordings that cannot be used become rejects with a reason. BadInputError for unknown sources, folders
    without recordings, or when nothing is left to train on.
    """
    options = options or BuildOptions()
    root = Path(output)
    dances = set(inputs) & set(DANCE_SOURCES)
    if options.mixes and judge is None:
        raise BadInputError("mixes are made only where they can be checked: give a judge, or no mixes")
    if kit_ml is not None and "cmu" not in inputs:
        raise BadInputError("KIT-ML's captions describe CMU's recordings: give the source cmu too")
    if dances and dances == set(inputs):
        return build_dances(
            inputs, root, mirror=options.mirror, workers=options.workers, hold_out=hold_out, progress=progress
        )
    if hold_out is not None:
        raise BadInputError("songs can be held out of sets of dances only")
    if not inputs or set(inputs) - set(SOURCES):
        given = ", ".join(inputs) or "none"
        hint = ". Dances and other recordings are built into folders of their own" if dances else ""
        raise BadInputError(f"expected sources out of {', '.join((*SOURCES, *DANCE_SOURCES))}, got {given}{hint}")
    make_folders(root, SET_FOLDERS)
    recordings, rejects, used = find_all(SOURCES, inputs, root, "recordings", progress=progress)
    if kit_ml is not None:
        recordings, unfit = with_kit_ml(recordings, kit_ml)
        rejects += unfit
    built = _build_all(recordings, root, options, progress)
    clips, failed = _clips(recordings, built)
    rejects += failed
    check_trainable(root, clips, rejects, "recordings")
    if all(clip.source == OwnMotions.name and clip.split == "train" for clip in clips):
        raise BadInputError(
            f"{root}: only {clips[0].recording_id} can be used ({len(rejects)} files were rejected), and at least two "
            "are needed: one to train on, one to validate with. Cut it in two, or add another source"
        )
    if judge is not None and options.mixes:
        made, unsound = make_mixes(
            root, clips, options.mixes, options.captions_per_recording, judge, options.workers, progress=progress
        )
        clips += made
        rejects += unsound
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


def _build_all(
    recordings: Sequence[Recording], root: Path, options: BuildOptions, progress: bool
) -> dict[str, BuiltRecording]:
    settings = options.parameters() | {"pairs": 0, "mixes": 0}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    built: dict[str, BuiltRecording] = {}
    with Journal(root / "build.journal.jsonl", digest, BuiltRecording.from_dict) as journal:
        known = journal.known
        tasks = [
            (chunk, {r.name: known.get(r.name) for r in chunk}, root, options)
            for chunk in chunks(recordings, _RECORDINGS_A_TASK)
        ]
        with tqdm(total=len(recordings), desc="recordings", unit="clip", disable=not progress) as bar:
            for results in run_in_processes(_build_task, tasks, options.workers):
                for result in results:
                    built[result.name] = result
                    journal.add(result)
                bar.update(len(results))
    return built


def _build_task(task: tuple[Sequence[Recording], Mapping[str, Any], Path, BuildOptions]) -> list[BuiltRecording]:
    recordings, known, root, options = task
    captions, mirrored, tempo = options.captions_per_recording, options.mirror, options.tempo_percent
    return build_recordings(recordings, known, root, captions, mirrored, tempo, SOURCES)


def _clips(recordings: Sequence[Recording], built: Mapping[str, BuiltRecording]) -> tuple[list[Clip], list[Reject]]:
    good = [r for r in recordings if not built[r.name].reject]
    rejects = [Reject(r.name, r.source, built[r.name].reject) for r in recordings if built[r.name].reject]
    # Source by source, so that another source never moves a recording to another split.
    splits = assign_file_splits([r.name for r in good if r.captions])
    for source in sorted({r.source for r in good}):
        own = [r for r in good if r.source == source and not r.captions]
        splits |= assign_splits([Labelled(r.name, r.content, r.style, r.only_train) for r in own])
    clips = [
        _clip(recording, built[recording.name].sha256, item, splits[recording.name])
        for recording in good
        for item in built[recording.name].items
        # What is held out are recordings as they are.
        if item.tempo == 1.0 or splits[recording.name] == "train"
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
        details=_details(recording, item),
    )


def _details(recording: Recording, item: BuiltItem) -> dict[str, Any]:
    """What else is known of a clip: its tempo where that was changed, how long a caption of its own reaches."""
    details: dict[str, Any] = {} if item.tempo == 1.0 else {"tempo": item.tempo}
    if recording.captions:
        details["longest_caption_s"] = max(_lasts_s(line, item) for line in recording.captions)
    return details


def _lasts_s(line: TextLine, item: BuiltItem) -> float:
    whole = item.frames / MOTION272.fps
    return round(min(line.end_s or whole, whole) - line.start_s, 3)


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
            for chunk in chunks(plans, _PAIRS_A_TASK)
        ]
        for results in run_in_processes(_pair_task, tasks, options.workers):
            for pair in results:
                journal.add(pair)
            pairs += results
            bar.update(len(results))
    return sorted(pairs, key=lambda pair: pair.name)


def _pair_task(task: tuple[Path, Sequence[PairPlan], Mapping[str, Pair]]) -> list[Pair]:
    return build_pairs(*task)


def _notes(clips: Sequence[Clip]) -> tuple[str, ...]:
    labelled = [clip for clip in clips if clip.source != OwnMotions.name and not clip.made]
    own = [clip for clip in clips if clip.source == OwnMotions.name and not clip.mirrored]
    few = sorted({c.content for c in labelled} - {c.content for c in labelled if c.split == "test"})
    counts = {content: sum(c.content == content and not c.mirrored for c in labelled) for content in few}
    notes = ["Splits are by recording; mirrored copies (names M_...) are in the split of their recording."]
    if few:
        listed = ", ".join(f"{content} ({count})" for content, count in counts.items())
        notes.append(f"Few-shot contents that are only in train (number of recordings): {listed}.")
    if any(clip.made for clip in clips):
        notes.append("Clips with `base` or `tempo` in their details are made from recordings of the train split.")
    if own:
        of_split = {split: sum(clip.split == split for clip in own) for split in ("train", "val", "test")}
        listed = ", ".join(f"{count} in {split}" for split, count in of_split.items())
        notes.append(f"Own motions, whole files by the SHA-256 of their names: {listed}.")
        if not of_split["test"]:
            notes.append(f"Too few own motions for a test split: {MIN_FILES_FOR_TEST} are needed.")
    return tuple(notes)
