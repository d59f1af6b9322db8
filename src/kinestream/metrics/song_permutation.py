"""Whether dances belong to their songs: a permutation test, which holds with few songs where a bootstrap does not."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics.beats import TOLERANCE_S, Over, beat_alignment
from kinestream.metrics.inputs import require_rows

PERMUTATIONS = 10_000
_MIN_SONGS = 4


def beat_alignment_table(
    motion_beats_s: Sequence[Float[Tensor, "_"]],
    music_beats_s: Sequence[Float[Tensor, "_"]],
    *,
    tolerance_s: float = TOLERANCE_S,
    over: Over = "music",
) -> Float[Tensor, "n m"]:
    """Beat alignment of every dance (row) with every stretch of music (column), all over one length of time."""
    return torch.stack(
        [
            torch.stack([beat_alignment(body, beats, tolerance_s=tolerance_s, over=over) for beats in music_beats_s])
            for body in motion_beats_s
        ]
    )


def song_permutation_p(
    scores: Float[Tensor, "n n"],
    songs: Sequence[Hashable],
    permutations: int = PERMUTATIONS,
    generator: torch.Generator | None = None,
) -> float:
    """The share of ways to hand the songs out anew in which they fit the dances as well as the own ones do.

    scores: of each dance with each dance's music, such as `beat_alignment_table`; `songs` names the song of each.
    Windows of one song, in their order, move together: the first of song i's dances meets the first of song j's music,
    and so on, from the beginning again where that has fewer; the mean over them is what is permuted, and every song
    counts alike. The own order is one of the `permutations` + 1, so the smallest p is 1 / (permutations +
    1), and few songs have few orders. Songs of one tempo fit by luck, which makes it careful, never too bold.

    Raises BadInputError for fewer than 4 songs: 6 orders of 3 decide nothing.
    """
    require_rows(scores, "permutation of songs", what="dances")
    names = list(dict.fromkeys(songs))
    if len(songs) != len(scores) or scores.shape[0] != scores.shape[1]:
        raise BadInputError(
            f"permutation of songs: expected scores [N, N] and N songs, got {tuple(scores.shape)} and {len(songs)}"
        )
    if len(names) < _MIN_SONGS or permutations < 1:
        raise BadInputError(
            f"permutation of songs needs at least {_MIN_SONGS} songs and one permutation, got {len(names)} and "
            f"{permutations}"
        )
    places = [[k for k, song in enumerate(songs) if song == name] for name in names]
    values = scores.double().cpu()
    table = torch.stack(
        [
            torch.stack([values[own, [other[k % len(other)] for k in range(len(own))]].mean() for other in places])
            for own in places
        ]
    )
    generator = generator or torch.Generator().manual_seed(1)
    orders = torch.rand(permutations, len(names), generator=generator, dtype=torch.float64).argsort(dim=1)
    drawn = table[torch.arange(len(names)), orders].mean(dim=1)
    as_good = int((drawn >= table.diagonal().mean() - 1e-12).sum())
    return (1 + as_good) / (1 + permutations)
