"""What imports of released weights share: safe reading, names and shapes, hashes. Code inside pickles never runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kinestream.checkpoints.folder import check_names_and_shapes
from kinestream.errors import BadInputError

_MAX_FILE_BYTES = 8 * 1024**3


def load_released(path: Path, key: str, *, beside_settings: bool = False) -> dict[str, Tensor]:
    """Load the state dict of a released file: the whole .safetensors, or what stands under `key` in a .pth or .pt.

    Only tensors and plain containers are unpickled; anything else in the file is refused before it can act. A
    training's own file holds settings too, objects of libraries that needn't be here: with `beside_settings` they are
    read as objects that do nothing where the plain loading refuses them. Raises BadInputError where the file is
    missing, damaged or holds no such state dict.
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
        state = _unpickled(path, beside_settings)
        if isinstance(state, Mapping) and key in state and isinstance(state[key], Mapping):
            state = state[key]
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items())
    ):
        raise BadInputError(f'{path}: expected tensors by name, or a dictionary that has them under "{key}".')
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


class _Inert:
    """Stands for whatever a training file's settings are made of: takes anything, does nothing."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _unpickled(path: Path, beside_settings: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or hostile file raises is anybody's guess
        whole = _unpickled_inert(path) if beside_settings else None
        if whole is not None:
            return whole
        raise BadInputError(
            f"{path} can't be loaded safely: it is damaged or holds more than tensors{_foreign(path)}. Nothing in it "
            "was run. Give the authors' own file, or its tensors saved as .safetensors."
        ) from error


def _foreign(path: Path) -> str:
    """The names of objects that loading would have made, for a message; nothing where the file can't be looked into."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a zip archive, cut off, ...
        return ""
    return f" ({', '.join(sorted(names)[:3])})" if names else ""


def _unpickled_inert(path: Path) -> Any:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(_Inert, name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the first refusal is the answer
        return None


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors, of which configurations are read."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_names(released: Mapping[str, Tensor], names: set[str], path: Path) -> None:
    """BadInputError unless a file has all of these names, no others, and finite values."""
    own = shapes(released)
    check_names_and_shapes(released, {name: own.get(name, ()) for name in names}, where=str(path))


def renamed(released: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Our names (the keys) for their tensors; BadInputError unless every one of theirs is used."""
    check_names(released, set(names.values()), path)
    return {ours: released[theirs] for ours, theirs in names.items()}


def file_hashes(*paths: Path) -> dict[str, str]:
    """Name -> SHA-256 of files, for the provenance."""
    hashes = {}
    for path in paths:
        with open(path, "rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
