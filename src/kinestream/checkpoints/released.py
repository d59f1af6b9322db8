"""Import of MotionStreamer's released checkpoints; code inside their pickles never runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kinestream.checkpoints.bundle import (
    EndLatentSource,
    TextToMotionModel,
    reference_end_latent,
    save_text_to_motion,
)
from kinestream.checkpoints.folder import build_network, check_names_and_shapes
from kinestream.conditioning.text import SENTENCE_T5_NAME
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.ar_diffusion import released_keys as ar_keys
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.causal_tae import released_keys as tae_keys
from kinestream.models.causal_tae.model import CausalTAE

RELEASED_STOP_THRESHOLD = 0.1
_MAX_FILE_BYTES = 8 * 1024**3


def import_motionstreamer(
    tae: str | Path,
    ar: str | Path,
    stats: str | Path,
    out: str | Path,
    *,
    num_heads: int | None = None,
    end_latent: EndLatentSource = "normalized-zero",
    stop_threshold: float = RELEASED_STOP_THRESHOLD,
) -> TextToMotionModel:
    """Turn the authors' files into a model folder `out`, and give the model.

    tae, ar: .pth or .pt files (a state dict under "net" and "trans", with or without "module." before the names) or
    .safetensors with the same names. stats: an npz with mean and std, or a folder with Mean.npy and Std.npy. The
    configurations are read off the tensors' shapes; `num_heads` only where it isn't the released hidden_dim / 64.
    end_latent: the release used one posterior sample of the mean pose, "normalized-zero", and its weights were trained
    towards that; the posterior mean is its centre.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    tae, ar, stats = Path(tae), Path(ar), Path(stats)
    statistics = Statistics.load(stats)
    encoder_decoder = _import_tae(tae)
    transformer = _import_ar(ar, num_heads)
    model = TextToMotionModel(
        tae=encoder_decoder,
        ar=transformer,
        statistics=statistics,
        end_latent=reference_end_latent(encoder_decoder, statistics, end_latent),
        stop_threshold=stop_threshold,
        text_encoder=SENTENCE_T5_NAME,
        provenance={
            "source": "MotionStreamer, released checkpoints",
            "end_latent": end_latent,
            "files": {path.name: _sha256(path) for path in (tae, ar)},
        },
        empty_text_known=False,
    )
    save_text_to_motion(out, model)
    return model


def _import_tae(path: Path) -> CausalTAE:
    released = load_released(path, "net")
    config = tae_keys.config_from_released_shapes(_shapes(released))
    tensors = _renamed(released, tae_keys.released_key_map(config), path)
    model = build_network(CausalTAE, config, tensors, where=str(path))
    assert isinstance(model, CausalTAE)
    return model


def _import_ar(path: Path, num_heads: int | None) -> ARDiffusion:
    released = load_released(path, "trans")
    config = ar_keys.config_from_released_shapes(_shapes(released), num_heads)
    own = {
        "latent_mean": torch.zeros(config.latent_dim),
        "latent_std": torch.ones(config.latent_dim),
        "empty_text": torch.zeros(config.text_dim),
    }
    tensors = {**_renamed(released, ar_keys.released_key_map(config), path), **own}
    model = build_network(ARDiffusion, config, tensors, where=str(path))
    assert isinstance(model, ARDiffusion)
    return model


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _renamed(released: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Our names for their tensors; every one of theirs must be used."""
    expected = {theirs: released[theirs].shape for theirs in names.values() if theirs in released}
    expected |= {theirs: torch.Size() for theirs in names.values() if theirs not in released}
    check_names_and_shapes(released, expected, where=str(path))
    return {ours: released[theirs] for ours, theirs in names.items()}


def load_released(path: Path, key: str) -> dict[str, Tensor]:
    """Load the state dict of a released file: the whole .safetensors, or what stands under `key` in a .pth or .pt.

    Only tensors and plain containers are unpickled; anything else in the file is refused before it can act. Raises
    BadInputError where the file is missing, damaged or holds no such state dict.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: expected a released checkpoint, but there is no such file.")
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise BadInputError(f"{path} is larger than any released checkpoint ({path.stat().st_size} bytes).")
    if path.suffix.lower() == ".safetensors":
        try:
            state: Any = load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise BadInputError(f"{path} is no safetensors file: {error}.") from error
    else:
        state = _unpickled(path)
        if isinstance(state, Mapping) and key in state and isinstance(state[key], Mapping):
            state = state[key]
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items())
    ):
        raise BadInputError(f'{path}: expected tensors by name, or a dictionary that has them under "{key}".')
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or hostile file raises is anybody's guess
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInputError(
            f"{path} can't be loaded safely: it is damaged or holds more than tensors. Nothing in it was run. "
            f"({first_line[:200]})"
        ) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
