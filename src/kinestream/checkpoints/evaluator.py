"""A trained evaluator as those who measure use it: motions and sentences in, embeddings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.checkpoints.folder import (
    ModelInfo,
    build_network,
    load_statistics,
    load_tensors,
    model_tensors,
    read_model_info,
    statistics_tensors,
    write_folder,
)
from kinestream.conditioning.minilm import MiniLM
from kinestream.conditioning.text import check_prompt, text_encoder
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.model import Evaluator

EVALUATOR = "evaluator"
DEFAULT_EVALUATOR_DIR = Path(__file__).resolve().parent.parent / "assets" / "default_evaluator"
# Name of the text side where the language model is inside the evaluator.
DISTILBERT = "distilbert"
_BATCH = 32


@dataclass(frozen=True, eq=False)
class TextMotionEvaluator:
    """An evaluator with everything that embedding needs.

    Attributes:
        model: the networks, in eval mode.
        statistics: of the features that `model` reads.
        text_encoder: name of the sentence encoder, or "distilbert" where the language model is inside.
        layout: name of the feature layout.
        provenance: data, licence, recipe and figures.
    """

    model: Evaluator
    statistics: Statistics
    text_encoder: str
    layout: str = MOTION272.name
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.model.config
        if self.statistics.mean.shape != (config.feature_dim,):
            raise BadInputError(
                f"The statistics are of {self.statistics.mean.shape[0]} features, the evaluator has "
                f"{config.feature_dim}."
            )
        if (self.text_encoder == DISTILBERT) != (config.language_layers > 0):
            raise BadInputError(
                f"The text encoder {self.text_encoder!r} doesn't fit the evaluator, which has "
                f"{config.language_layers} blocks of a language model inside."
            )

    @property
    def dim(self) -> int:
        """Numbers of an embedding."""
        return self.model.config.latent_dim

    @property
    def max_frames(self) -> int:
        """Frames of a motion that count; what comes after is not looked at."""
        return self.model.config.max_frames

    @torch.no_grad()
    def embed_motion(self, motions: Sequence[Float[Tensor, "t d"]]) -> Float[Tensor, "n c"]:
        """Embeddings of motions (un-normalised features, 30 frames a second), float32 on the CPU.

        Of motions longer than `max_frames` the beginning is embedded, as in the authors' evaluation. Raises
        BadInputError for another width, no frames, or numbers that are not finite.
        """
        for index, motion in enumerate(motions):
            _check_motion(motion, index, self.model.config, self.layout)
        device = next(self.model.parameters()).device
        embeddings = torch.zeros(len(motions), self.dim)
        order = sorted(range(len(motions)), key=lambda index: len(motions[index]))
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            shown = [self.statistics.normalize(motions[row][: self.max_frames].float().cpu()) for row in rows]
            lengths = torch.tensor([len(motion) for motion in shown], device=device)
            padded = torch.nn.utils.rnn.pad_sequence(shown, batch_first=True).to(device)
            embeddings[rows] = self.model.encode_motion(padded, lengths).mean.float().cpu()
        return self._scaled(embeddings)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n c"]:
        """Embeddings of sentences, float32 on the CPU; BadInputError for an empty text or one string for a list."""
        if isinstance(texts, str):
            raise BadInputError("embed_text expects a list of texts; got one string. Pass [text].")
        if not texts:
            return torch.zeros(0, self.dim)
        device = next(self.model.parameters()).device
        if self.text_encoder == DISTILBERT:
            return self._scaled(self._embed_with_language_model(list(texts), device))
        features = text_encoder(self.text_encoder).encode(list(texts)).to(device)
        one = torch.ones(len(texts), dtype=torch.long, device=device)
        return self._scaled(self.model.encode_text(features[:, None], one).mean.float().cpu())

    def _embed_with_language_model(self, texts: list[str], device: torch.device) -> Tensor:
        ids = [word_pieces(text, self.model.config.max_tokens) for text in texts]
        embeddings = torch.zeros(len(texts), self.dim)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            padded, lengths = padded_ids([ids[row] for row in rows])
            posterior = self.model.encode_token_ids(padded.to(device), lengths.to(device))
            embeddings[rows] = posterior.mean.float().cpu()
        return embeddings

    def _scaled(self, embeddings: Tensor) -> Tensor:
        return functional.normalize(embeddings, dim=-1) if self.model.config.unit_embeddings else embeddings


@lru_cache(maxsize=1)
def _tokenizer() -> MiniLM:
    return MiniLM.from_package()


def word_pieces(text: str, max_tokens: int) -> list[int]:
    """Word-piece ids of a text for DistilBERT, which shares its vocabulary with the packaged sentence encoder.

    Longer texts are cut to `max_tokens`, the last of which still ends the text.
    """
    ids = _tokenizer().token_ids(check_prompt(text))
    return ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]


def padded_ids(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [B, S], padded with zeros, and lengths [B]."""
    longest = max(len(row) for row in ids)
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids]), torch.tensor([len(row) for row in ids])


def _check_motion(motion: Tensor, index: int, config: EvaluatorConfig, layout: str) -> None:
    if not isinstance(motion, Tensor) or motion.ndim != 2 or motion.shape[1] != config.feature_dim or not len(motion):
        got = tuple(motion.shape) if isinstance(motion, Tensor) else type(motion).__name__
        raise BadInputError(
            f"motion {index}: expected {layout} features [frames, {config.feature_dim}] with at least one frame, "
            f"got {got}"
        )
    if not bool(torch.isfinite(motion).all()):
        raise BadInputError(f"motion {index}: the features hold NaN or infinity; repair or leave out the motion")


def save_evaluator(
    folder: str | Path, evaluator: TextMotionEvaluator, *, weights_dtype: torch.dtype | None = None
) -> None:
    """Write a model folder, whole or not at all; `weights_dtype=torch.float16` halves its size.

    Raises BadInputError where the folder holds something else, KinestreamError where it can't be written.
    """
    info = ModelInfo(
        EVALUATOR,
        {EVALUATOR: evaluator.model.config.to_json()},
        evaluator.layout,
        {"text_encoder": evaluator.text_encoder},
        dict(evaluator.provenance),
    )
    tensors = {
        EVALUATOR: model_tensors(evaluator.model, weights_dtype),
        "statistics": statistics_tensors(evaluator.statistics),
    }
    write_folder(Path(folder), info, tensors)


def load_evaluator(path: str | Path | None = None) -> TextMotionEvaluator:
    """Load an evaluator in float32 and eval mode; without a path, the packaged one.

    Raises BadInputError where the folder is missing, damaged or of another kind.
    """
    where = DEFAULT_EVALUATOR_DIR if path is None else Path(path)
    if path is None and not where.is_dir():
        raise BadInputError("This installation carries no packaged evaluator; name a model folder.")
    info = read_model_info(where, EVALUATOR)
    name = info.settings.get("text_encoder")
    if not isinstance(name, str) or EVALUATOR not in info.configs:
        raise BadInputError(f"{where / 'model.json'}: the text encoder's name or the configuration is missing.")
    config = EvaluatorConfig.from_json(info.configs[EVALUATOR])
    model = build_network(Evaluator, config, load_tensors(where, info, EVALUATOR), where=str(where))
    assert isinstance(model, Evaluator)
    return TextMotionEvaluator(model, load_statistics(where, info), name, info.layout, info.provenance)
