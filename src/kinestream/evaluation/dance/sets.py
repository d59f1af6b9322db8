"""FID and diversity of dances on kinetic and geometric features, over windows of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.evaluation.findings import HALVINGS, OVER_SONGS, fid_figures
from kinestream.evaluation.result import Figure
from kinestream.features import MOTION272
from kinestream.metrics import (
    bootstrap_rows,
    geometric_features,
    kinetic_features,
    mean_distance_of_others,
    repeat_generators,
    standardized,
)

SPACES = {"k": "kinetic", "g": "geometric"}


def dance_features(joints_m: Float[Tensor, "n t j 3"]) -> dict[str, Float[Tensor, "n d"]]:
    """Kinetic ("k") and geometric ("g") features of windows."""
    fps = MOTION272.fps
    return {"k": kinetic_features(joints_m, fps), "g": geometric_features(joints_m, fps)}


def set_figures(
    real: Mapping[str, Tensor],
    generated: Sequence[Mapping[str, Tensor]],
    songs: Sequence[str],
    seed: int,
) -> tuple[list[Figure], dict[str, tuple[float, ...]]]:
    """FID_k, Div_k, FID_g, Div_g beside the recordings', and FID by repeat; `generated` has a set for each repeat.

    FID between halves compares like with like: the windows of half of the songs against those of the other half, as
    they were danced and as they were generated. Halves never share a song.
    """
    over = f"{len(generated)} repeats, 95 %" if len(generated) > 1 else "one repeat"
    figures, repeats, halves = list[Figure](), dict[str, tuple[float, ...]](), list(_halves(songs, seed))
    for short, space in SPACES.items():
        recorded = standardized(real[short], real[short])
        made = [standardized(own[short], real[short]) for own in generated]
        whole = f"{len(recorded)} recorded windows ({space} features)"
        found, repeats[f"fid_{short}"] = fid_figures(recorded, made, over, halves, (f"_{short}", whole))
        figures += found
        figures += _diversity_figures(short, space, made, recorded, songs)
    return figures, repeats


def _diversity_figures(
    short: str, space: str, made: Sequence[Tensor], recorded: Tensor, songs: Sequence[str]
) -> list[Figure]:
    rows = torch.arange(len(recorded))[:, None].double()  # row numbers, since a draw must know what it drew twice
    own, theirs = (partial(_spread, sets) for sets in (made, [recorded]))
    sides = [bootstrap_rows(measure, rows, groups=songs) for measure in (own, theirs)]
    ratio = bootstrap_rows(lambda drawn: own(drawn) / theirs(drawn), rows, groups=songs)
    says = f"mean distance between windows, {space} features"
    return [
        Figure(f"div_{short}", f"Div_{short}", "", "near real", says, OVER_SONGS, *sides),
        Figure(f"div_{short}_ratio", f"Div_{short}: ratio", "", "higher", "generated over real", OVER_SONGS, ratio),
    ]


def _spread(sets: Sequence[Tensor], drawn: Tensor) -> Tensor:
    places = drawn[:, 0].long()
    if int(places.unique().numel()) < 2:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return torch.stack([mean_distance_of_others(own, places) for own in sets]).mean()


def _halves(songs: Sequence[str], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Windows of half of the songs and of the other half, equally many."""
    names = list(dict.fromkeys(songs))
    for generator in repeat_generators(seed, HALVINGS):
        order = torch.randperm(len(names), generator=generator).tolist()
        chosen = {names[k] for k in order[: len(names) // 2]}
        halves = [[k for k, song in enumerate(songs) if (song in chosen) == inside] for inside in (True, False)]
        count = min(map(len, halves))
        first, second = (torch.tensor(half)[torch.randperm(len(half), generator=generator)[:count]] for half in halves)
        yield first, second
