"""A trained evaluator as those who measure use it: motions and sentences in, embeddings out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kinestream.checkpoints.family import Family, Setting
from kinestream.checkpoints.folder import EVALUATOR
from kinestream.conditioning.minilm import MiniLM
from kinestream.conditioning.text import check_prompt, text_encoder
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.model import Evaluator

DEFAULT_EVALUATOR_DIR = Path(__file__).resolve().parent.parent / "assets" / "default_evaluator"
# Name of the text side where the language model is inside the evaluator.
DISTILBERT = "distilbert"
_BATCH = 32

T = TypeVar("T", bound=Sized)


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
        """Values of an embedding."""
        return self.model.config.latent_dim

    @property
    def max_frames(self) -> int:
        """Frames of a motion that count; what comes after is not looked at."""
        return self.model.config.max_frames

    @torch.no_grad()
    def embed_motion(self, motions: Sequence[Float[Tensor, "t d"]]) -> Float[Tensor, "n c"]:
        """Embeddings of motions (un-normalised features, 30 frames a second), float32 on the CPU.

        Of motions longer than `max_frames` the beginning is embedded, as in the authors' evaluation. Raises
        BadInputError for another width, no frames, or values that are not finite.
        """
        for index, motion in enumerate(motions):
            _check_motion(motion, index, self.model.config, self.layout)
        device = next(self.model.parameters()).device

        def embedded(batch: list[Tensor]) -> Tensor:
            shown = [self.statistics.normalize(motion[: self.max_frames].float().cpu()) for motion in batch]
            lengths = torch.tensor([len(motion) for motion in shown], device=device)
            padded = torch.nn.utils.rnn.pad_sequence(shown, batch_first=True).to(device)
            return self.model.encode_motion(padded, lengths).mean

        return self._in_batches(list(motions), embedded)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "n c"]:
        """Embeddings of sentences, float32 on the CPU; BadInputError for an empty text or one string for a list."""
        if isinstance(texts, str):
            raise BadInputError("embed_text expects a list of texts; got one string. Pass [text].")
        if not texts:
            return torch.zeros(0, self.dim)
        device = next(self.model.parameters()).device
        if self.text_encoder == DISTILBERT:

            def embedded(batch: list[list[int]]) -> Tensor:
                padded, lengths = padded_ids(batch)
                return self.model.encode_token_ids(padded.to(device), lengths.to(device)).mean

            return self._in_batches([word_pieces(text, self.model.config.max_tokens) for text in texts], embedded)
        features = text_encoder(self.text_encoder).encode(list(texts)).to(device)
        one = torch.ones(len(texts), dtype=torch.long, device=device)
        return self._scaled(self.model.encode_text(features[:, None], one).mean.float().cpu())

    def _in_batches(self, items: Sequence[T], embedded: Callable[[list[T]], Tensor]) -> Tensor:
        """Embeddings of items, those of like length together."""
        embeddings = torch.zeros(len(items), self.dim)
        order = sorted(range(len(items)), key=lambda index: len(items[index]))
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            embeddings[chosen] = embedded([items[index] for index in chosen]).float().cpu()
        return self._scaled(embeddings)

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


_FAMILY = Family(
    EVALUATOR,
    TextMotionEvaluator,
    networks={"model": EVALUATOR},
    settings={"text_encoder": Setting(str)},
    packaged=DEFAULT_EVALUATOR_DIR,
)
save_evaluator, load_evaluator = _FAMILY.save, _FAMILY.load
