"""Import of InfiniteDance's released tokenizer, ChoreoLLaMA and retrieval network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel, save_music_to_dance
from kinestream.checkpoints.folder import build_network, check_names_and_shapes
from kinestream.checkpoints.released import check_names, file_hashes, load_released, renamed, shapes
from kinestream.checkpoints.retrieval import MusicDanceRetrieval, save_retrieval
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.features.humanml import humanml264_from_motion
from kinestream.models.choreo_llama import released_keys as llama_keys
from kinestream.models.choreo_llama.model import ChoreoLlama
from kinestream.models.choreo_llama.sampling import SAMPLING
from kinestream.models.retrieval import released_keys as retrieval_keys
from kinestream.models.retrieval.model import RetrievalModel
from kinestream.models.rvq_vae import released_keys as tokenizer_keys
from kinestream.models.rvq_vae.model import RVQVAE
from kinestream.motion import Motion

RELEASED_LAYOUT = "humanml264"
RELEASED_MUSIC = "muq-25hz"
# The release's six styles, in the order of its embedding.
RELEASED_STYLES = ("Ballet", "Popular", "Latin", "Modern", "Folk", "Classic")
# What its two option files say of the tokenizer's dilations: the narrow and the wide one.
_DILATION_RATES = (3, 4)
# Variance of a normalised motion that a tokenizer loses at most, where its dilations are the right ones.
_RECONSTRUCTS = 0.5


def import_infinitedance(
    tokenizer: str | Path,
    llama: str | Path,
    stats: str | Path,
    out: str | Path,
    *,
    args: str | Path | None = None,
    motion: Motion | None = None,
    genres: Sequence[str] | None = None,
    num_heads: int | None = None,
    bridge_heads: int | None = None,
) -> MusicToDanceModel:
    """Turn the authors' files into a model folder `out`, and give the model.

    tokenizer, llama: their .pth or .pt files (state dicts, the tokenizer's under "net") or .safetensors with the same
    names. stats: of the 264-d motion features, an npz with mean and std or a folder with Mean.npy and Std.npy.
    args: the tokenizer's options, the release's args.json, which say how its dilations grow. Without it both of the
    release's rates are tried on `motion` (a body in motion, any skeleton of SMPL-22), and the one that reconstructs it
    is taken; the provenance says which, and how. genres: names of the model's styles in its order; None for the
    release's six, or style-0, style-1 and so on where there are not six. Codes are sampled as the release does.
    num_heads: of the LLaMA, where not the released width / 64; bridge_heads: where not the released 8.

    The rotation decoder, the style classifier and all rows of the vocabulary but the dance codes are left out: the
    released inference never uses them. Its penalties against repetition are not reproduced.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    tokenizer, llama = Path(tokenizer), Path(llama)
    statistics = Statistics.load(stats)
    codes, dilation_from = _import_tokenizer(tokenizer, statistics, args, motion)
    network = _import_llama(llama, codes.codebooks, num_heads, bridge_heads)
    config = network.config
    model = MusicToDanceModel(
        tokenizer=codes,
        llama=network,
        statistics=statistics,
        music_statistics=_neutral(config.music_dim),
        genres=tuple(genres) if genres is not None else _styles(config.num_genres),
        music_features=RELEASED_MUSIC,
        layout=RELEASED_LAYOUT,
        sampling=SAMPLING["release"],
        provenance={
            "source": "InfiniteDance, released checkpoints",
            "tokenizer_dilation": {"growth_rate": codes.config.dilation_growth_rate, "from": dilation_from},
            "licence": "InfiniteDance Non-Commercial Research License",
            "files": file_hashes(tokenizer, llama),
        },
    )
    save_music_to_dance(out, model)
    return model


def _styles(count: int) -> tuple[str, ...]:
    return RELEASED_STYLES if count == len(RELEASED_STYLES) else tuple(f"style-{i}" for i in range(count))


def _import_tokenizer(
    path: Path, statistics: Statistics, args: str | Path | None, motion: Motion | None
) -> tuple[RVQVAE, str]:
    """The tokenizer, and what told how its dilations grow."""
    released = _used(load_released(path, "net"), tokenizer_keys.UNUSED_PREFIXES)

    def built(rate: int) -> RVQVAE:
        config = tokenizer_keys.config_from_released_shapes(shapes(released), rate)
        names = {*tokenizer_keys.released_key_map(config).values(), *tokenizer_keys.codebook_names(config)}
        check_names(released, names, path)
        return build_network(RVQVAE, config, tokenizer_keys.tensors_from_released(released, config), where=str(path))

    if args is not None:
        return built(_dilation_rate(Path(args))), Path(args).name
    tried = {rate: built(rate) for rate in _DILATION_RATES}
    if motion is None:
        raise BadInputError(
            f"{path}: shapes don't tell how the tokenizer's dilations grow; give its args.json, or a motion to try on."
        )
    lost = {rate: _lost(tokenizer, statistics, motion) for rate, tokenizer in tried.items()}
    best = min(lost, key=lambda rate: lost[rate])
    shown = ", ".join(f"{rate}: {share:.2f}" for rate, share in lost.items())
    if not lost[best] < _RECONSTRUCTS:
        raise BadInputError(
            f"{path}: with no known growth of its dilations does the tokenizer reconstruct a motion (share of the "
            f"variance lost, by rate: {shown}). Give its args.json with --args, and the statistics it was trained with."
        )
    return tried[best], f"reconstruction of a motion (share of the variance lost, by rate: {shown})"


@torch.no_grad()
def _lost(tokenizer: RVQVAE, statistics: Statistics, motion: Motion) -> float:
    """The share of a normalised motion's variance that is lost on the way through codes."""
    features = statistics.normalize(humanml264_from_motion(motion))
    length = len(features) // tokenizer.config.frames_per_step * tokenizer.config.frames_per_step
    given = features[:length]
    back = tokenizer.decode(tokenizer.encode(given[None]))[0]
    return float((back - given).square().mean() / given.square().mean())


def _dilation_rate(path: Path) -> int:
    """What the release's args.json says."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInputError(f"{path}: expected the tokenizer's args.json ({error}).") from error
    rate = table.get("dilation_growth_rate") if isinstance(table, dict) else None
    if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
        raise BadInputError(f'{path}: expected "dilation_growth_rate", a whole number from 1 on, got {rate!r}.')
    return rate


def _import_llama(path: Path, codebooks: Tensor, num_heads: int | None, bridge_heads: int | None) -> ChoreoLlama:
    released = _used(load_released(path, "model"), llama_keys.UNUSED_PREFIXES)
    levels, codes, width = codebooks.shape
    config = llama_keys.config_from_released_shapes(
        shapes(released), (levels, codes, width), num_heads=num_heads, bridge_heads=bridge_heads
    )
    check_names(released, llama_keys.expected_names(config), path)
    tensors = llama_keys.tensors_from_released(released, config, codebooks)
    return build_network(ChoreoLlama, config, tensors, where=str(path))


def _used(released: Mapping[str, Tensor], unused: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in released.items() if not name.startswith(unused)}


def import_infinitedance_retrieval(
    checkpoint: str | Path,
    out: str | Path,
    *,
    dance_stats: str | Path | None = None,
    music_stats: str | Path | None = None,
    num_heads: int = retrieval_keys.RELEASED_NUM_HEADS,
) -> MusicDanceRetrieval:
    """Turn the authors' retrieval network into a model folder `out`, and give it.

    checkpoint: their .ckpt (a state dict under "state_dict", "model." before the names) or .safetensors with the same
    names. dance_stats, music_stats: an npz with mean and std, or a folder with Mean.npy and Std.npy; without them the
    features pass as they come. It reads the release's 264-d motion and 55-d music.

    Raises:
        BadInputError: a file is missing, damaged, holds more than tensors, or is of another model.
        KinestreamError: the folder can't be written.
    """
    checkpoint = Path(checkpoint)
    released = load_released(checkpoint, "state_dict", beside_settings=True)
    released = {name.removeprefix(retrieval_keys.PREFIX): value for name, value in released.items()}
    config = retrieval_keys.config_from_released_shapes(shapes(released), num_heads)
    tensors = renamed(released, retrieval_keys.released_key_map(config), checkpoint)
    retrieval = MusicDanceRetrieval(
        build_network(RetrievalModel, config, tensors, where=str(checkpoint)),
        _neutral(config.dance_dim) if dance_stats is None else Statistics.load(dance_stats),
        _neutral(config.music_dim) if music_stats is None else Statistics.load(music_stats),
        config.max_frames,
        RELEASED_LAYOUT,
        {
            "source": "InfiniteDance, released retrieval network",
            "files": file_hashes(checkpoint),
            "normalised": {"dance": dance_stats is not None, "music": music_stats is not None},
        },
    )
    save_retrieval(out, retrieval)
    return retrieval


def _neutral(width: int) -> Statistics:
    return Statistics(torch.zeros(width), torch.ones(width))


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
    check_names_and_shapes(layers, shapes(model.backbone.llama.state_dict()), where=str(folder))
    model.backbone.llama.load_state_dict(layers)
