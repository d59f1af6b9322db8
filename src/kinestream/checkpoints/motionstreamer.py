"""Import of MotionStreamer's released autoencoder, autoregressive model and evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints.bundle import (
    EndLatentSource,
    TextToMotionModel,
    reference_end_latent,
    save_text_to_motion,
)
from kinestream.checkpoints.evaluator import DISTILBERT, TextMotionEvaluator, save_evaluator
from kinestream.checkpoints.folder import build_network, check_names_and_shapes
from kinestream.checkpoints.released import file_hashes, load_released, renamed, shapes
from kinestream.conditioning.text import SENTENCE_T5_NAME
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.ar_diffusion import released_keys as ar_keys
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.causal_tae import released_keys as tae_keys
from kinestream.models.causal_tae.model import CausalTAE
from kinestream.models.evaluator import released_keys as evaluator_keys
from kinestream.models.evaluator.model import Evaluator

RELEASED_STOP_THRESHOLD = 0.1


def import_motionstreamer(
    tae: str | Path,
    ar: str | Path,
    stats: str | Path,
    out: str | Path,
    *,
    num_heads: int | None = None,
    end_latent: EndLatentSource | Path = "normalized-zero",
    stop_threshold: float = RELEASED_STOP_THRESHOLD,
) -> TextToMotionModel:
    """Turn the authors' files into a model folder `out`, and give the model.

    tae, ar: .pth or .pt files (a state dict under "net" and "trans", with or without "module." before the names) or
    .safetensors with the same names. stats: an npz with mean and std, or a folder with Mean.npy and Std.npy. The
    configurations are read off the tensors' shapes; `num_heads` only where it isn't the released hidden_dim / 64.
    end_latent: the release used one posterior sample of the mean pose and trained towards it: its file
    reference_end_latent_t2m_272.npy as a Path. Without the file "normalized-zero", the posterior's mean, is its centre.
    The provenance says which it is.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    tae, ar = Path(tae), Path(ar)
    statistics = Statistics.load(stats)
    autoencoder, transformer = _import_tae(tae), _import_ar(ar, num_heads)
    model = TextToMotionModel(
        tae=autoencoder,
        ar=transformer,
        statistics=statistics,
        end_latent=_end_latent(autoencoder, statistics, end_latent),
        stop_threshold=stop_threshold,
        text_encoder=SENTENCE_T5_NAME,
        provenance={
            "source": "MotionStreamer, released checkpoints",
            "end_latent": end_latent.name if isinstance(end_latent, Path) else end_latent,
            "files": file_hashes(tae, ar),
        },
        empty_text_known=False,
    )
    save_text_to_motion(out, model)
    return model


def _end_latent(tae: CausalTAE, statistics: Statistics, source: EndLatentSource | Path) -> Tensor:
    if not isinstance(source, Path):
        return reference_end_latent(tae, statistics, source)
    width = tae.config.latent_dim
    try:
        values = np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{source}: expected the reference end latent as an array (.npy): {error}.") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.size != width:
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "an archive"
        raise BadInputError(f"{source}: expected {width} floats, one latent of this autoencoder, got {got}.")
    return torch.from_numpy(values.astype(np.float32).reshape(width))


def _import_tae(path: Path) -> CausalTAE:
    released = load_released(path, "net")
    config = tae_keys.config_from_released_shapes(shapes(released))
    tensors = renamed(released, tae_keys.released_key_map(config), path)
    return build_network(CausalTAE, config, tensors, where=str(path))


def _import_ar(path: Path, num_heads: int | None) -> ARDiffusion:
    released = load_released(path, "trans")
    config = ar_keys.config_from_released_shapes(shapes(released), num_heads)
    own = {
        "latent_mean": torch.zeros(config.latent_dim),
        "latent_std": torch.ones(config.latent_dim),
        "empty_text": torch.zeros(config.text_dim),
    }
    tensors = renamed(released, ar_keys.released_key_map(config), path) | own
    return build_network(ARDiffusion, config, tensors, where=str(path))


def import_motionstreamer_evaluator(
    checkpoint: str | Path,
    stats: str | Path,
    out: str | Path,
    *,
    num_heads: int | None = None,
    language_heads: int | None = None,
) -> TextMotionEvaluator:
    """Turn the authors' evaluator into a model folder `out`, and give it.

    checkpoint: a .ckpt or .pth file (a state dict under "state_dict", whatever settings beside it) or .safetensors with
    the same names. stats and the rest as for `import_motionstreamer`.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    checkpoint = Path(checkpoint)
    statistics = Statistics.load(stats)
    released = load_released(checkpoint, "state_dict", beside_settings=True)
    weights = _fused(released, checkpoint)
    config = evaluator_keys.config_from_released_shapes(shapes(released), num_heads, language_heads)
    tensors = renamed(weights, evaluator_keys.released_key_map(config), checkpoint)
    model = build_network(Evaluator, config, tensors, where=str(checkpoint))
    provenance = {"source": "MotionStreamer, released evaluator", "files": file_hashes(checkpoint)}
    evaluator = TextMotionEvaluator(model, statistics, DISTILBERT, provenance=provenance)
    save_evaluator(out, evaluator)
    return evaluator


def load_distilbert(path: str | Path, model: Evaluator) -> None:
    """Give a fresh evaluator's language model the published weights of distilbert-base-uncased.

    path: the published model.safetensors or pytorch_model.bin. Raises BadInputError where it doesn't fit.
    """
    path, inside = Path(path), "textencoder.text_model."
    published = {
        inside + name.removeprefix("distilbert."): tensor
        for name, tensor in load_released(path, "state_dict", beside_settings=True).items()
        if not name.startswith("vocab_")
    }
    weights = _fused(published, path)
    if model.language is None:
        raise BadInputError(f"{path}: the configured evaluator has no language model inside (language_layers = 0)")
    names = {
        ours.removeprefix("language."): theirs
        for ours, theirs in evaluator_keys.released_key_map(model.config).items()
        if ours.startswith("language.")
    }
    tensors = renamed(weights, names, path)
    check_names_and_shapes(tensors, shapes(model.language.state_dict()), where=str(path))
    model.language.load_state_dict(tensors)


def _fused(released: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights, DistilBERT's query, key and value projections joined; BadInputError where one is missing."""
    joined: dict[str, dict[int, Tensor]] = {}
    kept = {}
    for name, tensor in released.items():
        place = evaluator_keys.fused_name(name)
        if place is not None:
            joined.setdefault(place[0], {})[place[1]] = tensor
        elif evaluator_keys.is_weight(name):
            kept[name] = tensor
    for name, parts in joined.items():
        if set(parts) != {0, 1, 2} or len({tuple(part.shape) for part in parts.values()}) != 1:
            raise BadInputError(f"{path}: the query, key and value of {name} are incomplete or don't fit together.")
        kept[name] = torch.cat([parts[place] for place in range(3)])
    return kept
