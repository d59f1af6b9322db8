"""sentence-t5-xxl (Ni et al., 2022) from a user's folder: T5 encoder, token mean, dense 1024 -> 768, unit length."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinestream.errors import BadInputError, MissingExtraError

EXTRA = "t5"


class _Tokenize(Protocol):
    def __call__(self, text: str) -> list[int]: ...


class SentenceT5:
    """The encoder's network, its projection and its vocabulary."""

    def __init__(self, network: Any, projection: Tensor, tokenize: _Tokenize) -> None:
        self._network = network
        self._projection = projection
        self._tokenize = tokenize
        self.dim = projection.shape[0]

    @classmethod
    def from_folder(cls, folder: Path) -> SentenceT5:
        """The model in `folder`, in the precision of its weights file.

        Raises:
            BadInputError: the folder is no sentence-t5 model, or a file is missing or damaged.
            MissingExtraError: `transformers` (or `sentencepiece`, without a `tokenizer.json`) is not installed.
        """
        config = _read_config(folder)
        _require("transformers")
        os.environ["HF_HUB_OFFLINE"] = "1"
        tokenize = _tokenizer(folder)
        projection = _projection(folder)
        if projection.ndim != 2 or projection.shape[1] != config["d_model"]:
            raise BadInputError(
                f"{folder / '2_Dense'} holds a projection of shape {tuple(projection.shape)}; "
                f"expected [768, {config['d_model']}] after this encoder. Copy the published model again."
            )
        from transformers import T5EncoderModel

        try:
            network: Any = T5EncoderModel.from_pretrained(str(folder), local_files_only=True, dtype="auto")
        except Exception as error:  # the library raises many kinds for a damaged file; all mean the same here
            raise BadInputError(f"{folder} does not load as a T5 encoder: {error}") from error
        return cls(network.eval().requires_grad_(False), projection.float(), tokenize)

    def token_ids(self, text: str) -> list[int]:
        """SentencePiece ids with the closing </s>; never cut."""
        return self._tokenize(text)

    @torch.no_grad()
    def embed(self, token_ids: list[list[int]]) -> Float[Tensor, "n dim"]:
        """Unit vectors of N token lists; lists of unequal length are padded and masked."""
        longest = max(len(ids) for ids in token_ids)
        tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids in token_ids])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in token_ids])
        hidden = self._network(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
        weight = mask.unsqueeze(-1).float()
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        return F.normalize(F.linear(pooled, self._projection), dim=-1)


def _read_config(folder: Path) -> dict[str, Any]:
    advice = "Point it at a copy of the published sentence-t5-xxl model."
    if not folder.is_dir():
        raise BadInputError(f"The sentence-t5 folder {folder} does not exist. {advice}")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{folder} holds no readable config.json ({error}). {advice}") from error
    if not isinstance(config, dict) or config.get("model_type") != "t5" or not isinstance(config.get("d_model"), int):
        kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise BadInputError(f"{folder}/config.json describes {kind!r}, not a T5 encoder. {advice}")
    return config


def _tokenizer(folder: Path) -> _Tokenize:
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        try:
            fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception for a damaged file
            raise BadInputError(f"{folder / 'tokenizer.json'} is damaged: {error}") from error
        fast.no_truncation()
        fast.no_padding()
        return lambda text: list(fast.encode(text).ids)
    pieces = folder / "spiece.model"
    if not pieces.is_file():
        raise BadInputError(f"{folder} holds neither tokenizer.json nor spiece.model. Copy the published model again.")
    _require("sentencepiece")
    try:
        processor = importlib.import_module("sentencepiece").SentencePieceProcessor(model_file=str(pieces))
    except Exception as error:  # sentencepiece raises RuntimeError, OSError or TypeError for a damaged file
        raise BadInputError(f"{pieces} is damaged: {error}") from error
    return lambda text: [*processor.encode(text), processor.eos_id()]


def _projection(folder: Path) -> Tensor:
    dense = folder / "2_Dense"
    try:
        if (dense / "model.safetensors").is_file():
            from safetensors.torch import load_file

            weights = load_file(dense / "model.safetensors")
        else:
            weights = torch.load(dense / "pytorch_model.bin", map_location="cpu", weights_only=True)
        return weights["linear.weight"]
    except Exception as error:  # missing file, damaged file, a pickle with code in it, or another layout
        raise BadInputError(f"{dense} holds no readable projection ({error}). Copy the published one again.") from error


def _require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"The text encoder sentence-t5-xxl (through {module})", EXTRA)
