"""Dances as codes with the music and the references that belong to them: what ChoreoLLaMA trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from kinestream.checkpoints.retrieval import MusicDanceRetrieval
from kinestream.data.dance.reference_index import ReferenceIndex
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.features import Statistics, held
from kinestream.models.rvq_vae import RVQVAE
from kinestream.nn.moe import weighted_references
from kinestream.training.motion_layouts import MotionLayout

# Frames between the windows of music that references are searched for.
SEARCH_HOP = 30


@dataclass(frozen=True)
class CodedDance:
    """Codes [L, K] of one clip from frame `first` on; `clip` is its place in the clips."""

    clip: int
    first: int
    codes: Int[Tensor, "l k"]


@torch.no_grad()
def encode_dances(
    tokenizer: RVQVAE, statistics: Statistics, clips: DanceClips, layout: MotionLayout, phases: int
) -> list[CodedDance]:
    """Codes of all clips, from each of the first `phases` frames on: the token grid may lie anywhere over the music."""
    dances, step = [], tokenizer.config.frames_per_step
    device = next(tokenizer.parameters()).device
    for index, clip in enumerate(tqdm(clips.clips, desc="codes", mininterval=2.0)):
        features = statistics.normalize(layout.from_motion272(clips.dance(index, 0, clip.frames)))
        for first in range(min(phases, step)):
            if len(features) - first >= step:
                codes = tokenizer.encode(features[None, first:].to(device))[0].cpu()
                dances.append(CodedDance(index, first, codes))
    if not dances:
        raise BadInputError("no dance is long enough for one token")
    return dances


class ReferenceDances:
    """The references of every second of music, searched for once: top-k windows of other recordings."""

    def __init__(
        self,
        retrieval: MusicDanceRetrieval,
        queries: DanceClips,
        gallery: DanceClips,
        layout: MotionLayout,
        statistics: Statistics,
        *,
        count: int,
        first_rank: int = 0,
        index: ReferenceIndex | None = None,
    ) -> None:
        """queries: clips whose music is searched for. gallery: clips that can be found, never one of the query's own
        recording. count: k. first_rank: 0 for the best matches; higher for an ablation (InfiniteDance, Table 7)."""
        self._gallery, self._layout, self._statistics = gallery, layout, statistics
        self._place = {clip.name: place for place, clip in enumerate(gallery.clips)}
        index = index if index is not None else retrieval.build_index(gallery, hop=SEARCH_HOP)
        self._found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for clip, dance in enumerate(tqdm(queries.clips, desc="references", mininterval=2.0)):
            starts = list(range(0, max(1, dance.frames - retrieval.window_frames + 1), SEARCH_HOP))
            windows = [queries.music(clip, start, start + retrieval.window_frames) for start in starts]
            found = retrieval.search(index, windows, first_rank + count, without=[dance.recording] * len(windows))
            for start, matches in zip(starts, found, strict=True):
                self._found[clip, start] = [
                    (self._place[match.window.clip], match.window.start) for match in matches[first_rank:]
                ]
        self._last = dict(sorted(self._found))

    def weighted(self, clip: int, start: int, frames: int) -> tuple[Float[Tensor, "t x"], bool]:
        """The rank-weighted sum of a window's references, normalised, and whether there are any.

        A reference that ends before the window holds its last pose.
        """
        asked = min(start // SEARCH_HOP * SEARCH_HOP, self._last[clip])
        matches = self._found[clip, asked]
        if not matches:
            return torch.zeros(frames, self._layout.layout.width), False
        shown = [self._window(place, first + start - asked, frames) for place, first in matches]
        return weighted_references(torch.stack(shown)[None])[0], True

    def _window(self, place: int, start: int, frames: int) -> Tensor:
        start = min(start, self._gallery.clips[place].frames - 2)
        extra = 0 if self._layout.from_motion is None else 1  # those layouts look one frame ahead
        features = self._layout.from_motion272(self._gallery.dance(place, start, start + frames + extra))
        return self._statistics.normalize(held(features, frames, self._layout.layout))


def cumulative_weights(dances: Sequence[CodedDance]) -> np.ndarray:
    """Running sum of the dances' lengths, for drawing each token step as often as any other."""
    return np.cumsum([len(dance.codes) for dance in dances])
