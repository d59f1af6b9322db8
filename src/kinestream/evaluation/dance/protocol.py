"""Protocol "dance": dances to songs that the model never heard, in time, by their physics, and as a set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.checkpoints.retrieval import MusicDanceRetrieval
from kinestream.conditioning.music import MUSIC_SLICES
from kinestream.evaluation.dance.beats import InTime, beat_figures, heard_windows, in_time, shift_curves
from kinestream.evaluation.dance.clicks import click_track
from kinestream.evaluation.dance.generation import Danced, DanceStudio, dance_wishes, model_digest
from kinestream.evaluation.dance.matching import recall_figures
from kinestream.evaluation.dance.plan import WINDOW_S, DanceItem, DancePlan, Window, window_item, windows_of
from kinestream.evaluation.dance.sets import dance_features, set_figures
from kinestream.evaluation.dance.tokens import token_figures
from kinestream.evaluation.findings import Findings, clip_figure, further, mean_values, repeat_curves, without_interval
from kinestream.evaluation.items import Item
from kinestream.evaluation.plausibility import PHYSICS, clip_physics, shown_joints
from kinestream.evaluation.result import Figure, Sample
from kinestream.evaluation.settings import EvaluationSettings, Progress
from kinestream.evaluation.shown import Shown, shown_samples
from kinestream.features import MOTION272
from kinestream.io.soundtrack import Soundtrack
from kinestream.metrics import still_seconds
from kinestream.streaming.dance.references import LIBRARY_FILE

FPS = MOTION272.fps
# Music plays in a second whose mean loudness is less than 40 dB below the loudest so far (30 dB are one unit from 1).
_PLAYS = 1.0 - 40.0 / 30.0


def measure_dance(
    plan: DancePlan,
    root: Path,
    studio: DanceStudio,
    model: MusicToDanceModel,
    retrieval: MusicDanceRetrieval | None,
    settings: EvaluationSettings,
    progress: Progress,
) -> Findings:
    """Dance to each song of the split `repeats` times and measure, window by window, beside the recorded dances.

    Figures are means over the repeats; intervals draw the songs anew, since windows of one song hang together.
    """
    items, windows = plan.items, windows_of(plan.items)
    heard, songs = heard_windows(items, windows), [window.song for window in windows]
    recorded = [item.features() for item in items]
    real_joints = [shown_joints(own) for own in recorded]
    real_rows = _rows(items, real_joints, windows)
    real_time = in_time(real_joints, heard)
    _add(real_rows, heard.places, real_time.rows)
    made: list[list[Danced]] = []
    rows = [list[dict[str, float]]() for _ in windows]
    sets, shown, timed = list[dict[str, Tensor]](), list[Tensor](), list[InTime]()
    total = settings.repeats * len(items)
    with progress("dancing", "dances") as update:
        for number in range(settings.repeats):
            wishes = dance_wishes(items, settings.seed, number)
            made.append(studio.dance(wishes, further(update, number * len(items), total)))
            joints = [shown_joints(one.features) for one in made[-1]]
            own = _rows(items, joints, windows)
            timed.append(in_time(joints, heard))
            _add(own, heard.places, timed[-1].rows)
            for kept, row in zip(rows, own, strict=True):
                kept.append(row)
            sets.append(dance_features(_cut(joints, windows)))
            shown = shown or joints
    samples = [mean_values(own) for own in rows]
    real_sets = dance_features(_cut(real_joints, windows))
    own_in_time, real_in_time = ([side[k] for k in heard.places] for side in (samples, real_rows))
    figures = beat_figures(own_in_time, real_in_time, [one.tables for one in timed], real_time.tables, heard.songs)
    spread, repeats = set_figures(real_sets, sets, songs, settings.seed)
    figures += spread
    figures += [
        clip_figure(name, [own[name] for own in samples], [own[name] for own in real_rows], songs)
        for name in ("still_share", *PHYSICS)
    ]
    matched = (
        [] if retrieval is None else recall_figures(retrieval, items, [[one.features for one in own] for own in made])
    )
    digest = model_digest(studio.folder)
    figures += [*matched, *token_figures(model, plan.all_items, root, studio.cache, digest, progress)]
    figures += _speed_figures(made)
    return Findings(
        tuple(figures),
        tuple(
            Sample(window.name, items[window.item].prompt, own, theirs, window.song)
            for window, own, theirs in zip(windows, samples, real_rows, strict=True)
        ),
        repeats,
        {"beat_shift": shift_curves(shown, real_joints, items), **repeat_curves(repeats)},
        _notes(plan, studio.folder, settings, matched, len(windows), len(heard.windows)),
        {
            f"{short}.{side}": values
            for short in ("k", "g")
            for side, values in (("real", real_sets[short]), ("generated", torch.stack([own[short] for own in sets])))
        },
    )


def shown_dances(items: Sequence[DanceItem], samples: Sequence[Sample], studio: DanceStudio, seed: int) -> list[Shown]:
    """Pages of the windows that are worst and best in time, of the first repeat, beside the recordings.

    A click is heard on each beat of the song.
    """
    danced = studio.dance(dance_wishes(items, seed, 0), lambda done, total: None)
    windows = {window.name: window for window in windows_of(items)}

    def made(item: Item) -> Tensor:
        window = windows[item.name]
        return danced[window.item].features[window.start : window.stop]

    recorded = [window_item(items[window.item], window) for window in windows.values()]
    with tempfile.TemporaryDirectory() as folder:

        def clicks(item: Item) -> Soundtrack:
            window = windows[item.name]
            beats = items[window.item].music().beats
            return click_track(beats, window.start / FPS, WINDOW_S, Path(folder) / "clicks.wav")

        return shown_samples("dance", samples, recorded, made, clicks)


def _rows(items: Sequence[DanceItem], joints: Sequence[Tensor], windows: Sequence[Window]) -> list[dict[str, float]]:
    """Physics of each window, and the share of its seconds with music in which the body stands still."""
    plays = [_playing(item) for item in items]
    rows = []
    for window in windows:
        own = joints[window.item][window.start : window.stop]
        physics = clip_physics(own)
        playing = plays[window.item][window.start // 30 :][: len(own) // 30]
        still = still_seconds(own, FPS) & playing
        row = {name: physics[name] for name in PHYSICS}
        rows.append(row | {"still_share": float(still.sum()) / max(1, int(playing.sum()))})
    return rows


def _playing(item: DanceItem) -> Tensor:
    """Of each whole second whether there is music."""
    loudness = item.music().values[:, MUSIC_SLICES["loudness"]][:, 0]
    seconds = len(loudness) // 30
    plays: Tensor = loudness[: seconds * 30].unflatten(0, (seconds, 30)).mean(dim=1) > _PLAYS
    return plays


def _add(rows: Sequence[dict[str, float]], places: Sequence[int], more: Sequence[Mapping[str, float]]) -> None:
    for place, values in zip(places, more, strict=True):
        rows[place].update(values)


def _cut(joints: Sequence[Tensor], windows: Sequence[Window]) -> Float[Tensor, "n t j 3"]:
    return torch.stack([joints[window.item][window.start : window.stop] for window in windows])


def _speed_figures(made: Sequence[Sequence[Danced]]) -> list[Figure]:
    frames = sum(len(one.features) for own in made for one in own)
    seconds = sum(one.seconds for own in made for one in own)
    count = sum(map(len, made))
    says = "of one process with one thread, as the machine was; music analysis is left out"
    return [
        Figure("frames_per_s", "Frames a second", "1/s", "higher", says, "none",
               without_interval(frames / seconds, count)),
        Figure("times_real_time", "Times real time", "", "higher", f"the same over {FPS:g}", "none",
               without_interval(frames / seconds / FPS, count)),
    ]  # fmt: skip


def _notes(
    plan: DancePlan,
    folder: Path,
    settings: EvaluationSettings,
    matched: Sequence[Figure],
    windows: int,
    heard: int,
) -> tuple[str, ...]:
    silent = len(plan.all_items) - len(plan.items)
    notes = [
        "Each window meets every window of all other songs. The clocks of recorded dances may have been fitted to "
        "their own songs, which raises the recordings' score with these; generated dances have no such help.",
        f"FID of {windows} windows in 66 and 32 dimensions is larger than that of many: compare it with reports on "
        "the same dances and with the recordings' halves beside it.",
    ]
    if not (folder / LIBRARY_FILE).is_file():
        notes.append("No library lies beside the model: it danced without reference dances.")
    if silent:
        notes.append(f"{silent} recordings of the split have no song here: only the tokenizer is measured on them.")
    if heard < windows:
        notes.append(f"{windows - heard} windows have no beat of their song and count for no alignment.")
    if not matched:
        notes.append("No retrieval network is named or lies beside the model: recall is not measured.")
    if settings.repeats == 1:
        notes.append("One repeat: FID has no interval.")
    return tuple(notes)
