"""Autoencoders that are compared: trained alike, then measured on recordings that none of them saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.ablations.recipes import COMPRESSOR, QUANTIZER, Recipe, Variant
from benchmarks.ablations.store import Measured
from benchmarks.ablations.training import Unwatched, task_settings
from kinestream.checkpoints import load_causal_tae
from kinestream.checkpoints.evaluator import TextMotionEvaluator
from kinestream.checkpoints.folder import load_rvq_vae
from kinestream.evaluation.items import Item
from kinestream.evaluation.text.reconstruct import reconstructed
from kinestream.features import MOTION272, Statistics, positions_from_motion272
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.metrics import frechet_distance, jitter_mps3, mpjpe_mm
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig, LatentDistribution
from kinestream.models.rvq_vae import RVQVAE
from kinestream.training.config import TrainConfig
from kinestream.training.dance.rvq_vae import RVQVAETask, RVQVAETaskConfig
from kinestream.training.loop import Task, run
from kinestream.training.text.causal_tae import CausalTAETask, CausalTAETaskConfig


class QuantizedAutoencoder(nn.Module):
    """A VQ-VAE where a Causal TAE is expected: its latents are code vectors, and any vector is put onto its code."""

    def __init__(self, model: RVQVAE) -> None:
        super().__init__()
        own = model.config
        self.config = CausalTAEConfig(own.feature_dim, own.hidden_dim, own.code_dim, own.num_halvings)
        self.model, self.encoder = model, model.encoder.net

    def encode(self, x: Float[Tensor, "b t d"]) -> LatentDistribution:
        """Code vectors, certain."""
        vectors = self.model.embed(self.model.encode(x))
        return LatentDistribution(vectors, torch.full_like(vectors, self.config.logvar_range[0]))

    def decode(self, z: Float[Tensor, "b l c"]) -> Float[Tensor, "b t d"]:
        """Frames of the codes that lie nearest."""
        return self.model.decode(self.model.quantizer.encode(z))


Autoencoder = CausalTAE | QuantizedAutoencoder


class _Continuous(Unwatched, CausalTAETask):
    pass


class _Quantized(Unwatched, RVQVAETask):
    pass


def recipe_of(variant: Variant) -> Recipe:
    """The recipe that trains a variant."""
    return QUANTIZER if "quantized" in variant.parts else COMPRESSOR


def train(variant: Variant, config: TrainConfig, folder: Path) -> tuple[Autoencoder, Statistics]:
    """The trained autoencoder of a folder, training what is missing of it."""
    quantized, seed = "quantized" in variant.parts, config.loop.seed
    if not (folder / "model").is_dir():
        task: Task
        if quantized:
            task = _Quantized(config.model, task_settings(config, RVQVAETaskConfig), config.data, seed)
        else:
            model_config = CausalTAEConfig.from_json(config.model)
            task = _Continuous(model_config, task_settings(config, CausalTAETaskConfig), config.data, seed)
        run(task, config.loop, folder, resume=True, info={"variant": variant.name})
    if quantized:
        model, statistics, _ = load_rvq_vae(folder / "model")
        return QuantizedAutoencoder(model.eval()).eval(), statistics
    return load_causal_tae(folder / "model")


def measure(
    autoencoder: Autoencoder, statistics: Statistics, items: Sequence[Item], evaluator: TextMotionEvaluator
) -> Measured:
    """MPJPE and jitter of each recording through the posterior mean and back, and FID to the recordings."""
    errors, jitters, given, real = [], [], [], []
    for item in items:
        features = item.features()
        back = reconstructed(autoencoder, statistics, features)  # type: ignore[arg-type]
        errors.append(float(mpjpe_mm(positions_from_motion272(back), positions_from_motion272(features))))
        jitters.append(float(jitter_mps3(world_joints_from_rotations(back), MOTION272.fps)))
        given.append(back)
        real.append(features)
    distance = frechet_distance(evaluator.embed_motion(real), evaluator.embed_motion(given))
    return Measured({"mpjpe_mm": errors, "jitter_mps3": jitters}, {"fid": [float(distance)]})


def recordings(items: Sequence[Item]) -> Measured:
    """The recordings' own jitter, for the row of real motion."""
    joints = [world_joints_from_rotations(item.features()) for item in items]
    return Measured({"jitter_mps3": [float(jitter_mps3(one, MOTION272.fps)) for one in joints]})
