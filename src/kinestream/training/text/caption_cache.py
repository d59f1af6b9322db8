"""Caption embeddings kept beside a run, so that resuming does not encode tens of thousands of sentences again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from kinestream.conditioning.text import TextEncoder
from kinestream.io.atomic import atomic_path

_CHUNK = 512


def encode_captions(encoder: TextEncoder, captions: Sequence[str], cache: Path) -> Tensor:
    """Embeddings [N, E] of captions, from `cache` when it holds these very captions of this encoder."""
    key = hashlib.sha256("\n".join([encoder.name, *captions]).encode()).hexdigest()
    found = _read(cache, key)
    if found is not None:
        return found
    parts = [
        encoder.encode(captions[first : first + _CHUNK])
        for first in tqdm(range(0, len(captions), _CHUNK), desc="captions", mininterval=2.0)
    ]
    embeddings = parts[0].new_empty(len(captions), encoder.dim)
    for index, part in enumerate(parts):
        embeddings[index * _CHUNK : index * _CHUNK + len(part)] = part
    cache.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(cache) as path:
        save_file({"embeddings": embeddings}, path, metadata={"key": key})
    return embeddings


def _read(cache: Path, key: str) -> Tensor | None:
    if not cache.is_file():
        return None
    try:
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            embeddings: Tensor = file.get_tensor("embeddings")
            return embeddings
    except (SafetensorError, OSError, KeyError):
        return None  # a damaged cache is made anew
