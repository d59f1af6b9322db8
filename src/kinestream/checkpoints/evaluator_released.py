"""Import of MotionStreamer's released evaluator; code inside its pickle never runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kinestream.checkpoints.evaluator import DISTILBERT, TextMotionEvaluator, save_evaluator
from kinestream.checkpoints.folder import build_network, check_names_and_shapes
from kinestream.checkpoints.released import load_released
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.evaluator.model import Evaluator
from kinestream.models.evaluator.released_keys import (
    config_from_released_shapes,
    fused_name,
    is_weight,
    released_key_map,
)


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
    the same names. stats: an npz with mean and std, or a folder with Mean.npy and Std.npy. The configuration is read
    off the tensors' shapes; numbers of heads only where they are not the released ones.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    checkpoint = Path(checkpoint)
    statistics = Statistics.load(stats)
    released = _state_dict(checkpoint)
    weights = fused({name: tensor for name, tensor in released.items() if is_weight(name)}, str(checkpoint))
    config = config_from_released_shapes(
        {name: tuple(tensor.shape) for name, tensor in released.items()}, num_heads, language_heads
    )
    with open(checkpoint, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model = build_network(
        Evaluator, config, _renamed(weights, released_key_map(config), str(checkpoint)), where=str(checkpoint)
    )
    assert isinstance(model, Evaluator)
    provenance = {"source": "MotionStreamer, released evaluator", "files": {checkpoint.name: digest}}
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
        for name, tensor in _state_dict(path).items()
        if not name.startswith("vocab_")
    }
    weights = fused({name: tensor for name, tensor in published.items() if is_weight(name)}, str(path))
    names = {
        ours.removeprefix("language."): theirs
        for ours, theirs in released_key_map(model.config).items()
        if ours.startswith("language.")
    }
    if model.language is None:
        raise BadInputError(f"{path}: the configured evaluator has no language model inside (language_layers = 0)")
    tensors = _renamed(weights, names, str(path))
    check_names_and_shapes(
        tensors, {name: tuple(value.shape) for name, value in model.language.state_dict().items()}, where=str(path)
    )
    model.language.load_state_dict(tensors)


class _Inert:
    """Stands for whatever a training file's settings are made of: takes anything, does nothing."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a released file.

    A training's own file holds settings too, objects of libraries that needn't be here. Where the plain safe loading
    refuses those, they are read as objects that do nothing: their code never runs.
    """
    try:
        return load_released(path, "state_dict")
    except BadInputError as refused:
        state = _state_dict_beside_settings(path)
        if state is None:
            raise
        if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
            raise BadInputError(f'{path}: expected tensors by name under "state_dict".') from refused
        return {name.removeprefix("module."): value for name, value in state.items()}


def _state_dict_beside_settings(path: Path) -> Mapping[str, Tensor] | None:
    if not path.is_file() or path.suffix.lower() == ".safetensors":
        return None
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in names]):
            whole = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # what a damaged or hostile file raises is anybody's guess; the first refusal is the answer
        return None
    state = whole.get("state_dict") if isinstance(whole, Mapping) else None
    return state if isinstance(state, Mapping) and state else None


def fused(released: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors with the DistilBERT's query, key and value projections joined; BadInputError where one is missing."""
    joined: dict[str, dict[int, Tensor]] = {}
    kept = {}
    for name, tensor in released.items():
        place = fused_name(name)
        if place is None:
            kept[name] = tensor
        else:
            joined.setdefault(place[0], {})[place[1]] = tensor
    for name, parts in joined.items():
        if set(parts) != {0, 1, 2} or len({tuple(part.shape) for part in parts.values()}) != 1:
            raise BadInputError(f"{where}: the query, key and value of {name} are incomplete or don't fit together.")
        kept[name] = torch.cat([parts[place] for place in range(3)])
    return kept


def _renamed(weights: Mapping[str, Tensor], names: Mapping[str, str], where: str) -> dict[str, Tensor]:
    """Our names for their tensors; every one of theirs must be used."""
    missing, extra = sorted(set(names.values()) - set(weights)), sorted(set(weights) - set(names.values()))
    if missing or extra:
        said = [f"{len(missing)} missing (such as {missing[0]})"] if missing else []
        said += [f"{len(extra)} unknown (such as {extra[0]})"] if extra else []
        raise BadInputError(f"{where}: the weights don't fit the released evaluator: {', '.join(said)}.")
    return {ours: weights[theirs] for ours, theirs in names.items()}
