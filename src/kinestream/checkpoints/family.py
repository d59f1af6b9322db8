"""Families of model folders: what of a model goes where, said once for saving and for loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from kinestream.checkpoints.folder import (
    INFO_NAME,
    STATISTICS,
    ModelInfo,
    load_network,
    load_statistics,
    load_tensors,
    model_tensors,
    read_model_info,
    statistics_tensors,
    write_folder,
)
from kinestream.errors import BadInputError

REQUIRED = object()


BundleType = TypeVar("BundleType")


@dataclass(frozen=True)
class Setting:
    """A setting in model.json: the JSON types it may have, how it is read and written, and what stands for none."""

    types: type | tuple[type, ...]
    read: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value
    default: Any = REQUIRED

    def of(self, info: ModelInfo, name: str, where: Path) -> Any:
        """The setting of a folder; BadInputError where it is missing or of the wrong type."""
        value = info.settings.get(name, self.default)
        if value is self.default and value is not REQUIRED:
            return value
        types = self.types if isinstance(self.types, tuple) else (self.types,)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise BadInputError(f"{where / INFO_NAME}: the setting {name!r} is missing or of the wrong type.")
        try:
            return self.read(value)
        except TypeError as error:
            raise BadInputError(f"{where / INFO_NAME}: the setting {name!r} is wrong: {error}.") from error


@dataclass(frozen=True)
class Family(Generic[BundleType]):
    """How the models of one kind lie in their folder. Names are attributes of the bundle, which are its arguments too.

    Every bundle has a `layout` and a `provenance` besides.

    Attributes:
        kind: the folder's kind in model.json.
        bundle: the class of what is saved and loaded.
        networks: attribute -> kind of the network, which names its file and its configuration.
        statistics: attribute -> prefix of its tensors in statistics.safetensors.
        tensors: attributes that are single tensors in statistics.safetensors.
        settings: attribute -> how it stands in model.json.
        tied: kind of network -> {its tensor: (kind of an earlier network, that one's attribute)}; saved once.
        packaged: the folder inside the package that `load(None)` gives.
    """

    kind: str
    bundle: Callable[..., BundleType]
    networks: Mapping[str, str]
    settings: Mapping[str, Setting]
    statistics: Mapping[str, str] = field(default_factory=lambda: {"statistics": ""})
    tensors: tuple[str, ...] = ()
    tied: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    packaged: Path | None = None

    def save(self, folder: str | Path, bundle: Any, *, weights_dtype: torch.dtype | None = None) -> None:
        """Write a model folder, whole or not at all; `weights_dtype=torch.float16` halves its size.

        Raises BadInputError where the folder holds something else, KinestreamError where it can't be written.
        """
        networks = {kind: getattr(bundle, name) for name, kind in self.networks.items()}
        files = {kind: model_tensors(network, weights_dtype) for kind, network in networks.items()}
        for kind, shared in self.tied.items():
            files[kind] = {name: tensor for name, tensor in files[kind].items() if name not in shared}
        info = ModelInfo(
            self.kind,
            {kind: network.config.to_json() for kind, network in networks.items()},
            bundle.layout,
            {name: setting.write(getattr(bundle, name)) for name, setting in self.settings.items()},
            dict(bundle.provenance),
        )
        write_folder(Path(folder), info, {**files, STATISTICS: self.statistics_file(bundle)})

    def statistics_file(self, bundle: Any) -> dict[str, Tensor]:
        """What statistics.safetensors holds of a model."""
        held: dict[str, Tensor] = {}
        for name, prefix in self.statistics.items():
            held |= {prefix + part: value for part, value in statistics_tensors(getattr(bundle, name)).items()}
        return held | {name: getattr(bundle, name).cpu().contiguous() for name in self.tensors}

    def load(self, folder: str | Path | None = None) -> BundleType:
        """Load a model in float32 and eval mode; without a folder, the packaged one.

        Raises BadInputError where the folder is missing, damaged or of another kind.
        """
        where = self.packaged if folder is None else Path(folder)
        if where is None or (folder is None and not where.is_dir()):
            raise BadInputError(f"This installation carries no packaged {self.kind} model; name a model folder.")
        info = read_model_info(where, self.kind)
        settings = {name: setting.of(info, name, where) for name, setting in self.settings.items()}
        networks: dict[str, torch.nn.Module] = {}
        for kind in self.networks.values():
            shared = self.tied.get(kind, {})
            tied = {name: getattr(networks[other], own).clone() for name, (other, own) in shared.items()}
            networks[kind] = load_network(where, info, kind, tied)
        held = load_tensors(where, info, STATISTICS)
        if missing := [name for name in self.tensors if name not in held]:
            raise BadInputError(f"{where / STATISTICS}.safetensors lacks {', '.join(missing)}.")
        return self.bundle(
            **{name: networks[kind] for name, kind in self.networks.items()},
            **{name: load_statistics(where, held, prefix) for name, prefix in self.statistics.items()},
            **{name: held[name].float() for name in self.tensors},
            **settings,
            layout=info.layout,
            provenance=info.provenance,
        )
