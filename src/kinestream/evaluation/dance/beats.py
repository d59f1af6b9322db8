"""Figures of dances in time with their songs: each score with the own song beside all the other songs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.evaluation.dance.plan import WINDOW_S, DanceItem, Window
from kinestream.evaluation.findings import CLIP_FIGURES, OVER_CLIPS, OVER_SONGS, without_interval
from kinestream.evaluation.result import Curve, Figure
from kinestream.features import MOTION272
from kinestream.metrics import (
    beat_alignment,
    beat_alignment_table,
    bootstrap,
    bootstrap_rows,
    motion_beats,
    paired_difference,
    song_permutation_p,
    step_beats,
)

FPS = MOTION272.fps
# The two scores: when the body beats. "beat_alignment" is what published tables have.
BODY_BEATS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "beat_alignment": lambda joints_m: motion_beats(joints_m, FPS, compat=True),
    "step_alignment": lambda joints_m: step_beats(joints_m, FPS),
}
# Songs are shifted by up to so much for the curve over shifts.
_SHIFT_S, _SHIFTS = 0.6, 25
_RATIO_RESAMPLES = 1000


@dataclass(frozen=True)
class HeardWindows:
    """The windows in which the song has a beat, their places among all windows, and the song's beats in each."""

    windows: tuple[Window, ...]
    places: tuple[int, ...]
    music: tuple[Tensor, ...]

    @property
    def songs(self) -> list[str]:
        """The song of each."""
        return [window.song for window in self.windows]


def heard_windows(items: Sequence[DanceItem], windows: Sequence[Window]) -> HeardWindows:
    """Windows with at least one beat of their song."""
    beats = [torch.from_numpy(item.music().beats.times_s) for item in items]
    cut = [_within(beats[window.item], window) for window in windows]
    kept = [place for place, own in enumerate(cut) if len(own)]
    return HeardWindows(tuple(windows[k] for k in kept), tuple(kept), tuple(cut[k] for k in kept))


@dataclass(frozen=True, eq=False)
class InTime:
    """Figures of each heard window, and by score how every window's dance fits every window's song [N, N]."""

    rows: list[dict[str, float]]
    tables: Mapping[str, Tensor]


def in_time(joints: Sequence[Float[Tensor, "t j 3"]], heard: HeardWindows) -> InTime:
    """Of each heard window: both scores with the own song, with the other songs (mean), and the body's steps a second.

    `joints` are those of the items' whole dances; the body's beats are found in these and then cut into windows.
    """
    rows: list[dict[str, float]] = [{} for _ in heard.windows]
    foreign = torch.tensor([[one != other for other in heard.songs] for one in heard.songs], dtype=torch.float64)
    tables = {}
    for name, find in BODY_BEATS.items():
        beats = [find(own) for own in joints]
        moved = [_within(beats[window.item], window) for window in heard.windows]
        table = tables[name] = beat_alignment_table(moved, heard.music)
        other = (table * foreign).sum(dim=1) / foreign.sum(dim=1)
        for row, own, others, body in zip(rows, table.diagonal(), other, moved, strict=True):
            row |= {name: float(own), f"{name}_others": float(others), f"{name}_beats_per_s": len(body) / WINDOW_S}
    return InTime(rows, tables)


def beat_figures(
    generated: Sequence[Mapping[str, float]],
    real: Sequence[Mapping[str, float]],
    tables: Sequence[Mapping[str, Tensor]],
    real_tables: Mapping[str, Tensor],
    songs: Sequence[str],
) -> list[Figure]:
    """Both scores with own songs, with others, the paired gain over windows and over songs, and generated / real.

    `tables`: of each repeat; their means are what songs are permuted in.
    """
    figures = []
    for name in BODY_BEATS:
        label, unit, _, _ = CLIP_FIGURES[name]
        own, others = (
            tuple(_column(rows, column) for rows in (generated, real)) for column in (name, f"{name}_others")
        )
        for column, values in ((name, own), (f"{name}_others", others)):
            sides = [bootstrap(each, groups=songs) for each in values]
            figures.append(Figure(column, *CLIP_FIGURES[column], OVER_SONGS, *sides))
        for column, groups, interval in (("gain", songs, OVER_SONGS), ("gain_by_window", None, OVER_CLIPS)):
            sides = [paired_difference(a, b, groups=groups) for a, b in zip(own, others, strict=True)]
            says = f"own song minus other songs, paired, {len(songs)} windows of {WINDOW_S:g} s"
            says += " drawn with their songs" if groups else " drawn one by one"
            what = f"{label}: gain{'' if groups else ', windows alone'}"
            figures.append(Figure(f"{name}_{column}", what, unit, "higher", says, interval, *sides))
        mean = torch.stack([each[name] for each in tables]).mean(dim=0)
        found = [without_interval(song_permutation_p(each, songs), len(songs)) for each in (mean, real_tables[name])]
        says = "share of ways to hand the songs out anew in which they fit as well"
        figures.append(Figure(f"{name}_p", f"{label}: p", "", "lower", says, "none", *found))
        ratio = bootstrap_rows(
            lambda a, b: a.mean() / b.mean(), *(each[:, None] for each in own),
            groups=songs, resamples=_RATIO_RESAMPLES,
        )  # fmt: skip
        says = "with own songs, generated over real"
        figures.append(Figure(f"{name}_ratio", f"{label}: ratio", "", "higher", says, OVER_SONGS, ratio))
        rate = f"{name}_beats_per_s"
        sides = [bootstrap(_column(rows, rate), groups=songs) for rows in (generated, real)]
        figures.append(Figure(rate, *CLIP_FIGURES[rate], OVER_SONGS, *sides))
    return figures


def shift_curves(
    generated: Sequence[Float[Tensor, "t j 3"]], real: Sequence[Float[Tensor, "t j 3"]], items: Sequence[DanceItem]
) -> tuple[Curve, ...]:
    """The step alignment of whole dances with their songs, which are shifted in time: a dance in time peaks at 0."""
    shifts = torch.linspace(-_SHIFT_S, _SHIFT_S, _SHIFTS, dtype=torch.float64)
    music = [torch.from_numpy(item.music().beats.times_s) for item in items]
    curves = []
    for label, joints in (("generated", generated), ("real", real)):
        scores = []
        for own, beats in zip(joints, music, strict=True):
            inner = beats[(beats >= _SHIFT_S) & (beats <= len(own) / FPS - _SHIFT_S)]
            if len(inner):
                steps = step_beats(own, FPS)
                scores.append(torch.stack([beat_alignment(steps, inner + shift) for shift in shifts]))
        if scores:
            mean = torch.stack(scores).mean(dim=0)
            curves.append(Curve(label, tuple(shifts.tolist()), tuple(mean.tolist())))
    return tuple(curves)


def _within(times_s: Float[Tensor, "n"], window: Window) -> Float[Tensor, "k"]:
    """Times within a window, from its beginning on."""
    start = window.start / FPS
    return times_s[(times_s >= start) & (times_s < start + WINDOW_S)] - start


def _column(rows: Sequence[Mapping[str, float]], name: str) -> Float[Tensor, "n"]:
    return torch.tensor([row[name] for row in rows], dtype=torch.float64)
