"""A trained retrieval network as those who search use it: music and dances in, embeddings and references out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints.folder import (
    ModelInfo,
    build_network,
    check_names_and_shapes,
    load_statistics,
    load_tensors,
    model_tensors,
    read_model_info,
    statistics_tensors,
    write_folder,
)
from kinestream.checkpoints.released import load_released
from kinestream.checkpoints.retrieval_inputs import RetrievalInputs
from kinestream.data.dance.reference_index import Match, ReferenceIndex
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.models.retrieval.config import RetrievalConfig
from kinestream.models.retrieval.model import RetrievalModel
from kinestream.models.retrieval.released_keys import (
    PREFIX,
    RELEASED_NUM_HEADS,
    config_from_released_shapes,
    released_key_map,
)

RETRIEVAL = "retrieval"
RELEASED_LAYOUT = "humanml264"
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
        tensors = {**self.model.state_dict(), **self._statistics_tensors()}
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def music_width(self) -> int:
        """Numbers a frame of the music features that `embed_music` takes."""
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

    def _statistics_tensors(self) -> dict[str, Tensor]:
        music = statistics_tensors(self.music_statistics)
        return {**statistics_tensors(self.statistics), "music_mean": music["mean"], "music_std": music["std"]}


def save_retrieval(
    folder: str | Path, retrieval: MusicDanceRetrieval, *, weights_dtype: torch.dtype | None = None
) -> None:
    """Write a model folder, whole or not at all; `weights_dtype=torch.float16` halves its size.

    Raises BadInputError where the folder holds something else, KinestreamError where it can't be written.
    """
    info = ModelInfo(
        RETRIEVAL,
        {RETRIEVAL: retrieval.model.config.to_json()},
        retrieval.layout,
        {"window_frames": retrieval.window_frames, "inputs": retrieval.inputs.to_json()},
        dict(retrieval.provenance),
    )
    tensors = {RETRIEVAL: model_tensors(retrieval.model, weights_dtype), "statistics": retrieval._statistics_tensors()}
    write_folder(Path(folder), info, tensors)


def load_retrieval(folder: str | Path) -> MusicDanceRetrieval:
    """Load a retrieval network in float32 and eval mode; BadInputError where the folder is missing or damaged."""
    where = Path(folder)
    info = read_model_info(where, RETRIEVAL)
    window_frames = info.settings.get("window_frames")
    if not isinstance(window_frames, int) or isinstance(window_frames, bool) or RETRIEVAL not in info.configs:
        raise BadInputError(f"{where / 'model.json'}: window_frames or the configuration is missing.")
    config = RetrievalConfig.from_json(info.configs[RETRIEVAL])
    chosen = info.settings.get("inputs", {})
    if not isinstance(chosen, Mapping):
        raise BadInputError(f"{where / 'model.json'}: inputs must be a table, got {chosen!r}.")
    inputs = RetrievalInputs.from_json(chosen)
    model = build_network(RetrievalModel, config, load_tensors(where, info, RETRIEVAL), where=str(where))
    assert isinstance(model, RetrievalModel)
    extra = load_tensors(where, info, "statistics")
    if not {"music_mean", "music_std"} <= extra.keys():
        raise BadInputError(f"{where / 'statistics.safetensors'} lacks the statistics of the music.")
    music = Statistics(extra["music_mean"].float(), extra["music_std"].float())
    statistics = load_statistics(where, info)
    return MusicDanceRetrieval(model, statistics, music, window_frames, info.layout, info.provenance, inputs)


def import_infinitedance_retrieval(
    checkpoint: str | Path,
    out: str | Path,
    *,
    dance_stats: str | Path | None = None,
    music_stats: str | Path | None = None,
    num_heads: int = RELEASED_NUM_HEADS,
) -> MusicDanceRetrieval:
    """Turn the authors' retrieval network into a model folder `out`, and give it.

    checkpoint: their .ckpt (a state dict under "state_dict", "model." before the names) or .safetensors with the same
    names. dance_stats, music_stats: an npz with mean and std, or a folder with Mean.npy and Std.npy; without them the
    features pass as they come. It reads the release's 264-d motion and 55-d music; the code in its pickle never runs.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    checkpoint = Path(checkpoint)
    released = {name.removeprefix(PREFIX): value for name, value in load_released(checkpoint, "state_dict").items()}
    config = config_from_released_shapes({name: tuple(value.shape) for name, value in released.items()}, num_heads)
    names = released_key_map(config)
    expected = {theirs: released[theirs].shape if theirs in released else torch.Size() for theirs in names.values()}
    check_names_and_shapes(released, expected, where=str(checkpoint))
    tensors = {ours: released[theirs] for ours, theirs in names.items()}
    model = build_network(RetrievalModel, config, tensors, where=str(checkpoint))
    assert isinstance(model, RetrievalModel)
    with open(checkpoint, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    retrieval = MusicDanceRetrieval(
        model,
        _statistics_or_none(dance_stats, config.dance_dim),
        _statistics_or_none(music_stats, config.music_dim),
        config.max_frames,
        RELEASED_LAYOUT,
        {
            "source": "InfiniteDance, released retrieval network",
            "files": {checkpoint.name: digest},
            "normalised": {"dance": dance_stats is not None, "music": music_stats is not None},
        },
    )
    save_retrieval(out, retrieval)
    return retrieval


def _check(windows: Sequence[Tensor], width: int, limit: int, what: str) -> None:
    for place, window in enumerate(windows):
        if window.ndim != 2 or window.shape[1] != width or not 1 <= len(window) <= limit:
            raise BadInputError(
                f"window {place}: expected {what} features [1 to {limit} frames, {width}], got {tuple(window.shape)}"
            )
        if not bool(torch.isfinite(window).all()):
            raise BadInputError(f"window {place}: the {what} features hold NaN or infinity")


def _statistics_or_none(path: str | Path | None, width: int) -> Statistics:
    return Statistics(torch.zeros(width), torch.ones(width)) if path is None else Statistics.load(path)
