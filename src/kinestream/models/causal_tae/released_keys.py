"""Names of the released MotionStreamer autoencoder's tensors, for import."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kinestream.errors import BadInputError
from kinestream.models.causal_tae.config import CausalTAEConfig


def released_key_map(config: CausalTAEConfig) -> dict[str, str]:
    """Map each of our parameter names to its name in the authors' state dict."""
    modules = {
        "encoder.to_posterior": "tae.encoder.proj",
        "encoder.input": "tae.encoder.model.0.conv",
        "encoder.output": f"tae.encoder.model.{config.num_halvings + 2}.conv",
        "decoder.from_latent": "tae.decode_proj",
        "decoder.input": "tae.decoder.model.0.conv",
        "decoder.before_output": f"tae.decoder.model.{config.num_halvings + 2}.conv",
        "decoder.output": f"tae.decoder.model.{config.num_halvings + 4}.conv",
    }
    for stage in range(config.num_halvings):
        modules[f"encoder.stages.{stage}.resize"] = f"tae.encoder.model.{stage + 2}.0.conv"
        modules[f"decoder.stages.{stage}.resize"] = f"tae.decoder.model.{stage + 2}.2.conv"
        for block in range(config.depth):
            for side, place in (("encoder", 1), ("decoder", 0)):
                theirs = f"tae.{side}.model.{stage + 2}.{place}.model.{block}"
                modules[f"{side}.stages.{stage}.blocks.{block}.dilated"] = f"{theirs}.conv1"
                modules[f"{side}.stages.{stage}.blocks.{block}.pointwise"] = f"{theirs}.conv2"
    return {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in modules.items() for part in ("weight", "bias")}


def config_from_released_shapes(shapes: Mapping[str, tuple[int, ...]]) -> CausalTAEConfig:
    """Read the configuration off the released tensors' shapes; raises BadInputError where they are something else.

    The dilation growth rate leaves no trace in the shapes; the release and the paper use 3.
    """
    try:
        hidden, feature_dim, _ = shapes["tae.encoder.model.0.conv.weight"]
        latent_dim = shapes["tae.decode_proj.weight"][1]
    except (KeyError, ValueError, IndexError) as error:
        raise BadInputError(
            "This is no released MotionStreamer autoencoder: tae.encoder.model.0.conv.weight or tae.decode_proj.weight "
            "is missing or has a wrong shape."
        ) from error
    halvings = sum(1 for key in shapes if re.fullmatch(r"tae\.encoder\.model\.\d+\.0\.conv\.weight", key))
    depth = sum(1 for key in shapes if re.fullmatch(r"tae\.encoder\.model\.2\.1\.model\.\d+\.conv1\.weight", key))
    return CausalTAEConfig(
        feature_dim=feature_dim, hidden_dim=hidden, latent_dim=latent_dim, num_halvings=halvings, depth=depth
    )
