"""Recipe: the music-dance retrieval network (InfiniteDance, section 4, MD-Retrieval)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.checkpoints.folder import RETRIEVAL
from kinestream.checkpoints.retrieval import MusicDanceRetrieval, save_retrieval
from kinestream.checkpoints.retrieval_inputs import RetrievalInputs
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.metrics import chance_recall, retrieval_recall
from kinestream.models.retrieval.config import RetrievalConfig
from kinestream.models.retrieval.loss import symmetric_info_nce
from kinestream.models.retrieval.model import RetrievalModel
from kinestream.training.loop import Batch
from kinestream.training.recipe import recipe

RECALL_AT = (1, 5, 10)
INDEX_NAME = "references.safetensors"


@dataclass(frozen=True)
class RetrievalTaskConfig:
    """Settings of this recipe."""

    window_frames: int = 150
    """Frames of a window."""
    shortest_share: float = 1.0
    """Training windows are cut to a random share of window_frames, this at least."""
    own_recording: str = "left out"
    """Other windows of a sample's recording: "left out" of its loss, or "negative" like every other window."""
    noise: float = 0.0
    """Noise on normalised training features of music and dance."""
    gain: float = 0.0
    """Each normalised feature of a training window is scaled by e to a normal number of this deviation."""
    feature_drop: float = 0.0
    """Share of a training window's features that are zero throughout."""
    stretch: float = 0.0
    """Training windows are played slower or faster by up to this share, music and dance alike: a song in many tempi."""
    music: tuple[str, ...] = ()
    """Music features that are read, by their names in MUSIC_SLICES; none: all."""
    dance: str = "features"
    """What is read of motions: "features" (motion272), or their "pulse" (features/pulse.py)."""
    reference_hop: int = 30
    """Frames between the starts of the reference windows that are indexed after training."""

    def __post_init__(self) -> None:
        if self.window_frames < 2 or self.reference_hop < 1:
            raise BadInputError("[task] window_frames must be at least 2 and reference_hop at least 1")
        if not 0.0 < self.shortest_share <= 1.0:
            raise BadInputError(f"[task] shortest_share must be in (0, 1], got {self.shortest_share}")
        if self.own_recording not in ("left out", "negative"):
            raise BadInputError(f'[task] own_recording must be "left out" or "negative", got {self.own_recording!r}')
        if self.noise < 0.0 or self.gain < 0.0 or self.stretch < 0.0:
            raise BadInputError("[task] noise, gain and stretch must be at least 0")
        if not 0.0 <= self.feature_drop < 1.0:
            raise BadInputError(f"[task] feature_drop must be in [0, 1), got {self.feature_drop}")


@dataclass(frozen=True)
class Recall:
    """Recall@k of one direction of search over `windows` windows, and what a random order would give."""

    windows: int
    recall: Mapping[int, float]
    chance: Mapping[int, float]


class RetrievalTask:
    """Random windows of all training dances, each frame as likely as any other."""

    def __init__(
        self, model_table: dict[str, Any], config: RetrievalTaskConfig, data: Sequence[str], seed: int
    ) -> None:
        self.config, self.seed = config, seed
        self.clips = DanceClips.load(data, "train", min_frames=config.window_frames)
        self.held_out = DanceClips.load(data, "val", min_frames=config.window_frames)
        self.inputs = RetrievalInputs(config.music, config.dance)
        self._music, self.music_statistics = _normalised(
            [self.inputs.music_of(clip.music[: clip.frames]) for clip in self.clips.clips]
        )
        self._pulse, self.statistics = self._dances()
        sizes = {"music_dim": len(self.music_statistics.mean), "dance_dim": len(self.statistics.mean)}
        model_config = RetrievalConfig.from_json(model_table | sizes)
        if config.window_frames > model_config.max_frames:
            raise BadInputError(
                f"[task] window_frames {config.window_frames} is more than [model] max_frames {model_config.max_frames}"
            )
        torch.manual_seed(seed)
        self.model = RetrievalModel(model_config)
        starts = [clip.frames - config.window_frames + 1 for clip in self.clips.clips]
        self._cumulative = np.cumsum(starts)
        places: dict[str, int] = {}
        self._recordings = [places.setdefault(clip.recording, len(places)) for clip in self.clips.clips]
        if len(places) < 2:
            raise BadInputError("retrieval needs dances of at least two recordings to tell apart, got one")

    def _dances(self) -> tuple[list[Tensor], Statistics]:
        """Normalised pulses, which are small, and their statistics; none and the data's for the features on disk."""
        if self.config.dance == "features":
            return [], self.clips.statistics
        clips = enumerate(self.clips.clips)
        return _normalised([self.inputs.dance_of(self.clips.dance(index, 0, clip.frames)) for index, clip in clips])

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Normalised windows of music [B, T, M] and dance [B, T, D] of one length, and their recordings [B]."""
        low = max(2, round(self.config.shortest_share * self.config.window_frames))
        length = int(rng.integers(low, self.config.window_frames + 1))
        music, dance, recordings = [], [], []
        for place in rng.integers(0, self._cumulative[-1], rows):
            index = int(np.searchsorted(self._cumulative, place, side="right"))
            start = int(place) - int(self._cumulative[index - 1] if index else 0)
            start += int(rng.integers(0, self.config.window_frames - length + 1))
            start, stop = self._stretched(index, start, length, rng)
            music.append(_at_length(self._music[index][start:stop], length))
            dance.append(_at_length(self._dance(index, start, stop), length))
            recordings.append(self._recordings[index])
        return {"music": torch.stack(music), "dance": torch.stack(dance), "recordings": torch.tensor(recordings)}

    def _stretched(self, index: int, start: int, length: int, rng: np.random.Generator) -> tuple[int, int]:
        """The frames that `length` frames are made of."""
        if self.config.stretch == 0.0:
            return start, start + length
        reach, frames = np.log1p(self.config.stretch), self.clips.clips[index].frames
        taken = min(frames, max(2, round(length * float(np.exp(rng.uniform(-reach, reach))))))
        start = min(start, frames - taken)
        return start, start + taken

    def _dance(self, index: int, start: int, stop: int) -> Tensor:
        if self._pulse:
            return self._pulse[index][start:stop]
        return self.statistics.normalize(self.clips.dance(index, start, stop))

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Symmetric InfoNCE over the windows of a part."""
        music, dance = (self._varied(batch[name], generator) for name in ("music", "dance"))
        recordings = batch["recordings"] if self.config.own_recording == "left out" else None
        loss = symmetric_info_nce(
            self.model.encode_music(music), self.model.encode_dance(dance), self.model.temperature_scale(), recordings
        )
        return {"total": loss.total, "accuracy": loss.accuracy}

    def _varied(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Windows with other gains, without some features, and with noise, while training."""
        config, columns = self.config, (len(values), 1, values.shape[2])
        if not self.model.training:
            return values
        if config.gain > 0.0:
            values = values * (config.gain * torch.randn(columns, generator=generator)).exp().to(values)
        if config.feature_drop > 0.0:
            values = values * (torch.rand(columns, generator=generator) >= config.feature_drop).to(values)
        if config.noise > 0.0:
            values = values + config.noise * torch.randn(values.shape, generator=generator).to(values)
        return values

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Recall on held-out windows that don't overlap, in both directions, and chance beside it."""
        values: dict[str, float] = {}
        for direction, found in held_out_recall(self.retrieval({}), self.held_out).items():
            for k, recall in found.recall.items():
                values |= {f"val/{direction}_recall@{k}": recall, f"val/chance@{k}": found.chance[k]}
        return values

    def retrieval(self, provenance: Mapping[str, Any]) -> MusicDanceRetrieval:
        """What searching needs."""
        return MusicDanceRetrieval(
            self.model,
            self.statistics,
            self.music_statistics,
            self.config.window_frames,
            MOTION272.name,
            dict(provenance),
            self.inputs,
        )

    def export(self, folder: Path, step: int) -> None:
        """A checkpoint of kind "retrieval", and beside it the index of the training dances."""
        figures = held_out_recall(self.retrieval({}), self.held_out)
        provenance = {"steps": step, "seed": self.seed, "recall_val": {key: asdict(r) for key, r in figures.items()}}
        retrieval = self.retrieval(provenance)
        save_retrieval(folder, retrieval)
        retrieval.build_index(self.clips, hop=self.config.reference_hop).save(folder.parent / INDEX_NAME)


def _normalised(clips: Sequence[Tensor]) -> tuple[list[Tensor], Statistics]:
    """Clips by the mean and deviation of each column over all their frames, and these."""
    frames = torch.cat(list(clips)).double()
    statistics = Statistics(frames.mean(0).float(), frames.std(0).clamp_min(1e-3).float())
    return [statistics.normalize(clip) for clip in clips], statistics


def _at_length(frames: Float[Tensor, "t d"], length: int) -> Float[Tensor, "u d"]:
    """The frames played within `length` frames; the first and the last stay."""
    if len(frames) == length:
        return frames
    stretched = functional.interpolate(frames.T[None], size=length, mode="linear", align_corners=True)
    return stretched[0].T


def held_out_recall(retrieval: MusicDanceRetrieval, clips: DanceClips, first: int = 0) -> dict[str, Recall]:
    """Recall@1, 5 and 10 over windows that don't overlap, from frame `first` on: "music_to_dance", "dance_to_music".

    A window and its mirror image share their music, so images are left out: a gallery with every song twice would hold
    five different answers among the best ten, not ten.
    """
    frames = retrieval.window_frames
    found = [(clip, w) for clip, w in clips.windows(frames, 1) if w.start >= first and (w.start - first) % frames == 0]
    windows = list({(w.recording, w.start): (clip, w) for clip, w in reversed(found)}.values())
    if len(windows) < 2:
        raise BadInputError(f"recall needs at least two windows of {frames} frames, got {len(windows)}")
    music = retrieval.embed_music([clips.music(clip, w.start, w.start + frames) for clip, w in windows])
    dance = retrieval.embed_dance([clips.dance(clip, w.start, w.start + frames) for clip, w in windows])
    right = torch.eye(len(windows), dtype=torch.bool)
    chance = chance_recall(right, RECALL_AT)
    return {
        direction: Recall(
            len(windows),
            dict(zip(RECALL_AT, retrieval_recall(queries, gallery, RECALL_AT, right).tolist(), strict=True)),
            dict(zip(RECALL_AT, chance.tolist(), strict=True)),
        )
        for direction, queries, gallery in (("music_to_dance", music, dance), ("dance_to_music", dance, music))
    }


train_retrieval = recipe(
    RETRIEVAL,
    RetrievalTaskConfig,
    lambda config, settings, _: RetrievalTask(config.model, settings, config.data, config.loop.seed),
)
