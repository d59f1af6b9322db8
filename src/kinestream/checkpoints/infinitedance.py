"""Import of InfiniteDance's released tokenizer and ChoreoLLaMA; code inside their pickles never runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel, save_music_to_dance
from kinestream.checkpoints.folder import build_network, check_names_and_shapes
from kinestream.checkpoints.released import load_released
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.choreo_llama import released_keys as llama_keys
from kinestream.models.choreo_llama.model import ChoreoLlama
from kinestream.models.rvq_vae import released_keys as tokenizer_keys
from kinestream.models.rvq_vae.model import RVQVAE

RELEASED_LAYOUT = "humanml264"
RELEASED_MUSIC = "muq-25hz"


def import_infinitedance(
    tokenizer: str | Path,
    llama: str | Path,
    stats: str | Path,
    out: str | Path,
    *,
    genres: Sequence[str] | None = None,
    num_heads: int | None = None,
    bridge_heads: int | None = None,
) -> MusicToDanceModel:
    """Turn the authors' files into a model folder `out`, and give the model.

    tokenizer, llama: their .pth or .pt files (state dicts, the tokenizer's under "net") or .safetensors with the same
    names. stats: of the 264-d motion features, an npz with mean and std or a folder with Mean.npy and Std.npy. genres:
    names of the model's styles in its order; the release doesn't name them, so they are style-0, style-1 and so on.
    num_heads: of the LLaMA, where not the released width / 64; bridge_heads: where not the released 8.

    The rotation decoder, the style classifier and all rows of the vocabulary but the dance codes are left out: the
    released inference never uses them. Its penalties against repetition are not reproduced.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    tokenizer, llama = Path(tokenizer), Path(llama)
    statistics = Statistics.load(stats)
    codes = _import_tokenizer(tokenizer)
    network = _import_llama(llama, codes.codebooks, num_heads, bridge_heads)
    config = network.config
    model = MusicToDanceModel(
        tokenizer=codes,
        llama=network,
        statistics=statistics,
        music_statistics=Statistics(torch.zeros(config.music_dim), torch.ones(config.music_dim)),
        genres=tuple(genres) if genres is not None else tuple(f"style-{i}" for i in range(config.num_genres)),
        music_features=RELEASED_MUSIC,
        layout=RELEASED_LAYOUT,
        provenance={
            "source": "InfiniteDance, released checkpoints",
            "licence": "InfiniteDance Non-Commercial Research License",
            "files": {path.name: _sha256(path) for path in (tokenizer, llama)},
        },
    )
    save_music_to_dance(out, model)
    return model


def _import_tokenizer(path: Path) -> RVQVAE:
    released = _used(load_released(path, "net"), tokenizer_keys.UNUSED_PREFIXES)
    config = tokenizer_keys.config_from_released_shapes(_shapes(released))
    names = {*tokenizer_keys.released_key_map(config).values(), *tokenizer_keys.codebook_names(config)}
    _check(released, names, path)
    model = build_network(RVQVAE, config, tokenizer_keys.tensors_from_released(released, config), where=str(path))
    assert isinstance(model, RVQVAE)
    return model


def _import_llama(path: Path, codebooks: Tensor, num_heads: int | None, bridge_heads: int | None) -> ChoreoLlama:
    released = _used(load_released(path, "model"), llama_keys.UNUSED_PREFIXES)
    levels, codes, width = codebooks.shape
    config = llama_keys.config_from_released_shapes(
        _shapes(released), (levels, codes, width), num_heads=num_heads, bridge_heads=bridge_heads
    )
    _check(released, llama_keys.expected_names(config), path)
    tensors = llama_keys.tensors_from_released(released, config, codebooks)
    model = build_network(ChoreoLlama, config, tensors, where=str(path))
    assert isinstance(model, ChoreoLlama)
    return model


def _used(released: Mapping[str, Tensor], unused: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in released.items() if not name.startswith(unused)}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _check(released: Mapping[str, Tensor], names: set[str], path: Path) -> None:
    """All of these names, no others, and finite numbers."""
    check_names_and_shapes(
        released, {name: released[name].shape if name in released else torch.Size() for name in names}, where=str(path)
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_llama_weights(folder: str | Path, model: ChoreoLlama) -> None:
    """Give a ChoreoLLaMA the layers of a pretrained LLaMA (the paper's start), from a folder of safetensors files.

    The files are those that Llama-3.2-1B is published as; word embeddings and head are left out. Raises BadInputError
    where files are missing or of another size.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise BadInputError(f"{folder}: expected a folder with the safetensors files of a pretrained LLaMA.")
    found: dict[str, Tensor] = {}
    for file in files:
        found |= {name.removeprefix("model."): tensor for name, tensor in load_released(file, "").items()}
    layers = {name: value for name, value in found.items() if not name.startswith(("embed_tokens.", "lm_head."))}
    expected = {name: tuple(value.shape) for name, value in model.backbone.llama.state_dict().items()}
    check_names_and_shapes(layers, expected, where=str(folder))
    model.backbone.llama.load_state_dict(layers)
