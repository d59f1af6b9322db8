"""Autoregressive models that are compared: trained alike on one autoencoder's latents, then asked for test captions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.ablations.compressors import Autoencoder
from benchmarks.ablations.recipes import Variant
from benchmarks.ablations.store import Measured
from benchmarks.ablations.training import WeightsAlone, task_settings, trained
from kinestream.checkpoints.evaluator import TextMotionEvaluator
from kinestream.conditioning.text import MINILM_NAME, TextEncoder, check_prompt, text_encoder
from kinestream.evaluation.items import Item
from kinestream.evaluation.text.protocol import MATCHING, matching_hits
from kinestream.features import MOTION272, Statistics
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.metrics import diversity, frechet_distance, jitter_mps3, repeat_generators
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig, diffusion_loss, replaced_share
from kinestream.training.config import TrainConfig
from kinestream.training.loop import Batch
from kinestream.training.text.ar_diffusion import ARDiffusionTask, ARDiffusionTaskConfig

ROWS = 64
BATCH = 32
MAX_FRAMES = 160
DIVERSITY_PAIRS = 100
SAMPLING_STEPS = 20
NOISE_DRAWS = 8


class WordCounts:
    """A bag of words: each word is a fixed random direction, a sentence the unit vector of their sum."""

    name = "word-counts"
    dim = 384

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """One embedding a text."""
        return torch.stack([self._sentence(check_prompt(text)) for text in texts])

    def encode_blank(self) -> Float[Tensor, " dim"]:
        """No word: zeros."""
        return torch.zeros(self.dim)

    def _sentence(self, text: str) -> Tensor:
        words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
        total = sum((self._word(word) for word in words), torch.zeros(self.dim))
        return functional.normalize(total, dim=-1)

    def _word(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))


class RegressionHead(nn.Module):
    """The condition straight to the latent: residual blocks as wide and deep as the diffusion head's, no noise."""

    def __init__(self, config: ARDiffusionConfig) -> None:
        super().__init__()
        width = config.head_width
        self.input = nn.Linear(config.hidden_dim, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(config.head_layers)
        )
        self.output = nn.Linear(width, config.latent_dim)

    def forward(self, condition: Float[Tensor, "n h"]) -> Float[Tensor, "n c"]:
        """The latent."""
        hidden = self.input(condition)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        out: Tensor = self.output(hidden)
        return out

    def sample(self, cond: Tensor, *_: Any, **__: Any) -> Tensor:
        """The one latent that there is; guidance is of noise estimates, so there is none."""
        own: Tensor = self(cond)
        return own


class TextTask(WeightsAlone, ARDiffusionTask):
    """The recipe on an autoencoder that is at hand; nothing is rendered, weights alone are kept."""

    def __init__(
        self,
        variant: Variant,
        config: TrainConfig,
        autoencoder: Autoencoder,
        statistics: Statistics,
        captions: Path,
    ) -> None:
        self._given, self._variant = (autoencoder, statistics), variant
        super().__init__(
            task_settings(config, ARDiffusionTaskConfig), config.model, config.data, config.loop.seed, captions
        )

    def load_autoencoder(self) -> tuple[Any, Statistics]:
        """The one that was given."""
        return self._given

    def load_text_encoder(self) -> TextEncoder:
        """The packaged sentence encoder or a bag of words."""
        return WordCounts() if "words" in self._variant.parts else text_encoder(MINILM_NAME)


class RegressionTask(TextTask):
    """The recipe with mean squared error in place of diffusion (Table 4, "w/o Diffusion Head")."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.model.head = RegressionHead(self.model.config)  # type: ignore[assignment]

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Two-Forward around the squared error of the latents."""
        model, mask, lengths = self.model, batch["mask"], batch["lengths"]
        latents = model.normalize_latents(batch["latents"])
        dropped = torch.rand(len(latents), generator=generator) < model.config.text_drop
        text = torch.where(dropped[:, None], model.empty_text, batch["text"])
        share = replaced_share(round(progress * 1_000_000), 1_000_000)
        swap = mask & (torch.rand(mask.shape, generator=generator) < share)
        with torch.no_grad():
            predicted = model.head(model.conditions(text, latents[:, :-1], lengths))
        inputs = torch.where(swap[..., None], predicted, latents)
        given = model.head(model.conditions(text, inputs[:, :-1], lengths))
        return {"total": (given[mask] - latents[mask]).square().mean()}


def train(
    variant: Variant, config: TrainConfig, autoencoder: Autoencoder, statistics: Statistics, folder: Path, texts: Path
) -> TextTask:
    """The recipe with the trained model of a folder, training what is missing of it; `texts`: where caption embeddings
    are kept."""
    kind = RegressionTask if "regression" in variant.parts else TextTask
    words = texts / ("words" if "words" in variant.parts else "sentences")
    return trained(kind(variant, config, autoencoder, statistics, words), config.loop, folder, variant)


@torch.no_grad()
def noise_errors(task: TextTask) -> Measured:
    """Mean squared noise error of each held-out sequence, its true past given: what equation 7 trains.

    Every model sees the same noise at the same levels; one without a diffusion head has no such error.
    """
    if isinstance(task.model.head, RegressionHead):
        return Measured()
    model, rng, found = task.model, np.random.default_rng(0), list[float]()
    for first in range(0, len(task.held_out), ROWS):
        batch = task.collate(task.held_out[first : first + ROWS], task.held_out_texts, rng)
        latents, mask = model.normalize_latents(batch["latents"]), batch["mask"]
        conditions = model.conditions(batch["text"], latents[:, :-1], batch["lengths"])[:, : latents.shape[1]]
        draws = [
            diffusion_loss(
                model.head, conditions[mask], latents[mask], generator=torch.Generator().manual_seed(first + draw)
            ).per_row
            for draw in range(NOISE_DRAWS)
        ]
        errors = torch.zeros_like(mask, dtype=torch.float32).masked_scatter(mask, torch.stack(draws).mean(dim=0))
        found += (errors.sum(dim=1) / mask.sum(dim=1)).tolist()
    return Measured({"noise_error": found})


class Decoder(Protocol):
    """What turns latents into frames."""

    def decode(self, z: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Normalised features."""
        ...


@dataclass(frozen=True, eq=False)
class TextModel:
    """What generating needs."""

    ar: ARDiffusion
    decoder: Decoder
    statistics: Statistics
    encoder: TextEncoder

    @classmethod
    def of(cls, task: TextTask) -> TextModel:
        """A trained one."""
        return cls(task.model, task.tae, task.statistics, task.encoder)


@torch.no_grad()
def generate(
    model: TextModel, captions: Sequence[str], frames: Sequence[int], guidance: float, generator: torch.Generator
) -> list[Tensor]:
    """Motion272 features of each caption, as many frames as asked for (a multiple of four): nothing decides when to
    stop, no foot is held. Rows of similar length are drawn together."""
    ar, made = model.ar, dict[int, Tensor]()
    steps = min(SAMPLING_STEPS, ar.config.diffusion_steps)
    order = sorted(range(len(captions)), key=lambda row: frames[row])
    for first in range(0, len(order), ROWS):
        rows = order[first : first + ROWS]
        text = model.encoder.encode([captions[row] for row in rows])
        count, latents = max(frames[row] for row in rows) // 4, list[Tensor]()
        guided = guidance != 1.0
        both = torch.cat([text, ar.empty_text.expand(len(rows), -1)]) if guided else text
        condition, state = ar.prefill(both, None, ar.init_state(len(both)))
        for number in range(count):
            uncond = condition[len(rows) :] if guided else None
            latent = ar.head.sample(condition[: len(rows)], uncond, guidance, generator=generator, steps=steps)
            latents.append(ar.denormalize_latents(latent))
            if number + 1 < count:
                condition, state = ar.step(latent.repeat(2 if guided else 1, 1)[:, None], state)
        sequence = torch.stack(latents, dim=1)
        for place, row in enumerate(rows):
            own = sequence[place : place + 1, : frames[row] // 4]
            made[row] = model.statistics.denormalize(model.decoder.decode(own)[0])
    return [made[row] for row in range(len(captions))]


@dataclass(frozen=True, eq=False)
class TextTest:
    """Test captions with what the evaluator makes of them and of their recordings."""

    captions: list[str]
    frames: list[int]
    text: Tensor
    real: Tensor
    jitter: list[float]
    evaluator: TextMotionEvaluator

    @classmethod
    def of(cls, items: Sequence[Item], evaluator: TextMotionEvaluator) -> TextTest:
        """Recordings are cut to whole latents and to the longest motion that is trained on."""
        frames = [min(item.frames, MAX_FRAMES) // 4 * 4 for item in items]
        recordings = [item.features()[:count] for item, count in zip(items, frames, strict=True)]
        captions = [item.prompt for item in items]
        jitter = [float(jitter_mps3(world_joints_from_rotations(one), MOTION272.fps)) for one in recordings]
        return cls(
            captions, frames, evaluator.embed_text(captions), evaluator.embed_motion(recordings), jitter, evaluator
        )

    def measure(self, model: TextModel, guidance: float, repeats: int, seed: int) -> Measured:
        """All captions, `repeats` times: FID and diversity by repeat; means over the repeats of every clip's rest."""
        sets: dict[str, list[float]] = {"fid": [], "diversity": []}
        rows = [dict[str, list[float]]() for _ in self.captions]
        for generator in repeat_generators(seed, repeats):
            motions = generate(model, self.captions, self.frames, guidance, generator)
            own = self.evaluator.embed_motion(motions)
            self._sets(sets, own, generator)
            for row, (motion, embedded, hits) in enumerate(zip(motions, own, self._hits(own, generator), strict=True)):
                figures = hits | {
                    "mm_distance": float((embedded - self.text[row]).norm()),
                    "jitter_mps3": float(jitter_mps3(world_joints_from_rotations(motion), MOTION272.fps)),
                }
                for name, value in figures.items():
                    rows[row].setdefault(name, []).append(value)
        return Measured(_means(rows), sets)

    def recordings(self, repeats: int, seed: int) -> Measured:
        """The same figures of the recordings; FID is that of one random half to the other."""
        sets: dict[str, list[float]] = {"fid": [], "diversity": []}
        rows = [{"jitter_mps3": [value]} for value in self.jitter]
        for generator in repeat_generators(seed, max(2, repeats)):
            order = torch.randperm(len(self.real), generator=generator)
            half = len(order) // 2
            self._sets(sets, self.real, generator)
            sets["fid"][-1] = float(frechet_distance(self.real[order[:half]], self.real[order[half : 2 * half]]))
            for row, hits in enumerate(self._hits(self.real, generator)):
                distance = {"mm_distance": float((self.real[row] - self.text[row]).norm())}
                for name, value in (hits | distance).items():
                    rows[row].setdefault(name, []).append(value)
        return Measured(_means(rows), sets)

    def _sets(self, sets: dict[str, list[float]], own: Tensor, generator: torch.Generator) -> None:
        sets["fid"].append(float(frechet_distance(self.real, own)))
        sets["diversity"].append(float(diversity(own, min(DIVERSITY_PAIRS, len(own)), generator)))

    def _hits(self, own: Tensor, generator: torch.Generator) -> list[dict[str, float]]:
        """R-Precision of every clip over several ways to make batches, so that nearly all clips have one."""
        found = [dict[str, list[float]]() for _ in self.captions]
        size = min(BATCH, len(set(self.captions)))
        for _ in range(8):
            for row, hits in enumerate(matching_hits(self.text, own, self.captions, size, generator)):
                for name, value in hits.items():
                    found[row].setdefault(name, []).append(value)
        return [{name: sum(own) / len(own) for name, own in one.items()} for one in found]


def _means(rows: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Means over repeats, by figure; a figure that a row never got (it fell into no batch) takes the others' mean."""
    found: dict[str, list[float]] = {}
    for name in (*MATCHING, "mm_distance", "jitter_mps3"):
        known = [sum(row[name]) / len(row[name]) for row in rows if name in row]
        typical = sum(known) / len(known)
        found[name] = [sum(row[name]) / len(row[name]) if name in row else typical for row in rows]
    return found
