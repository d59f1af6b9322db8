"""Recipe: the music-dance retrieval network (InfiniteDance, section 4, MD-Retrieval)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints.retrieval import MusicDanceRetrieval, save_retrieval
from kinestream.data.dance_windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.features import MOTION272
from kinestream.metrics import chance_recall, retrieval_recall
from kinestream.models.retrieval.config import RetrievalConfig
from kinestream.models.retrieval.loss import symmetric_info_nce
from kinestream.models.retrieval.model import RetrievalModel
from kinestream.training.config import TrainConfig, from_table, load_train_config
from kinestream.training.loop import Batch, run

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
    """Other windows of a row's recording: "left out" of its loss, or "negative" like every other window."""
    noise: float = 0.0
    """Noise on normalised training features of music and dance."""
    reference_hop: int = 30
    """Frames between the starts of the reference windows that are indexed after training."""

    def __post_init__(self) -> None:
        if self.window_frames < 2 or self.reference_hop < 1:
            raise BadInputError("[task] window_frames must be at least 2 and reference_hop at least 1")
        if not 0.0 < self.shortest_share <= 1.0:
            raise BadInputError(f"[task] shortest_share must be in (0, 1], got {self.shortest_share}")
        if self.own_recording not in ("left out", "negative"):
            raise BadInputError(f'[task] own_recording must be "left out" or "negative", got {self.own_recording!r}')
        if self.noise < 0.0:
            raise BadInputError(f"[task] noise must be at least 0, got {self.noise}")


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
        sizes = {"music_dim": self.clips.music_width, "dance_dim": MOTION272.width}
        model_config = RetrievalConfig.from_json(model_table | sizes)
        if config.window_frames > model_config.max_frames:
            raise BadInputError(
                f"[task] window_frames {config.window_frames} is more than [model] max_frames {model_config.max_frames}"
            )
        torch.manual_seed(seed)
        self.model = RetrievalModel(model_config)
        self.statistics, self.music_statistics = self.clips.statistics, self.clips.music_statistics()
        starts = [clip.frames - config.window_frames + 1 for clip in self.clips.clips]
        self._cumulative = np.cumsum(starts)
        numbers: dict[str, int] = {}
        self._recordings = [numbers.setdefault(clip.recording, len(numbers)) for clip in self.clips.clips]
        if len(numbers) < 2:
            raise BadInputError("retrieval needs dances of at least two recordings to tell apart, got one")

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Normalised windows of music [B, T, M] and dance [B, T, D] of one length, and their recordings [B]."""
        low = max(2, round(self.config.shortest_share * self.config.window_frames))
        length = int(rng.integers(low, self.config.window_frames + 1))
        music, dance, recordings = [], [], []
        for place in rng.integers(0, self._cumulative[-1], rows):
            index = int(np.searchsorted(self._cumulative, place, side="right"))
            start = int(place) - int(self._cumulative[index - 1] if index else 0)
            start += int(rng.integers(0, self.config.window_frames - length + 1))
            music.append(self.clips.music(index, start, start + length))
            dance.append(self.clips.dance(index, start, start + length))
            recordings.append(self._recordings[index])
        return {
            "music": self.music_statistics.normalize(torch.stack(music)),
            "dance": self.statistics.normalize(torch.stack(dance)),
            "recordings": torch.tensor(recordings),
        }

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Symmetric InfoNCE over the windows of a part."""
        music, dance = (self._noisy(batch[name], generator) for name in ("music", "dance"))
        recordings = batch["recordings"] if self.config.own_recording == "left out" else None
        loss = symmetric_info_nce(
            self.model.encode_music(music), self.model.encode_dance(dance), self.model.temperature_scale(), recordings
        )
        return {"total": loss.total, "accuracy": loss.accuracy}

    def _noisy(self, values: Tensor, generator: torch.Generator) -> Tensor:
        if self.config.noise == 0.0 or not self.model.training:
            return values
        return values + self.config.noise * torch.randn(values.shape, generator=generator).to(values)

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
        )

    def export(self, folder: Path, step: int) -> None:
        """A checkpoint of kind "retrieval", and beside it the index of the training dances."""
        figures = held_out_recall(self.retrieval({}), self.held_out)
        provenance = {"steps": step, "seed": self.seed, "recall_val": {key: asdict(r) for key, r in figures.items()}}
        retrieval = self.retrieval(provenance)
        save_retrieval(folder, retrieval)
        retrieval.build_index(self.clips, hop=self.config.reference_hop).save(folder.parent / INDEX_NAME)


def held_out_recall(retrieval: MusicDanceRetrieval, clips: DanceClips) -> dict[str, Recall]:
    """Recall@1, 5 and 10 over windows that don't overlap: "music_to_dance" and "dance_to_music".

    Right is the window that the query goes with, and its mirror image where the data has one: they share their music.
    """
    frames = retrieval.window_frames
    windows = clips.windows(frames, frames)
    if len(windows) < 2:
        raise BadInputError(f"recall needs at least two windows of {frames} frames, got {len(windows)}")
    music = retrieval.embed_music([clips.music(clip, w.start, w.start + frames) for clip, w in windows])
    dance = retrieval.embed_dance([clips.dance(clip, w.start, w.start + frames) for clip, w in windows])
    places = [(window.recording, window.start) for _, window in windows]
    right = torch.tensor([[own == other for other in places] for own in places])
    chance = chance_recall(right, RECALL_AT)
    return {
        direction: Recall(
            len(windows),
            dict(zip(RECALL_AT, retrieval_recall(queries, gallery, RECALL_AT, right).tolist(), strict=True)),
            dict(zip(RECALL_AT, chance.tolist(), strict=True)),
        )
        for direction, queries, gallery in (("music_to_dance", music, dance), ("dance_to_music", dance, music))
    }


def train_retrieval(
    config_path: str | Path, output_dir: str | Path, *, resume: bool = False, overrides: Sequence[str] = ()
) -> None:
    """Train from a TOML configuration into `output_dir`; with `resume`, go on from the newest checkpoint there."""
    config: TrainConfig = load_train_config(config_path, overrides)
    task = RetrievalTask(
        config.model, from_table(RetrievalTaskConfig, config.task, "task"), config.data, config.loop.seed
    )
    info: dict[str, Any] = {
        "kind": "retrieval", "model": task.model.config.to_json(), "data": list(config.data),
        "batch_size": config.loop.batch_size, "parts": config.loop.parts, "seed": config.loop.seed,
    }  # fmt: skip
    run(task, config.loop, Path(output_dir), resume=resume, info=info)
