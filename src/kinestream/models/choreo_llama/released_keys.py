"""Names of the released ChoreoLLaMA's tensors, for import."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig

# Rows of the release's vocabulary that are dance codes: 3 codebooks of 512, in this order.
DANCE_TOKEN_START = 4096
_RELEASED_HEAD_DIM = 64
_RELEASED_HEADS = 8

UNUSED_PREFIXES = ("style_classifier.", "llama.lm_head.")
"""Tensors that sampling never touches, or that repeat others (the head is tied to the word embeddings)."""
_WORDS = "llama.model.embed_tokens.weight"


def released_key_map(config: ChoreoLlamaConfig) -> dict[str, str]:
    """Map each of our parameter names to its name in the authors' state dict, where they are equal tensors."""
    names = {"backbone.llama.norm.weight": "llama.model.norm.weight"}
    parts = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    for layer in range(config.num_layers):
        for part in (*parts, "input_layernorm", "post_attention_layernorm"):
            names[f"backbone.llama.layers.{layer}.{part}.weight"] = f"llama.model.layers.{layer}.{part}.weight"
    for ours, theirs in (
        ("bridge.input", "music_bridge.input_proj"),
        ("bridge.fusion", "music_bridge.fusion_proj"),
        ("bridge.resample", "cond_projection"),
        ("dance.0", "dance_bridge.fc1"),
        ("dance.2", "dance_bridge.fc2"),
    ):
        names |= {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}
    names |= _expert("bridge.universal", "music_bridge.universal_expert")
    for band in range(config.num_bands):
        names |= _expert(f"bridge.experts.{band}", f"music_bridge.specialized_experts.{band}")
    return names


def _expert(ours: str, theirs: str) -> dict[str, str]:
    same = [
        f"{module}.{part}"
        for module in ("proj", "norm", "mamba.conv1d", "mamba.dt_proj")
        for part in ("weight", "bias")
    ]
    same += [f"mamba.{name}" for name in ("A_log", "D", "in_proj.weight", "x_proj.weight", "out_proj.weight")]
    attention = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in same} | {
        f"{ours}.attention.{name}": f"{theirs}.transformer_attn.{name}" for name in attention
    }


def tensors_from_released(
    released: Mapping[str, Tensor], config: ChoreoLlamaConfig, codebooks: Tensor
) -> dict[str, Tensor]:
    """Give the tensors under our names. `codebooks` [K, N, C] are the released tokenizer's.

    Of the word embeddings only the dance codes' rows are kept: they are the head. An unknown genre, which the release
    doesn't have, is the mean of the known ones; no reference is zeros.
    """
    rows = config.num_codebooks * config.num_codes
    words = released[_WORDS]
    head = words if len(words) == rows else words[DANCE_TOKEN_START : DANCE_TOKEN_START + rows]
    genres = released["style_embedding.weight"]
    tensors = {ours: released[theirs] for ours, theirs in released_key_map(config).items()}
    return tensors | {
        "codebooks": codebooks,
        "head.weight": head,
        "genre.weight": torch.cat((genres, genres.mean(dim=0, keepdim=True))),
        "no_reference": torch.zeros(config.reference_dim),
    }


def expected_names(config: ChoreoLlamaConfig) -> set[str]:
    """Give all names that the import reads."""
    return set(released_key_map(config).values()) | {_WORDS, "style_embedding.weight"}


def config_from_released_shapes(
    shapes: Mapping[str, tuple[int, ...]],
    codebooks: tuple[int, int, int],
    *,
    num_heads: int | None = None,
    bridge_heads: int | None = None,
    window_steps: int | None = None,
) -> ChoreoLlamaConfig:
    """Read the configuration off the released tensors' shapes and the tokenizer's codebooks' (K, N, C).

    Head sizes leave no trace in the shapes: the release has 64 values a head and 8 heads in a bridge. Its windows have
    4 motion frames a step. Raises BadInputError where the tensors are something else.
    """
    try:
        hidden, kv = shapes["llama.model.norm.weight"][0], shapes["llama.model.layers.0.self_attn.k_proj.weight"][0]
        queries = shapes["llama.model.layers.0.self_attn.q_proj.weight"][0]
        music_frames, reference_frames = shapes["cond_projection.weight"]
        num_genres, genre_dim = shapes["style_embedding.weight"]
        reference_dim = shapes["music_bridge.specialized_experts.0.proj.weight"][1]
        bridge_in = shapes["music_bridge.input_proj.weight"][1]
        dance_hidden, code_dim = shapes["dance_bridge.fc1.weight"]
        mlp_dim = shapes["llama.model.layers.0.mlp.up_proj.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        where = error.args[0] if isinstance(error, KeyError) else "a tensor"
        raise BadInputError(f"This is no released ChoreoLLaMA: {where} is missing or has a wrong shape.") from error
    if codebooks[2] != code_dim:
        raise BadInputError(f"The tokenizer's codes have {codebooks[2]} values, this ChoreoLLaMA reads {code_dim}.")
    size = queries // num_heads if num_heads is not None else _RELEASED_HEAD_DIM
    return ChoreoLlamaConfig(
        num_codebooks=codebooks[0],
        num_codes=codebooks[1],
        code_dim=code_dim,
        music_dim=bridge_in - genre_dim - reference_dim,
        genre_dim=genre_dim,
        num_genres=num_genres,
        reference_dim=reference_dim,
        num_references=1,
        bridge="released",
        arrangement="prefix",
        dance_hidden_dim=dance_hidden,
        num_bands=_count(shapes, r"music_bridge\.specialized_experts\.\d+\.proj\.weight"),
        bridge_heads=bridge_heads if bridge_heads is not None else _RELEASED_HEADS,
        hidden_dim=hidden,
        num_layers=_count(shapes, r"llama\.model\.layers\.\d+\.input_layernorm\.weight"),
        num_heads=queries // size,
        num_kv_heads=kv // size,
        head_dim=size,
        mlp_dim=mlp_dim,
        window_steps=window_steps if window_steps is not None else reference_frames // 4,
        window_music_frames=music_frames,
        window_reference_frames=reference_frames,
    )


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    return sum(1 for key in shapes if re.fullmatch(pattern, key))
