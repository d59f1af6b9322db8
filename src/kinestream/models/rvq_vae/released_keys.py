"""Names of the released InfiniteDance tokenizer's tensors, for import."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.rvq_vae.config import RVQVAEConfig

# Planar velocity of the release's 264-d layout: decoding overwrites it by the velocity decoder's output.
RELEASED_VELOCITY_COLUMNS = (3, 5)
UNUSED_PREFIXES = ("rot_decoder.",)
"""Tensors that the released inference never touches."""


def released_key_map(config: RVQVAEConfig) -> dict[str, str]:
    """Map each of our parameter names, codebooks aside, to its name in the authors' state dict."""
    modules = _net("encoder.net", "encoder", config, decoder=False) | _net(
        "decoder.net", "decoder", config, decoder=True
    )
    if config.velocity_dim:
        modules |= _net("decoder.velocity", "vel_decoder", config, decoder=True)
    return {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in modules.items() for part in ("weight", "bias")}


def _net(ours: str, theirs: str, config: RVQVAEConfig, *, decoder: bool) -> dict[str, str]:
    last = config.num_halvings + 2
    modules = {f"{ours}.input": f"{theirs}.model.0"}
    modules |= (
        {f"{ours}.before_output": f"{theirs}.model.{last}", f"{ours}.output": f"{theirs}.model.{last + 2}"}
        if decoder
        else {f"{ours}.output": f"{theirs}.model.{last}"}
    )
    for stage in range(config.num_halvings):
        resize, blocks = (2, 0) if decoder else (0, 1)
        modules[f"{ours}.stages.{stage}.resize"] = f"{theirs}.model.{stage + 2}.{resize}"
        for block in range(config.depth):
            there = f"{theirs}.model.{stage + 2}.{blocks}.model.{block}"
            modules[f"{ours}.stages.{stage}.blocks.{block}.dilated"] = f"{there}.conv1"
            modules[f"{ours}.stages.{stage}.blocks.{block}.pointwise"] = f"{there}.conv2"
    return modules


def codebook_names(config: RVQVAEConfig) -> list[str]:
    """Names of the released codebooks, in the order of the levels."""
    return [f"quantizer.layers.{level}.codebook" for level in range(config.num_codebooks)]


def tensors_from_released(released: Mapping[str, Tensor], config: RVQVAEConfig) -> dict[str, Tensor]:
    """Give the tensors under our names; the codes' usage, which the release doesn't store, is even."""
    tensors = {ours: released[theirs] for ours, theirs in released_key_map(config).items()}
    tensors["quantizer.codebooks"] = torch.stack([released[name] for name in codebook_names(config)])
    tensors["quantizer.usage"] = torch.ones(config.num_codebooks, config.num_codes)
    return tensors


def config_from_released_shapes(shapes: Mapping[str, tuple[int, ...]], dilation_growth_rate: int = 3) -> RVQVAEConfig:
    """Read the configuration off the released tensors' shapes; raises BadInputError where they are something else.

    Shapes don't tell how dilations grow.
    """
    try:
        hidden, feature_dim, _ = shapes["encoder.model.0.weight"]
        num_codes, code_dim = shapes["quantizer.layers.0.codebook"]
    except (KeyError, ValueError) as error:
        raise BadInputError(
            "This is no released InfiniteDance tokenizer: encoder.model.0.weight or quantizer.layers.0.codebook is "
            "missing or has a wrong shape."
        ) from error
    has_velocity = "vel_decoder.model.0.weight" in shapes
    return RVQVAEConfig(
        feature_dim=feature_dim,
        hidden_dim=hidden,
        code_dim=code_dim,
        num_codes=num_codes,
        num_codebooks=_count(shapes, r"quantizer\.layers\.\d+\.codebook"),
        num_halvings=_count(shapes, r"encoder\.model\.\d+\.0\.weight"),
        depth=_count(shapes, r"encoder\.model\.2\.1\.model\.\d+\.conv1\.weight"),
        dilation_growth_rate=dilation_growth_rate,
        causal=False,
        velocity_columns=RELEASED_VELOCITY_COLUMNS if has_velocity else (0, 0),
    )


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    return sum(1 for key in shapes if re.fullmatch(pattern, key))
