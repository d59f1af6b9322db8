"""Names of the released MotionStreamer autoregressive model's tensors, for import."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion.config import ARDiffusionConfig

_RELEASED_HEAD_DIM = 64


def released_key_map(config: ARDiffusionConfig) -> dict[str, str]:
    """Map each of our parameter names to its name in the authors' state dict (without a leading "module.")."""
    names = {"transformer.final_norm.scale": "transformer.ln_f.scale"}
    with_bias = {
        "text_in": "transformer.cond_embed",
        "latent_in": "transformer.wte",
        "out": "out_proj",
        "head.time_in": "diff_loss.net.time_embed.mlp.0",
        "head.time_out": "diff_loss.net.time_embed.mlp.2",
        "head.condition": "diff_loss.net.cond_embed",
        "head.input": "diff_loss.net.input_proj",
        "head.output": "diff_loss.net.final_layer.linear",
        "head.output_modulation": "diff_loss.net.final_layer.adaLN_modulation.1",
    }
    for layer in range(config.head_layers):
        ours, theirs = f"head.blocks.{layer}", f"diff_loss.net.res_blocks.{layer}"
        with_bias[f"{ours}.norm"] = f"{theirs}.in_ln"
        with_bias[f"{ours}.up"] = f"{theirs}.mlp.0"
        with_bias[f"{ours}.down"] = f"{theirs}.mlp.2"
        with_bias[f"{ours}.modulation"] = f"{theirs}.adaLN_modulation.1"
    for layer in range(config.num_layers):
        ours, theirs = f"transformer.blocks.{layer}", f"transformer.h.{layer}"
        names[f"{ours}.attention_norm.scale"] = f"{theirs}.rms_1.scale"
        names[f"{ours}.attention.scale"] = f"{theirs}.attn.scale"
        names[f"{ours}.attention.qkv.weight"] = f"{theirs}.attn.c_attn.weight"
        names[f"{ours}.attention.out.weight"] = f"{theirs}.attn.c_proj.weight"
        names[f"{ours}.mlp_norm.scale"] = f"{theirs}.rms_2.scale"
        names[f"{ours}.mlp.gate.weight"] = f"{theirs}.mlp.c_fc1.weight"
        names[f"{ours}.mlp.up.weight"] = f"{theirs}.mlp.c_fc2.weight"
        names[f"{ours}.mlp.down.weight"] = f"{theirs}.mlp.c_proj.weight"
    for ours, theirs in with_bias.items():
        names[f"{ours}.weight"] = f"{theirs}.weight"
        names[f"{ours}.bias"] = f"{theirs}.bias"
    return names


def config_from_released_shapes(
    shapes: Mapping[str, tuple[int, ...]], num_heads: int | None = None
) -> ARDiffusionConfig:
    """Read the configuration off the released tensors' shapes; raises BadInputError where they are something else.

    The number of heads leaves no trace in the shapes: every published size has 64 values a head, which is taken unless
    `num_heads` is given.
    """
    try:
        hidden, latent_dim = shapes["transformer.wte.weight"]
        text_dim = shapes["transformer.cond_embed.weight"][1]
        width = shapes["diff_loss.net.input_proj.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise BadInputError(
            "This is no released MotionStreamer text-to-motion model: transformer.wte.weight, "
            "transformer.cond_embed.weight or diff_loss.net.input_proj.weight is missing or has a wrong shape."
        ) from error
    return ARDiffusionConfig(
        latent_dim=latent_dim,
        text_dim=text_dim,
        hidden_dim=hidden,
        num_layers=_count(r"transformer\.h\.\d+\.attn\.scale", shapes),
        num_heads=num_heads if num_heads is not None else max(1, hidden // _RELEASED_HEAD_DIM),
        head_width=width,
        head_layers=_count(r"diff_loss\.net\.res_blocks\.\d+\.in_ln\.weight", shapes),
    )


def _count(pattern: str, names: Mapping[str, tuple[int, ...]]) -> int:
    return sum(1 for name in names if re.fullmatch(pattern, name))
