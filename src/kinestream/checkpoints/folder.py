"""The folder format: model.json (kind, configurations, layout, settings, provenance, sha256) and safetensors files."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import Statistics
from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.causal_tae.config import CausalTAEConfig
from kinestream.models.causal_tae.model import CausalTAE
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.models.choreo_llama.model import ChoreoLlama
from kinestream.models.evaluator.config import EvaluatorConfig
from kinestream.models.evaluator.model import Evaluator
from kinestream.models.foot_restoration.config import FootRestorationConfig
from kinestream.models.foot_restoration.model import FootRestoration
from kinestream.models.retrieval.config import RetrievalConfig
from kinestream.models.retrieval.model import RetrievalModel
from kinestream.models.rvq_vae.config import RVQVAEConfig
from kinestream.models.rvq_vae.model import RVQVAE
from kinestream.nn.config import ModelConfig

FORMAT = "kinestream-model"
VERSION = 1
INFO_NAME = "model.json"
CAUSAL_TAE = "causal-tae"
AR_DIFFUSION = "ar-diffusion"
RVQ_VAE = "rvq-vae"
CHOREO_LLAMA = "choreo-llama"
EVALUATOR = "evaluator"
RETRIEVAL = "retrieval"
FOOT_RESTORATION = "foot-restoration"
STATISTICS = "statistics"

ConfigType = TypeVar("ConfigType", bound=ModelConfig)
ModelType = TypeVar("ModelType", bound=nn.Module)

_KINDS: dict[str, tuple[type[ModelConfig], Callable[[Any], nn.Module]]] = {
    CAUSAL_TAE: (CausalTAEConfig, CausalTAE),
    AR_DIFFUSION: (ARDiffusionConfig, ARDiffusion),
    RVQ_VAE: (RVQVAEConfig, RVQVAE),
    CHOREO_LLAMA: (ChoreoLlamaConfig, ChoreoLlama),
    EVALUATOR: (EvaluatorConfig, Evaluator),
    RETRIEVAL: (RetrievalConfig, RetrievalModel),
    FOOT_RESTORATION: (FootRestorationConfig, FootRestoration),
}


@dataclass(frozen=True)
class ModelInfo:
    """What model.json says.

    Attributes:
        kind: that of its network, for example "causal-tae", or of its family, for example "text-to-motion".
        configs: the configuration of each network, by its kind.
        layout: name of the feature layout.
        settings: what else belongs to using the model, for example the stop threshold.
        provenance: where the weights come from: data, licence, recipe, figures.
        sha256: hash of each file beside model.json.
    """

    kind: str
    configs: Mapping[str, Mapping[str, Any]]
    layout: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)


def save_model(
    folder: str | Path,
    model: nn.Module,
    *,
    kind: str,
    config: ModelConfig,
    statistics: Statistics,
    layout: str,
    provenance: Mapping[str, Any] | None = None,
    weights_dtype: torch.dtype | None = None,
) -> None:
    """Write one network as a model folder, whole or not at all; an existing model folder is replaced.

    weights_dtype: store matrices in it (float16 halves the size); vectors stay as they are. Raises BadInputError where
    the folder holds something else, KinestreamError where it can't be written.
    """
    tensors = {kind: model_tensors(model, weights_dtype), STATISTICS: statistics_tensors(statistics)}
    write_folder(Path(folder), ModelInfo(kind, {kind: config.to_json()}, layout, {}, dict(provenance or {})), tensors)


def load_model(folder: str | Path, kind: str) -> tuple[nn.Module, Statistics, ModelInfo]:
    """Give the network of a model folder in float32 and eval mode, its statistics and what model.json says.

    Raises BadInputError where the folder is missing, damaged or of another kind.
    """
    folder = Path(folder)
    info = read_model_info(folder, kind)
    return load_network(folder, info, kind), load_statistics(folder, load_tensors(folder, info, STATISTICS)), info


def load_rvq_vae(folder: str | Path) -> tuple[RVQVAE, Statistics, ModelInfo]:
    """Give the tokenizer of a model folder of kind "rvq-vae", its statistics and what model.json says."""
    model, statistics, info = load_model(folder, RVQ_VAE)
    assert isinstance(model, RVQVAE)
    return model, statistics, info


def load_causal_tae(folder: str | Path) -> tuple[CausalTAE, Statistics]:
    """Give the autoencoder of a model folder that has one ("causal-tae" or "text-to-motion") and its statistics."""
    folder = Path(folder)
    info = read_model_info(folder)
    model = load_network(folder, info, CAUSAL_TAE)
    assert isinstance(model, CausalTAE)
    return model, load_statistics(folder, load_tensors(folder, info, STATISTICS))


def model_tensors(model: nn.Module, weights_dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Give a network's state on the CPU; matrices in `weights_dtype` where given."""
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in model.state_dict().items()}
    if weights_dtype is not None:
        tensors = {name: value.to(weights_dtype) if value.dim() > 1 else value for name, value in tensors.items()}
    if broken := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise KinestreamError(f"The model can't be saved: {broken[0]} holds values that are not finite.")
    return tensors


def statistics_tensors(statistics: Statistics) -> dict[str, Tensor]:
    """Give statistics as tensors to save."""
    return {"mean": statistics.mean.cpu().contiguous(), "std": statistics.std.cpu().contiguous()}


def write_folder(folder: Path, info: ModelInfo, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write model.json and NAME.safetensors for each name into a new folder that then takes the name `folder`."""
    _check_target(folder)
    token = secrets.token_hex(6)
    fresh, old = (folder.with_name(f".{folder.name}.{token}.{role}") for role in ("part", "old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        hashes = {}
        for name, parts in tensors.items():
            save_file(dict(parts), fresh / f"{name}.safetensors")
            with open(fresh / f"{name}.safetensors", "rb+") as file:
                os.fsync(file.fileno())
                hashes[f"{name}.safetensors"] = hashlib.file_digest(file, "sha256").hexdigest()
        with open(fresh / INFO_NAME, "w", encoding="utf-8") as text:
            json.dump(_described(info, hashes), text, indent=2, ensure_ascii=False)
            text.write("\n")
            text.flush()
            os.fsync(text.fileno())
        for name in hashes:  # safetensors writes files that only their owner can read
            os.chmod(fresh / name, (fresh / INFO_NAME).stat().st_mode)
        _take_name(fresh, folder, old)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise KinestreamError(f"The model folder {folder} can't be written: {reason}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _described(info: ModelInfo, hashes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": info.kind,
        "layout": info.layout,
        "configs": info.configs,
        "settings": info.settings,
        "provenance": info.provenance,
        "sha256": hashes,
    }


def _take_name(fresh: Path, folder: Path, old: Path) -> None:
    """Put `fresh` in the place of `folder`; if that fails, the old folder is back."""
    if not folder.exists():
        os.replace(fresh, folder)
        return
    os.replace(folder, old)
    try:
        os.replace(fresh, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_target(folder: Path) -> None:
    if not folder.name:
        raise BadInputError(f"A model folder needs a name, got {str(folder)!r}.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadInputError(f"{folder} exists and is no folder; choose another name.")
    if any(folder.iterdir()) and not (folder / INFO_NAME).is_file():
        raise BadInputError(f"{folder} holds other files; choose a new or empty folder.")


def read_model_info(folder: str | Path, kind: str | None = None) -> ModelInfo:
    """Read model.json; raises BadInputError where it is missing, damaged, too new, or not of the `kind` asked for."""
    folder = Path(folder)
    path = folder / INFO_NAME
    if not folder.is_dir():
        raise BadInputError(f"{folder}: expected a model folder, but there is none.")
    if not path.is_file():
        raise BadInputError(f"{folder}: expected a model folder, but it has no {INFO_NAME}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path} can't be read: {error}. Copy the model folder again.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BadInputError(f'{path}: expected a JSON object with "format": "{FORMAT}".')
    if values.get("version") != VERSION:
        raise BadInputError(
            f"{path}: this kinestream reads version {VERSION} of the format, the folder has {values.get('version')!r}. "
            "Update kinestream or save the model again."
        )
    info = _checked_info(values, path)
    if kind is not None and info.kind != kind:
        raise BadInputError(f"{folder}: expected a {kind} model, got {info.kind}.")
    return info


def _checked_info(values: Mapping[str, Any], path: Path) -> ModelInfo:
    parts = {"kind": str, "configs": dict, "layout": str, "settings": dict, "provenance": dict, "sha256": dict}
    for name, expected in parts.items():
        if not isinstance(values.get(name), expected):
            raise BadInputError(f"{path}: {name!r} is missing or of the wrong type. Copy the model folder again.")
    if not all(isinstance(config, dict) for config in values["configs"].values()):
        raise BadInputError(f"{path}: 'configs' must hold one object per network.")
    return ModelInfo(**{name: values[name] for name in parts})


def load_tensors(folder: Path, info: ModelInfo, name: str) -> dict[str, Tensor]:
    """Load NAME.safetensors of a folder after checking its hash; raises BadInputError where it isn't what was saved."""
    path = folder / f"{name}.safetensors"
    expected = info.sha256.get(path.name)
    if expected is None:
        raise BadInputError(f"{folder / INFO_NAME} doesn't list {path.name}: this is no complete {info.kind} model.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing. Copy the model folder again.") from None
    except OSError as error:
        raise BadInputError(f"{path} can't be read: {error.strerror or error}.") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BadInputError(f"{path} is damaged or was changed: its sha256 is not the recorded one. Copy it again.")
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path} is no safetensors file: {error}.") from error


def load_network(folder: Path, info: ModelInfo, kind: str, shared: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Build the network of this kind and give it the folder's weights, in float32 and eval mode.

    shared: tensors by name that the file leaves out since another network of the folder holds them.
    """
    config_class, model_class = _KINDS[kind]
    if kind not in info.configs:
        raise BadInputError(f"{folder / INFO_NAME} has no configuration of a {kind} model.")
    config = config_class.from_json(info.configs[kind])
    tensors = {**load_tensors(folder, info, kind), **(shared or {})}
    return build_network(model_class, config, tensors, where=str(folder))


def build_network(
    model_class: Callable[[ConfigType], ModelType], config: ConfigType, tensors: Mapping[str, Tensor], *, where: str
) -> ModelType:
    """Build a network around tensors, without random initial values; names and shapes must fit exactly."""
    with torch.device("meta"):
        model = model_class(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_names_and_shapes(tensors, expected, where=where)
    model.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, assign=True)
    model.eval()
    return model


def check_names_and_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]], *, where: str) -> None:
    """Raise BadInputError unless tensors have exactly these names and shapes and finite floating point values."""
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        parts = [f"{len(missing)} missing (such as {missing[0]})"] if missing else []
        parts += [f"{len(extra)} unknown (such as {extra[0]})"] if extra else []
        raise BadInputError(f"{where}: the weights don't fit the model: {', '.join(parts)}.")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != tuple(shape):
            raise BadInputError(f"{where}: {name} should be {tuple(shape)}, got {tuple(tensor.shape)}.")
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise BadInputError(f"{where}: {name} holds something else than finite floating point values.")


def load_statistics(folder: Path, held: Mapping[str, Tensor], prefix: str = "") -> Statistics:
    """The statistics among the tensors of a folder's statistics.safetensors; BadInputError where they are missing."""
    if not {f"{prefix}mean", f"{prefix}std"} <= held.keys():
        raise BadInputError(f"{folder / STATISTICS}.safetensors lacks {prefix}mean or {prefix}std.")
    return Statistics(held[f"{prefix}mean"].float(), held[f"{prefix}std"].float())
