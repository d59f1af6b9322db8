"""Whether a prompt is among what a model has learnt, from its sentence alone.

A sentence embedding puts "swings a golf club" near "swings a sword", so nearness to known sentences says little by
itself. What tells is the *difference*: nearer to sentences of the training data, or nearer to sentences about things
that were never recorded (other deeds, objects, talk, other languages, nonsense)? The index holds both kinds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kinestream.conditioning.text import TextEncoder, text_encoder
from kinestream.errors import BadInputError

DEFAULT_INDEX = Path(__file__).resolve().parent.parent / "assets" / "known_sentences.safetensors"
FORMAT = "kinestream-known-sentences"
# Neighbours on each side whose mean counts: one alone may be a chance likeness.
NEIGHBOURS = 3
NEAREST_SHOWN = 3


@dataclass(frozen=True)
class Familiarity:
    """What a model may know of a prompt.

    Attributes:
        score: 0 (nothing like it was learnt) to 1, calibrated: of prompts with 0.7 about seven in ten are known ones,
            where both kinds come equally often.
        known: whether the score is above the index's threshold.
        nearest: the known sentences nearest in meaning, nearest first, one for each label.
        recordings: how many recordings stand behind the nearest one's labels.
    """

    score: float
    known: bool
    nearest: tuple[str, ...]
    recordings: int


@dataclass(frozen=True)
class Sentence:
    """A known sentence: its text, its labels (an empty style says none), and the recordings that carry them."""

    text: str
    content: str
    style: str
    recordings: int


@dataclass(frozen=True, eq=False)
class KnownSentences:
    """Sentences that a model has learnt and sentences that it has not, as embeddings.

    Attributes:
        encoder: name of the sentence encoder.
        sentences: what the rows of `known` say.
        known: [N, D] embeddings of unit length.
        unlike: [M, D] embeddings of what was never recorded.
        slope: of the calibration, for each unit of the difference.
        threshold: difference of nearness at which prompts begin to count as known.
        middle: difference at which known and unknown prompts are equally likely.
    """

    encoder: str
    sentences: tuple[Sentence, ...]
    known: Float[Tensor, "n d"]
    unlike: Float[Tensor, "m d"]
    slope: float
    middle: float
    threshold: float

    def differences(self, embeddings: Float[Tensor, "p d"]) -> Float[Tensor, " p"]:
        """Mean cosine with the nearest known sentences less that with the nearest others, for each prompt."""
        return _nearness(embeddings, self.known) - _nearness(embeddings, self.unlike)

    def assess(self, embedding: Float[Tensor, " d"]) -> Familiarity:
        """What a prompt's embedding says; see `Familiarity`."""
        difference = float(self.differences(embedding[None])[0])
        score = 1.0 / (1.0 + math.exp(-self.slope * (difference - self.middle)))
        found: dict[tuple[str, str], Sentence] = {}
        for row in (self.known @ embedding).argsort(descending=True).tolist():
            sentence = self.sentences[row]
            found.setdefault((sentence.content, sentence.style), sentence)
            if len(found) == NEAREST_SHOWN:
                break
        nearest = list(found.values())
        return Familiarity(
            score, difference >= self.threshold, tuple(one.text for one in nearest), nearest[0].recordings
        )


def _nearness(embeddings: Tensor, rows: Tensor) -> Tensor:
    cosines = torch.nn.functional.normalize(embeddings, dim=-1) @ rows.T
    return cosines.topk(min(NEIGHBOURS, len(rows)), dim=-1).values.mean(dim=-1)


def assess(prompt: str, index: KnownSentences | None = None, encoder: TextEncoder | None = None) -> Familiarity:
    """Whether a prompt is among what the packaged model (or that of `index`) has learnt.

    Looks at the sentence only: what the model then makes of it is for the evaluator to say. English; other languages
    are unknown. Raises BadInputError for a prompt without words, as the encoders do.
    """
    index = load_known() if index is None else index
    encoder = text_encoder(index.encoder) if encoder is None else encoder
    return index.assess(encoder.encode([prompt])[0])


def quantized(embeddings: Float[Tensor, "n d"]) -> tuple[Int8[Tensor, "n d"], Float[Tensor, "n 1"]]:
    """Rows as int8 with a scale each, for the index file."""
    scale = embeddings.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / 127.0
    return (embeddings / scale).round().to(torch.int8), scale


@lru_cache(maxsize=4)
def load_known(path: Path = DEFAULT_INDEX) -> KnownSentences:
    """Read an index that `scripts/build_known_sentences.py` wrote; BadInputError where there is none."""
    try:
        with safe_open(str(path), framework="pt") as file:
            facts: Mapping[str, str] = file.metadata() or {}
            if facts.get("format") != FORMAT:
                raise ValueError(f"its format is {facts.get('format')!r}")
            rows = {name: file.get_tensor(name) for name in ("known", "known_scale", "unlike", "unlike_scale")}
        sentences = tuple(Sentence(*row) for row in json.loads(facts["sentences"]))
        settings = json.loads(facts["settings"])
        known, unlike = (_rows(rows, name) for name in ("known", "unlike"))
        if len(known) != len(sentences):
            raise ValueError(f"{len(known)} embeddings of {len(sentences)} sentences")
        return KnownSentences(
            str(settings["encoder"]),
            sentences,
            known,
            unlike,
            float(settings["slope"]),
            float(settings["middle"]),
            float(settings["threshold"]),
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path}: expected an index of known sentences: {error}. Reinstall the package, or build one with "
            "scripts/build_known_sentences.py."
        ) from None


def _rows(rows: Mapping[str, Tensor], name: str) -> Tensor:
    return torch.nn.functional.normalize(rows[name].float() * rows[f"{name}_scale"].float(), dim=-1)


def calibrated(known: Sequence[float], unknown: Sequence[float], false_alarms: float) -> tuple[float, float, float]:
    """Slope, middle and threshold from the differences of known and unknown prompts.

    The threshold is the value below which a share of `false_alarms` of the known prompts lies. Slope and middle are
    those of two normal distributions of one deviation, in which the odds are a straight line.
    """
    if min(len(known), len(unknown)) < 2:
        raise BadInputError(
            f"calibration needs at least 2 known and 2 unknown prompts, got {len(known)} and {len(unknown)}"
        )
    a, b = (torch.tensor(values, dtype=torch.float64) for values in (known, unknown))
    variance = float(((a - a.mean()).square().sum() + (b - b.mean()).square().sum()) / (len(a) + len(b) - 2))
    return (
        float(a.mean() - b.mean()) / max(variance, 1e-9),
        float(a.mean() + b.mean()) / 2.0,
        float(a.quantile(false_alarms)),
    )
