"""Whether music finds its dance, and a dance its music, in the retrieval network that lies beside a dance model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.retrieval import MusicDanceRetrieval
from kinestream.evaluation.dance.plan import DanceItem
from kinestream.evaluation.findings import OVER_SONGS, without_interval
from kinestream.evaluation.result import Figure
from kinestream.metrics import bootstrap, chance_recall, retrieval_hits

RECALL_AT = (1, 5, 10)
DIRECTIONS = {"music_to_dance": "Music to dance", "dance_to_music": "Dance to music"}


def recall_figures(
    retrieval: MusicDanceRetrieval,
    items: Sequence[DanceItem],
    generated: Sequence[Sequence[Float[Tensor, "t 272"]]],
) -> list[Figure]:
    """Recall@1, 5 and 10 over windows that don't overlap, both directions, chance beside.

    "Real" is the network's own quality on dances that it never saw; "generated" says whether it finds generated dances
    by their music as well. It has chosen their references, so the second is no proof. Empty for fewer than two windows.
    """
    frames = retrieval.window_frames
    places = [(k, start) for k, item in enumerate(items) for start in range(0, item.frames - frames + 1, frames)]
    if len(places) < 2:
        return []
    scores = [items[k].music().values for k in range(len(items))]
    songs = [items[k].song for k, _ in places]
    music = retrieval.embed_music([scores[k][start : start + frames] for k, start in places])
    recorded = [item.features() for item in items]
    ours = [_hits(retrieval, music, dances, places) for dances in generated]
    real = _hits(retrieval, music, recorded, places)
    chance = chance_recall(torch.eye(len(places), dtype=torch.bool), RECALL_AT)
    figures = []
    for direction, label in DIRECTIONS.items():
        mean = torch.stack([own[direction] for own in ours]).mean(dim=0)
        for column, k in enumerate(RECALL_AT):
            says = f"share of {len(places)} windows of {frames / 30:g} s whose partner is among the {k} nearest"
            says += f"; chance {float(chance[column]):.3g}"
            sides = [bootstrap(hits[:, column], groups=songs) for hits in (mean, real[direction])]
            name = f"{direction}_recall_{k}"
            figures.append(Figure(name, f"{label}: recall@{k}", "", "higher", says, OVER_SONGS, *sides))
    by_chance = [without_interval(float(value), len(places)) for value in chance]
    return figures + [
        Figure(f"chance_recall_{k}", f"Recall@{k} by chance", "", "near real", "a random order", "none", value, value)
        for k, value in zip(RECALL_AT, by_chance, strict=True)
    ]


def _hits(
    retrieval: MusicDanceRetrieval, music: Tensor, dances: Sequence[Tensor], places: Sequence[tuple[int, int]]
) -> dict[str, Tensor]:
    frames = retrieval.window_frames
    dance = retrieval.embed_dance([dances[k][start : start + frames] for k, start in places])
    pairs = {"music_to_dance": (music, dance), "dance_to_music": (dance, music)}
    return {name: retrieval_hits(a, b, RECALL_AT).double() for name, (a, b) in pairs.items()}
