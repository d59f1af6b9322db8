"""Recipe: the text-motion evaluator (TMR, Petrovich et al., ICCV 2023), on real recordings only."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from kinestream.checkpoints.evaluator import (
    DISTILBERT,
    TextMotionEvaluator,
    padded_ids,
    save_evaluator,
    word_pieces,
)
from kinestream.checkpoints.folder import EVALUATOR
from kinestream.checkpoints.motionstreamer import load_distilbert
from kinestream.conditioning.text import MINILM_NAME, text_encoder
from kinestream.data.clips import MotionClips
from kinestream.errors import BadInputError
from kinestream.metrics import multimodal_distance, r_precision
from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.loss import LossWeights, evaluator_loss
from kinestream.models.evaluator.model import Evaluator, LatentDistribution
from kinestream.training.loop import Batch
from kinestream.training.recipe import recipe
from kinestream.training.text.caption_cache import encode_captions

RETRIEVAL_BATCH = 32
COMPARISONS = ("captions", "clips")


@dataclass(frozen=True)
class EvaluatorTaskConfig:
    """Settings of this recipe."""

    text_encoder: str = MINILM_NAME
    """Sentence encoder: of the text features, unless a language model is inside, and of the filter of negatives."""
    distilbert: str = ""
    """File of distilbert-base-uncased's weights, for a model with the language model inside (which stays as it is)."""
    smallest_crop: float = 1.0
    """Share of a clip that a training crop has at least."""
    noise: float = 0.0
    """Noise on training features, in standard deviations of their slices."""
    compare: str = "captions"
    """What must be alike for a pair to be no negative: the two "captions", or all captions of the two "clips"."""
    length_groups: int = 1
    """Groups of samples of like length that a part of a batch is worked on in, to save padding."""
    reconstruction_weight: float = LossWeights.reconstruction
    """Weight of the reconstructions."""
    kl_weight: float = LossWeights.kl
    """Weight of the divergences."""
    latent_weight: float = LossWeights.latent
    """Weight of the distance of the two latents."""
    contrastive_weight: float = LossWeights.contrastive
    """Weight of InfoNCE."""
    temperature: float = LossWeights.temperature
    """Temperature of InfoNCE."""
    similarity: float = LossWeights.similarity
    """Cosine from which on two texts are no negatives of each other."""
    contrast_means: bool = LossWeights.contrast_means
    """InfoNCE compares the means instead of samples."""

    def __post_init__(self) -> None:
        if self.compare not in COMPARISONS:
            raise BadInputError(f"[task] compare: expected {' or '.join(COMPARISONS)}, got {self.compare!r}")
        if not 0.0 < self.smallest_crop <= 1.0 or self.noise < 0.0 or self.length_groups < 1:
            raise BadInputError(
                "[task] expected 0 < smallest_crop <= 1, noise of at least 0, length_groups of at least 1"
            )
        if self.temperature <= 0.0:
            raise BadInputError(f"[task] temperature must be above 0, got {self.temperature}")

    @property
    def weights(self) -> LossWeights:
        """The loss's own settings."""
        return LossWeights(
            self.reconstruction_weight, self.kl_weight, self.latent_weight, self.contrastive_weight,
            self.temperature, self.similarity, self.contrast_means,
        )  # fmt: skip


class _Captions:
    """All captions of a split: their sentence embeddings, each clip's rows, and each clip's mean embedding."""

    def __init__(self, clips: MotionClips, encoder_name: str, cache: Path) -> None:
        rows: dict[str, int] = {}
        self.of_clip = [[rows.setdefault(text, len(rows)) for text in part.captions] for part in clips.parts]
        self.texts = list(rows)
        self.embeddings = encode_captions(text_encoder(encoder_name), self.texts, cache)
        means = torch.stack([self.embeddings[own].mean(dim=0) for own in self.of_clip])
        self.clip_embeddings = functional.normalize(means, dim=-1)


class EvaluatorTask:
    """Batches of different clips, each with one of its captions."""

    def __init__(
        self,
        model_config: EvaluatorConfig,
        config: EvaluatorTaskConfig,
        data: Sequence[str],
        seed: int,
        cache: Path,
    ) -> None:
        if model_config.language_layers == 0 and text_encoder(config.text_encoder).dim != model_config.text_dim:
            raise BadInputError(
                f"[model] text_dim must be {text_encoder(config.text_encoder).dim}, the width of {config.text_encoder}"
            )
        if bool(config.distilbert) != (model_config.language_layers > 0):
            raise BadInputError(
                "[task] distilbert: expected the published weights where, and only where, [model] language_layers > 0"
            )
        torch.manual_seed(seed)
        self.config, self.seed = config, seed
        self.model = Evaluator(model_config)
        if self.model.language is not None:
            load_distilbert(config.distilbert, self.model)
            self.model.language.requires_grad_(False)
        self.clips, self.held_out = MotionClips.load(data, "train"), MotionClips.load(data, "val")
        self.captions = _Captions(self.clips, config.text_encoder, cache / "captions-train.safetensors")
        self._probabilities = np.asarray(self.clips.weights) / np.sum(self.clips.weights)

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Normalised motions [B, T, D] in the order of their lengths, their texts, and what texts are compared by."""
        if rows > len(self.clips.parts):
            raise BadInputError(
                f"[loop] a part of a batch has {rows} rows, but the split has {len(self.clips.parts)} clips; "
                "all must be different, so lower batch_size"
            )
        picks = rng.choice(len(self.clips.parts), rows, replace=False, p=self._probabilities)
        motions = sorted(((self._crop(int(pick), rng), int(pick)) for pick in picks), key=lambda pair: len(pair[0]))
        chosen = [self.captions.of_clip[pick] for _, pick in motions]
        texts = [own[int(rng.integers(len(own)))] for own in chosen]
        features = torch.nn.utils.rnn.pad_sequence([motion for motion, _ in motions], batch_first=True)
        if self.config.noise > 0:
            noise = torch.from_numpy(rng.standard_normal(features.shape, dtype=np.float32))
            features = features + self.config.noise * noise
        compared = (
            self.captions.clip_embeddings[[pick for _, pick in motions]]
            if self.config.compare == "clips"
            else self.captions.embeddings[texts]
        )
        lengths = torch.tensor([len(motion) for motion, _ in motions])
        return {"features": features, "lengths": lengths, "compared": compared} | self._text(texts)

    def _crop(self, index: int, rng: np.random.Generator) -> Tensor:
        """A crop of the clip, normalised; of at most the model's frames, from anywhere in the clip."""
        frames = self.clips.parts[index].frames
        shown = round(frames * rng.uniform(self.config.smallest_crop, 1.0)) if self.config.smallest_crop < 1 else frames
        shown = max(1, min(shown, self.model.config.max_frames))
        start = int(rng.integers(0, frames - shown + 1))
        return self.clips.statistics.normalize(self.clips.features(index, start, start + shown))

    def _text(self, rows: Sequence[int]) -> Batch:
        if self.model.language is None:
            return {"text": self.captions.embeddings[list(rows)]}
        limit = self.model.config.max_tokens
        ids, lengths = padded_ids([word_pieces(self.captions.texts[row], limit) for row in rows])
        return {"token_ids": ids, "token_lengths": lengths}

    def _encode_text(self, batch: Batch) -> LatentDistribution:
        if "token_ids" in batch:
            return self.model.encode_token_ids(batch["token_ids"], batch["token_lengths"])
        text = batch["text"]
        return self.model.encode_text(text[:, None], torch.ones(len(text), dtype=torch.long, device=text.device))

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """TMR's sum of losses. Dropout follows from the generator, too, so that a resumed run takes the same steps."""
        compared = functional.normalize(batch["compared"].float(), dim=-1)
        with torch.autocast(compared.device.type, enabled=False):
            similarity = compared @ compared.T
        with torch.random.fork_rng([compared.device] if compared.is_cuda else []):
            torch.manual_seed(generator.initial_seed())
            terms = evaluator_loss(
                self.model, batch["features"], batch["lengths"], self._encode_text(batch), similarity,
                self.config.weights, generator, groups=self.config.length_groups,
            )  # fmt: skip
        return terms._asdict()

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """R-Precision and multimodal distance on held-out clips, each with one caption that no other has."""
        evaluator = self.evaluator({})
        chosen = distinct_captions([part.captions for part in self.held_out.parts], seed=0)
        text = evaluator.embed_text([caption for _, caption in chosen])
        motion = evaluator.embed_motion([self.held_out.features(index) for index, _ in chosen])
        batch = min(RETRIEVAL_BATCH, len(chosen))
        top = min(3, batch)
        ranks = r_precision(text, motion, batch=batch, top=top, generator=torch.Generator().manual_seed(0))
        values = {f"val/r_precision_{k + 1}": float(ranks[k]) for k in range(top)}
        values["val/multimodal_distance"] = float(multimodal_distance(text, motion))
        shown = ", ".join(f"{name.removeprefix('val/')} {value:.3f}" for name, value in values.items())
        tqdm.write(f"step {step}: {shown} ({len(chosen)} held-out clips, batches of {batch})", file=sys.stderr)
        return values

    def evaluator(self, provenance: Mapping[str, Any]) -> TextMotionEvaluator:
        """What those who measure use."""
        name = DISTILBERT if self.model.language is not None else self.config.text_encoder
        return TextMotionEvaluator(self.model, self.clips.statistics, name, provenance=dict(provenance))

    def export(self, folder: Path, step: int) -> None:
        """The evaluator with its statistics and where it came from."""
        save_evaluator(folder, self.evaluator({"steps": step, "seed": self.seed}))


def distinct_captions(captions: Sequence[Sequence[str]], seed: int) -> list[tuple[int, str]]:
    """A caption for each clip, no two the same: (index, caption); a clip whose captions are all taken is left out."""
    rng, taken, chosen = np.random.default_rng(seed), set(), []
    for index, own in enumerate(captions):
        free = [caption for caption in own if caption not in taken]
        if free:
            caption = free[int(rng.integers(len(free)))]
            taken.add(caption)
            chosen.append((index, caption))
    return chosen


train_evaluator = recipe(
    EVALUATOR,
    EvaluatorTaskConfig,
    lambda config, settings, output: EvaluatorTask(
        EvaluatorConfig.from_json(config.model), settings, config.data, config.loop.seed, output
    ),
    lambda task, config, *_: {"task": config.task},
)
