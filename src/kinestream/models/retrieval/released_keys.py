"""Names of the released InfiniteDance retrieval network's tensors, for import."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kinestream.errors import BadInputError
from kinestream.models.retrieval.config import RetrievalConfig

PREFIX = "model."
"""Stands before every name in the released file."""
RELEASED_NUM_HEADS = 4


def released_key_map(config: RetrievalConfig) -> dict[str, str]:
    """Map each of our parameter names to its name in the authors' state dict."""
    names = {"logit_scale": "logit_scale"}
    for ours, theirs in (("music_encoder", "cond_encoder"), ("dance_encoder", "motion_encoder")):
        names |= {f"{ours}.positions": f"{theirs}.embedding", f"{ours}.summary": f"{theirs}.cls_token"}
        modules = {"input": "proj_in", "output": "proj_out"}
        for block in range(config.num_layers):
            for part in ("norm", "query", "key", "value"):
                modules[f"blocks.{block}.attention.{part}"] = f"blocks.{block}.sa_block.{part}"
            for part, released in (("norm", "norm"), ("widen", "linear1"), ("narrow", "linear2")):
                modules[f"blocks.{block}.feed_forward.{part}"] = f"blocks.{block}.ffn.{released}"
        for own, released in modules.items():
            names |= {f"{ours}.{own}.{end}": f"{theirs}.{released}.{end}" for end in ("weight", "bias")}
    return names


def config_from_released_shapes(
    shapes: Mapping[str, tuple[int, ...]], num_heads: int = RELEASED_NUM_HEADS
) -> RetrievalConfig:
    """Read the configuration off the released tensors' shapes; raises BadInputError where they are something else.

    The number of heads leaves no trace in the shapes.
    """
    try:
        embedding_dim, music_dim = shapes["cond_encoder.proj_in.weight"]
        _, dance_dim = shapes["motion_encoder.proj_in.weight"]
        max_frames, _ = shapes["motion_encoder.embedding"]
        mlp_dim, _ = shapes["motion_encoder.blocks.0.ffn.linear1.weight"]
    except (KeyError, ValueError) as error:
        raise BadInputError(
            "This is no released InfiniteDance retrieval network: a tensor of cond_encoder or motion_encoder is "
            "missing or has a wrong shape."
        ) from error
    layers = sum(1 for key in shapes if re.fullmatch(r"motion_encoder\.blocks\.\d+\.ffn\.linear1\.weight", key))
    return RetrievalConfig(
        music_dim=music_dim,
        dance_dim=dance_dim,
        max_frames=max_frames,
        embedding_dim=embedding_dim,
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        num_layers=layers,
    )
