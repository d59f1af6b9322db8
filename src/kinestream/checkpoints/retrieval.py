"""A trained retrieval network as those who search use it: music and dances in, embeddings and references out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.family import Family, Setting
from kinestream.checkpoints.folder import RETRIEVAL
from kinestream.checkpoints.retrieval_inputs import RetrievalInputs
from kinestream.data.dance.reference_index import Match, ReferenceIndex
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.models.retrieval.model import RetrievalModel

_BATCH = 64


@dataclass(frozen=True, eq=False)
class MusicDanceRetrieval:
    """A retrieval network with everything that searching needs.

    Attributes:
        model: the two encoders, in eval mode.
        statistics, music_statistics: of what they read of motion and music features.
        window_frames: frames of the windows that it was trained on; references are cut to this length.
        layout: name of the motion features' layout.
        provenance: data, licence, recipe and figures.
        inputs: what of the features they read.
    """

    model: RetrievalModel
    statistics: Statistics
    music_statistics: Statistics
    window_frames: int
    layout: str = MOTION272.name
    provenance: Mapping[str, Any] = field(default_factory=dict)
    inputs: RetrievalInputs = field(default_factory=RetrievalInputs)

    def __post_init__(self) -> None:
        config = self.model.config
        for statistics, width, what in (
            (self.statistics, config.dance_dim, "motion"),
            (self.music_statistics, config.music_dim, "music"),
        ):
            if statistics.mean.shape != (width,):
                raise BadInputError(
                    f"The statistics are of {statistics.mean.shape[0]} {what} features, the network reads {width}."
                )
        if not 1 <= self.window_frames <= config.max_frames:
            raise BadInputError(
                f"Windows must have 1 to {config.max_frames} frames for this network, got {self.window_frames}."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that embeddings depend on: configuration, weights and statistics."""
        settings = [self.model.config.to_json(), self.window_frames, self.inputs.to_json()]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        tensors = {**self.model.state_dict(), **_FAMILY.statistics_file(self)}
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def music_width(self) -> int:
        """Values a frame of the music features that `embed_music` takes."""
        return self.inputs.music_source_width(self.model.config.music_dim)

    def embed_music(self, windows: Sequence[Float[Tensor, "t m"]]) -> Float[Tensor, "n e"]:
        """Unit-length embeddings of windows of music features (un-normalised, 30 Hz), on the CPU."""
        _check(windows, self.music_width, self.model.config.max_frames, "music")
        read = [self.music_statistics.normalize(self.inputs.music_of(window.float().cpu())) for window in windows]
        return self._embed(read, self.model.encode_music)

    def embed_dance(self, windows: Sequence[Float[Tensor, "t d"]]) -> Float[Tensor, "n e"]:
        """Unit-length embeddings of windows of motion features (un-normalised, 30 fps), on the CPU."""
        width = self.inputs.dance_source_width(self.model.config.dance_dim)
        _check(windows, width, self.model.config.max_frames, self.layout)
        read = [self.statistics.normalize(self.inputs.dance_of(window.float().cpu())) for window in windows]
        return self._embed(read, self.model.encode_dance)

    @torch.no_grad()
    def _embed(self, windows: Sequence[Tensor], encode: Callable[..., Tensor]) -> Tensor:
        device = next(self.model.parameters()).device
        parts = [torch.zeros(0, self.model.config.embedding_width)]
        for first in range(0, len(windows), _BATCH):
            shown = windows[first : first + _BATCH]
            lengths = torch.tensor([len(window) for window in shown], device=device)
            padded = torch.nn.utils.rnn.pad_sequence(list(shown), batch_first=True).to(device)
            parts.append(encode(padded, lengths).cpu())
        return torch.cat(parts)

    def build_index(
        self,
        clips: DanceClips,
        *,
        hop: int,
        contents: Mapping[str, Tensor] | None = None,
        frames_per_row: int = 1,
    ) -> ReferenceIndex:
        """Index the windows of dances, `hop` frames apart; `contents` as for ReferenceIndex.build."""
        windows = clips.windows(self.window_frames, hop)
        dances = [clips.dance(clip, window.start, window.start + window.frames) for clip, window in windows]
        return ReferenceIndex.build(
            self.embed_dance(dances),
            [window for _, window in windows],
            self.fingerprint,
            contents=contents,
            frames_per_row=frames_per_row,
        )

    def search(
        self,
        index: ReferenceIndex,
        music: Sequence[Float[Tensor, "t m"]],
        k: int,
        *,
        without: Sequence[str | None] | None = None,
        genre: str | None = None,
    ) -> list[list[Match]]:
        """The `k` references that suit each window of music best; see ReferenceIndex.search.

        Raises BadInputError where the index was made with another network.
        """
        if index.fingerprint != self.fingerprint:
            raise BadInputError(
                f"The index was made with another retrieval network ({index.fingerprint[:12]}) than this one "
                f"({self.fingerprint[:12]}); build it again."
            )
        return index.search(self.embed_music(music), k, without=without, genre=genre)


_FAMILY = Family(
    RETRIEVAL,
    MusicDanceRetrieval,
    networks={"model": RETRIEVAL},
    settings={
        "window_frames": Setting(int),
        "inputs": Setting(dict, RetrievalInputs.from_json, RetrievalInputs.to_json, RetrievalInputs()),
    },
    statistics={"statistics": "", "music_statistics": "music_"},
)
save_retrieval, load_retrieval = _FAMILY.save, _FAMILY.load


def _check(windows: Sequence[Tensor], width: int, limit: int, what: str) -> None:
    for place, window in enumerate(windows):
        if window.ndim != 2 or window.shape[1] != width or not 1 <= len(window) <= limit:
            raise BadInputError(
                f"window {place}: expected {what} features [1 to {limit} frames, {width}], got {tuple(window.shape)}"
            )
        if not bool(torch.isfinite(window).all()):
            raise BadInputError(f"window {place}: the {what} features hold NaN or infinity")
