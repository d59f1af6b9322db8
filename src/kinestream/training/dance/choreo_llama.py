"""Recipe: ChoreoLLaMA, music to dance codes (InfiniteDance, sections 4.2 and 5.1), bridges first and then all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel, load_music_to_dance, save_music_to_dance
from kinestream.checkpoints.folder import CHOREO_LLAMA, load_rvq_vae
from kinestream.checkpoints.infinitedance import load_llama_weights
from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.conditioning.music import MUSIC_SLICES
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.models.choreo_llama import ChoreoLlama, ChoreoLlamaConfig, choreo_llama_loss, generate_codes
from kinestream.training.config import TrainConfig
from kinestream.training.crops import evenly_spread
from kinestream.training.dance.codes import (
    SEARCH_HOP,
    CodedDance,
    ReferenceDances,
    cumulative_weights,
    encode_dances,
)
from kinestream.training.dance.played import played
from kinestream.training.loop import Batch, run
from kinestream.training.motion_layouts import motion_layout
from kinestream.training.recipe import recipe, run_info
from kinestream.training.samples import write_strips

MUSIC_FEATURES = "kinestream-30hz"
BRIDGES_FOLDER = "bridges"


@dataclass(frozen=True)
class ChoreoLlamaTaskConfig:
    """Settings of this recipe."""

    tokenizer: str = ""
    """Folder of the trained tokenizer's checkpoint."""
    retrieval: str = ""
    """Folder of the trained retrieval network's checkpoint; "" where the bridge reads no references."""
    llama: str = ""
    """Folder with the safetensors files of a pretrained LLaMA of the model's size; "" to start from random values."""
    bridge_steps: int = 0
    """Optimiser steps of the first stage, in which all but the LLaMA's layers is trained."""
    shortest_share: float = 0.5
    """Windows are cut to a random share of the model's window, this at least (aligned conditions only)."""
    genre_drop: float = 0.1
    """Share of samples whose genre is unknown."""
    reference_drop: float = 0.15
    """Share of samples without references, so that retrieval can be switched off."""
    history_noise: float = 0.1
    """Codes of the past are replaced by random ones with a probability of up to this, drawn for each sample."""
    music_noise: float = 0.0
    """Deviation of the noise on normalised music features."""
    timbre_drop: float = 0.0
    """Share of samples whose chroma and cepstra are left out, so that songs are not told by their sound alone."""
    tempi: tuple[float, ...] = (1.0,)
    """How fast the training dances are played with their music; each tempo adds all of them once more."""
    on_beat: bool = False
    """Whether the steps of the training dances are brought to the beats of their music first."""
    first_reference_rank: int = 0
    """0 takes the best matches; 100 those from rank 100 on (InfiniteDance, Table 7)."""
    phases: int = 4
    """Frames that the token grid is shifted by; each is encoded."""
    music_features: str = MUSIC_FEATURES
    """Name of the music features of the data, for who uses the model."""
    validation_windows: int = 64
    """Held-out windows that the loss is taken over, evenly spread."""


class ChoreoLlamaTask:
    """Windows of coded dances with their music, genre and references."""

    def __init__(
        self, model_table: dict[str, Any], config: ChoreoLlamaTaskConfig, data: Sequence[str], seed: int
    ) -> None:
        if not config.tokenizer:
            raise BadInputError("[task] tokenizer: expected the folder of a trained rvq-vae (its run's model/)")
        self.config, self.seed = config, seed
        self.tokenizer, self.statistics, info = load_rvq_vae(config.tokenizer)
        self.tokenizer.eval().requires_grad_(False)
        self.layout_name, self.layout = info.layout, motion_layout(info.layout)
        self.clips, self.held_out = DanceClips.load(data, "train"), DanceClips.load(data, "val")
        if config.timbre_drop > 0 and config.music_features != MUSIC_FEATURES:
            raise BadInputError(f"[task] timbre_drop: expected the music features {MUSIC_FEATURES!r}")
        self.played = self._played()
        self.music_statistics = self.clips.music_statistics()
        self.genres = tuple(sorted({clip.genre for clip in self.clips.clips} - {""}))
        torch.manual_seed(seed)
        self.model = self._fresh_model(model_table)
        if config.llama:
            load_llama_weights(config.llama, self.model)
        coded = [
            encode_dances(self.tokenizer, self.statistics, clips, self.layout, phases)
            for clips, phases in ((self.played, config.phases), (self.held_out, 1))
        ]
        self.dances, self.held_out_dances = (
            [dance for dance in part if len(dance.codes) >= self._shortest()] for part in coded
        )
        if not self.dances or not self.held_out_dances:
            raise BadInputError(f"no dance of the train or val split lasts {self._shortest()} token steps")
        self.references, self.held_out_references = self._references()
        self._cumulative = cumulative_weights(self.dances)
        self._longest = max(len(dance.codes) for dance in self.dances)

    def _played(self) -> DanceClips:
        """The training dances at every tempo."""
        if not self.config.tempi or not all(0.5 <= tempo <= 2.0 for tempo in self.config.tempi):
            raise BadInputError(f"[task] tempi: expected numbers from 0.5 to 2, got {list(self.config.tempi)}")
        beat = self.config.on_beat
        if beat and all(clip.beats_s is None for clip in self.clips.clips):
            raise BadInputError(
                "[task] on_beat: the data's music files hold no `beats_s`; build the data set with them"
            )
        versions = [
            self.clips if tempo == 1.0 and not beat else played(self.clips, tempo, on_beat=beat)
            for tempo in self.config.tempi
        ]
        return replace(self.clips, clips=[clip for clips in versions for clip in clips.clips])

    def _fresh_model(self, table: dict[str, Any]) -> ChoreoLlama:
        tokens = self.tokenizer.config
        sizes = {
            "num_codebooks": tokens.num_codebooks, "num_codes": tokens.num_codes, "code_dim": tokens.code_dim,
            "music_dim": self.clips.music_width, "num_genres": max(1, len(self.genres)),
            "reference_dim": tokens.feature_dim,
        }  # fmt: skip
        model = ChoreoLlama(ChoreoLlamaConfig.from_json(table | sizes))
        config = model.config
        if config.bridge == "released":
            raise BadInputError('[model] bridge: the released variant is for imported weights; train "cadence"')
        if config.reference_frames_per_step != tokens.frames_per_step:
            raise BadInputError(
                f"[model] window_reference_frames: expected {config.window_steps * tokens.frames_per_step} "
                f"({tokens.frames_per_step} frames a token step), got {config.window_reference_frames}"
            )
        if config.music_frames_per_step != tokens.frames_per_step:
            raise BadInputError(
                "[model] window_music_frames: the data's music has the motion's 30 frames a second, so expected "
                f"{config.window_reference_frames}, got {config.window_music_frames}"
            )
        model.codebooks.copy_(self.tokenizer.codebooks)
        return model

    def _references(self) -> tuple[ReferenceDances | None, ReferenceDances | None]:
        if not self.model.config.uses_references:
            return None, None
        if not self.config.retrieval:
            raise BadInputError(
                f"[task] retrieval: the {self.model.config.bridge!r} bridge reads references; name the folder of a "
                'trained retrieval network, or set [model] bridge = "linear"'
            )
        retrieval = load_retrieval(self.config.retrieval)
        index = retrieval.build_index(self.clips, hop=SEARCH_HOP)
        train, held_out = (
            ReferenceDances(
                retrieval, clips, self.clips, self.layout, self.statistics, count=self.model.config.num_references,
                first_rank=self.config.first_reference_rank, index=index,
            )
            for clips in (self.played, self.held_out)
        )  # fmt: skip
        return train, held_out

    def _shortest(self) -> int:
        config = self.model.config
        share = self.config.shortest_share if config.arrangement == "aligned" else 1.0
        return max(1, round(share * config.window_steps))

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Windows of one length: codes [B, L, K], history, music [B, T, M], genre [B], reference [B, 1, T, X]."""
        steps = min(int(rng.integers(self._shortest(), self.model.config.window_steps + 1)), self._longest)
        picks: list[tuple[CodedDance, int]] = []
        while len(picks) < rows:
            place = int(rng.integers(0, self._cumulative[-1]))
            dance = self.dances[int(np.searchsorted(self._cumulative, place, side="right"))]
            if len(dance.codes) >= steps:
                picks.append((dance, int(rng.integers(0, len(dance.codes) - steps + 1))))
        batch = self._collate(picks, steps, self.played, self.references)
        return self._augmented(batch, rng)

    def _collate(
        self,
        picks: Sequence[tuple[CodedDance, int]],
        steps: int,
        clips: DanceClips,
        references: ReferenceDances | None,
    ) -> Batch:
        frames_per_step = self.tokenizer.config.frames_per_step
        frames = steps * frames_per_step
        codes, music, genres, shown, present = [], [], [], [], []
        for dance, first in picks:
            start = dance.first + first * frames_per_step
            codes.append(dance.codes[first : first + steps])
            music.append(self.music_statistics.normalize(clips.music(dance.clip, start, start + frames)))
            genre = clips.clips[dance.clip].genre
            genres.append(self.genres.index(genre) if genre in self.genres else -1)
            if references is not None:
                reference, there = references.weighted(dance.clip, start, frames)
                shown.append(reference)
                present.append(there)
        batch = {"codes": torch.stack(codes), "music": torch.stack(music), "genre": torch.tensor(genres)}
        if references is not None:
            batch |= {"reference": torch.stack(shown)[:, None], "present": torch.tensor(present)[:, None]}
        return batch

    def _augmented(self, batch: Batch, rng: np.random.Generator) -> Batch:
        rows, config = len(batch["codes"]), self.config
        unknown = torch.from_numpy(rng.random(rows) < config.genre_drop)
        batch["genre"] = torch.where(unknown, -1, batch["genre"])
        shape = tuple(batch["codes"].shape)
        share = rng.random((rows, 1, 1)) * config.history_noise
        noisy = torch.from_numpy(rng.random(shape) < share)
        other = torch.from_numpy(rng.integers(0, self.tokenizer.config.num_codes, shape))
        batch["history"] = torch.where(noisy, other, batch["codes"])
        if config.music_noise > 0:
            noise = rng.standard_normal(tuple(batch["music"].shape), dtype=np.float32)
            batch["music"] = batch["music"] + config.music_noise * torch.from_numpy(noise)
        if config.timbre_drop > 0:
            silent = torch.from_numpy(rng.random(rows) < config.timbre_drop)
            batch["music"][silent, :, MUSIC_SLICES["chroma"].start :] = 0.0
        if "present" in batch:
            dropped = torch.from_numpy(rng.random((rows, 1)) < config.reference_drop)
            batch["present"] = batch["present"] & ~dropped
        return batch

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Next-token cross entropy over the codebooks, and each level's."""
        logits = self.model(self._conditions(batch, batch["music"]), batch["codes"], batch["history"])
        loss = choreo_llama_loss(logits, batch["codes"])
        return {"total": loss.total} | {f"level_{level}": value for level, value in enumerate(loss.levels)}

    def _conditions(self, batch: Batch, music: Tensor) -> Tensor:
        return self.model.conditions(music, batch["genre"], batch.get("reference"), batch.get("present"))

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Loss on held-out windows; how much worse it is under another window's music; and a rendered dance."""
        steps = min(self.model.config.window_steps, max(len(dance.codes) for dance in self.held_out_dances))
        places = [
            (dance, first)
            for dance in self.held_out_dances
            for first in range(0, len(dance.codes) - steps + 1, max(1, steps // 2))
        ]
        chosen = [places[i] for i in evenly_spread(len(places), self.config.validation_windows)]
        device, sums = next(self.model.parameters()).device, torch.zeros(2 + self.tokenizer.config.num_codebooks)
        for first in range(0, len(chosen), 16):
            part = chosen[first : first + 16]
            batch = self._collate(part, steps, self.held_out, self.held_out_references)
            batch = {name: value.to(device) for name, value in batch.items()}
            right = choreo_llama_loss(
                self.model(self._conditions(batch, batch["music"]), batch["codes"]), batch["codes"]
            )
            other = batch["music"].flip(1) if len(part) == 1 else batch["music"].roll(1, dims=0)
            wrong = choreo_llama_loss(self.model(self._conditions(batch, other), batch["codes"]), batch["codes"])
            values = torch.stack([right.total, wrong.total, *right.accuracy])
            sums += len(part) * values.cpu()
        loss, other_music, *accuracy = (sums / len(chosen)).tolist()
        self._render(step, folder)
        return {"val/loss": loss, "val/loss_other_music": other_music} | {
            f"val/accuracy_{level}": value for level, value in enumerate(accuracy)
        }

    def _render(self, step: int, folder: Path) -> None:
        """A dance to the first held-out song, up to 20 s, retrieval off."""
        dance = self.held_out_dances[0]
        device = next(self.model.parameters()).device
        music = self.music_statistics.normalize(self.held_out.music(dance.clip, 0, 600)).to(device)
        genre = self.held_out.clips[dance.clip].genre
        index = torch.tensor([self.genres.index(genre) if genre in self.genres else -1], device=device)
        codes = generate_codes(self.model, music[None], index, generator=torch.Generator().manual_seed(0))
        features = self.statistics.denormalize(self.tokenizer.to(device).decode(codes)[0].float().cpu())
        if self.layout.from_motion is None:
            write_strips(folder / f"step-{step:08d}.png", [features])

    def export(self, folder: Path, step: int) -> None:
        """The whole music-to-dance model."""
        save_music_to_dance(folder, self.bundle({"steps": step, "seed": self.seed}))

    def bundle(self, provenance: Mapping[str, Any]) -> MusicToDanceModel:
        """What a dancer needs."""
        return MusicToDanceModel(
            tokenizer=self.tokenizer, llama=self.model, statistics=self.statistics,
            music_statistics=self.music_statistics, genres=self.genres or ("unknown",),
            music_features=self.config.music_features, layout=self.layout_name, provenance=dict(provenance),
        )  # fmt: skip


def _train_bridges(
    task: ChoreoLlamaTask, config: TrainConfig, settings: ChoreoLlamaTaskConfig, output: Path, resume: bool
) -> dict[str, Any]:
    """With [task] bridge_steps, a first stage in OUTPUT/bridges: everything but the LLaMA's layers learns.

    The second stage starts from its model.
    """
    if settings.bridge_steps == 0:
        return {}
    bridges = output / BRIDGES_FOLDER
    if not (resume and (bridges / "model").is_dir()):
        task.model.backbone.requires_grad_(False)
        loop = replace(config.loop, steps=settings.bridge_steps)
        run(task, loop, bridges, resume=resume, info=run_info(CHOREO_LLAMA, task, config, stage="bridges"))
        task.model.backbone.requires_grad_(True)
    task.model.load_state_dict(load_music_to_dance(bridges / "model").llama.state_dict())
    task.model.train()
    return {"bridge_steps": settings.bridge_steps}


train_choreo_llama = recipe(
    CHOREO_LLAMA,
    ChoreoLlamaTaskConfig,
    lambda config, settings, _: ChoreoLlamaTask(config.model, settings, config.data, config.loop.seed),
    _train_bridges,
)
