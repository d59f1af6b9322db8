"""Names of the released MotionStreamer evaluator's tensors, for import."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kinestream.errors import BadInputError
from kinestream.models.evaluator.config import EvaluatorConfig

# The published configuration misspells its number of heads, so that the default of the authors' class holds.
_RELEASED_NUM_HEADS = 4
_DISTILBERT_HEAD_DIM = 64
_NETWORKS = ("textencoder.", "motionencoder.", "motiondecoder.")
_BUFFERS = (".sequence_pos_encoding.pe", ".embeddings.position_ids")


def is_weight(name: str) -> bool:
    """Whether a released tensor is a weight of the networks, and no sinusoid, metric or part of the filter."""
    return name.startswith(_NETWORKS) and not name.endswith(_BUFFERS)


def released_key_map(config: EvaluatorConfig) -> dict[str, str]:
    """Map each of our parameter names to its name in the authors' state dict."""
    names = {
        "motion_encoder.mean_token": "motionencoder.mu_token",
        "motion_encoder.logvar_token": "motionencoder.logvar_token",
        "text_encoder.mean_token": "textencoder.mu_token",
        "text_encoder.logvar_token": "textencoder.logvar_token",
        "language.words.weight": "textencoder.text_model.embeddings.word_embeddings.weight",
        "language.positions.weight": "textencoder.text_model.embeddings.position_embeddings.weight",
    }
    with_bias = {
        "motion_in": "motionencoder.skel_embedding",
        "text_in": "textencoder.projection.1",
        "language.norm": "textencoder.text_model.embeddings.LayerNorm",
    }
    for ours, theirs, count in (
        ("motion_encoder", "motionencoder.seqTransEncoder", config.motion_layers),
        ("text_encoder", "textencoder.seqTransEncoder", config.text_layers),
        ("motion_decoder", "motiondecoder.seqTransDecoder", config.decoder_layers),
    ):
        for layer in range(count):
            own, other = f"{ours}.blocks.{layer}", f"{theirs}.layers.{layer}"
            names |= _attention(f"{own}.attention", f"{other}.self_attn")
            last = 2
            if ours == "motion_decoder":
                names |= _attention(f"{own}.latent", f"{other}.multihead_attn")
                with_bias[f"{own}.latent_norm"] = f"{other}.norm2"
                last = 3
            with_bias |= {
                f"{own}.attention_norm": f"{other}.norm1",
                f"{own}.mlp_norm": f"{other}.norm{last}",
                f"{own}.up": f"{other}.linear1",
                f"{own}.down": f"{other}.linear2",
            }
    if config.decoder_layers:
        with_bias["motion_decoder.output"] = "motiondecoder.final_layer"
    with_bias |= _language(config.language_layers)
    return names | {f"{o}.{part}": f"{t}.{part}" for o, t in with_bias.items() for part in ("weight", "bias")}


def _attention(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}.qkv.weight": f"{theirs}.in_proj_weight",
        f"{ours}.qkv.bias": f"{theirs}.in_proj_bias",
        f"{ours}.out.weight": f"{theirs}.out_proj.weight",
        f"{ours}.out.bias": f"{theirs}.out_proj.bias",
    }


def _language(num_layers: int) -> dict[str, str]:
    """The DistilBERT's modules; its three projections are one in ours (see `fused_name`)."""
    modules: dict[str, str] = {}
    for layer in range(num_layers):
        ours, theirs = f"language.blocks.{layer}", f"textencoder.text_model.transformer.layer.{layer}"
        modules |= {
            f"{ours}.attention.qkv": f"{theirs}.attention.qkv_lin",
            f"{ours}.attention.out": f"{theirs}.attention.out_lin",
            f"{ours}.attention_norm": f"{theirs}.sa_layer_norm",
            f"{ours}.up": f"{theirs}.ffn.lin1",
            f"{ours}.down": f"{theirs}.ffn.lin2",
            f"{ours}.mlp_norm": f"{theirs}.output_layer_norm",
        }
    return modules


def fused_name(name: str) -> tuple[str, int] | None:
    """For a query, key or value projection of the DistilBERT: its fused name and place (0, 1, 2); else None."""
    match = re.fullmatch(r"(.*\.attention)\.([qkv])_lin\.(weight|bias)", name)
    return (f"{match[1]}.qkv_lin.{match[3]}", "qkv".index(match[2])) if match else None


def config_from_released_shapes(
    shapes: Mapping[str, tuple[int, ...]], num_heads: int | None = None, language_heads: int | None = None
) -> EvaluatorConfig:
    """Read the configuration off the released tensors' shapes; raises BadInputError where they are something else.

    Numbers of heads leave no trace in the shapes: 4, and 64 numbers a head in the DistilBERT, unless they are given.
    """
    try:
        latent_dim, feature_dim = shapes["motionencoder.skel_embedding.weight"]
        feedforward_dim = shapes["motionencoder.seqTransEncoder.layers.0.linear1.weight"][0]
        vocabulary, text_dim = shapes["textencoder.text_model.embeddings.word_embeddings.weight"]
        max_tokens = shapes["textencoder.text_model.embeddings.position_embeddings.weight"][0]
        language_feedforward_dim = shapes["textencoder.text_model.transformer.layer.0.ffn.lin1.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise BadInputError(
            "This is no released MotionStreamer evaluator: the motion encoder's or the DistilBERT's first tensors are "
            "missing or have a wrong shape."
        ) from error
    return EvaluatorConfig(
        feature_dim=feature_dim,
        latent_dim=latent_dim,
        feedforward_dim=feedforward_dim,
        motion_layers=_count(r"motionencoder\.seqTransEncoder\.layers\.\d+\.norm1\.weight", shapes),
        text_layers=_count(r"textencoder\.seqTransEncoder\.layers\.\d+\.norm1\.weight", shapes),
        decoder_layers=_count(r"motiondecoder\.seqTransDecoder\.layers\.\d+\.norm1\.weight", shapes),
        num_heads=num_heads if num_heads is not None else _RELEASED_NUM_HEADS,
        text_dim=text_dim,
        max_tokens=max_tokens,
        language_layers=_count(r"textencoder\.text_model\.transformer\.layer\.\d+\.ffn\.lin1\.weight", shapes),
        language_heads=language_heads if language_heads is not None else max(1, text_dim // _DISTILBERT_HEAD_DIM),
        language_feedforward_dim=language_feedforward_dim,
        vocabulary=vocabulary,
    )


def _count(pattern: str, names: Mapping[str, tuple[int, ...]]) -> int:
    return sum(1 for name in names if re.fullmatch(pattern, name))
