"""Recipe: the causal temporal autoencoder (MotionStreamer, section 3.2 and appendix A)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints import load_causal_tae, save_model
from kinestream.checkpoints.folder import CAUSAL_TAE
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics, positions_from_motion272
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.metrics import jitter_mps3, mpjpe_mm
from kinestream.models.causal_tae.config import CausalTAEConfig
from kinestream.models.causal_tae.loss import causal_tae_loss, joint_loss
from kinestream.models.causal_tae.model import CausalTAE
from kinestream.motion import FOOT_JOINTS
from kinestream.skeleton import smpl22
from kinestream.training.crops import Crops
from kinestream.training.loop import Batch
from kinestream.training.motion_layouts import motion_layout
from kinestream.training.recipe import recipe
from kinestream.training.samples import write_strips


@dataclass(frozen=True)
class CausalTAETaskConfig:
    """Settings of this recipe."""

    crop_frames: int = 64
    """Frames of a training crop (N); shorter clips hold their last pose to the end."""
    root_weight: float = 7.0
    """Weight of the root loss (lambda)."""
    joint_weight: float = 0.0
    """Weight of joint positions, foot heights, steps and jerks in the loss (not in the paper; see `joint_loss`)."""
    start_from: str = ""
    """Folder of a trained autoencoder to go on from, for example on your own recordings."""
    decoder_only: bool = False
    """Keep the encoder as it is, so that models trained on its latents stay valid."""
    validation_clips: int = 64
    """Validation clips that are reconstructed, evenly spread over the split."""


class CausalTAETask:
    """Random crops of all training clips, each clip as likely as its length times its weight."""

    def __init__(
        self, model_config: CausalTAEConfig, config: CausalTAETaskConfig, data: Sequence[str], seed: int
    ) -> None:
        if config.crop_frames % model_config.frames_per_latent:
            raise BadInputError(
                f"[task] crop_frames must be a multiple of {model_config.frames_per_latent} (frames a latent), "
                f"got {config.crop_frames}"
            )
        torch.manual_seed(seed)
        self.model, statistics = _initial_model(model_config, config)
        self.config, self.seed = config, seed
        self._feet = [smpl22().index(name) for name in FOOT_JOINTS]
        self.crops = Crops(data, config.crop_frames, motion_layout(MOTION272.name))
        self.statistics: Statistics = statistics or self.crops.clips.statistics

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Normalised crops [B, N, D]."""
        return {"features": self.statistics.normalize(torch.stack(self.crops.draw(rows, rng)))}

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Equations 2 to 6, with sigma over the part's frames."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.decoder_only):
            posterior = self.model.encode(batch["features"])
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean.device)
        latents = posterior.mean + noise * (0.5 * posterior.logvar.float()).exp()
        recon = self.model.decode(latents.to(posterior.mean.dtype))
        terms = causal_tae_loss(
            recon, batch["features"], posterior, root_weight=self.config.root_weight,
            kl_weight=1.0 if self.model.config.variational else 0.0,
        )  # fmt: skip
        values = terms._asdict()
        if self.config.joint_weight > 0:
            joints, target = (
                world_joints_from_rotations(self.statistics.denormalize(features.float()))
                for features in (recon, batch["features"])
            )
            of_joints = joint_loss(joints, target, self._feet)._asdict()
            values |= of_joints
            values["total"] = terms.total + self.config.joint_weight * sum(of_joints.values())
        return values

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Reconstruction error on held-out clips, and a picture of one of them beside its reconstruction."""
        errors, frames = 0.0, 0
        jitters = torch.zeros(2)
        shown: tuple[Tensor, Tensor] | None = None
        for clip in self.crops.validation(self.config.validation_clips, self.model.config.frames_per_latent):
            recon = reconstruct(self.model, self.statistics, clip)
            errors += float(mpjpe_mm(positions_from_motion272(recon), positions_from_motion272(clip))) * len(clip)
            frames += len(clip)
            pair = (world_joints_from_rotations(recon), world_joints_from_rotations(clip))
            jitters += len(clip) * torch.stack([jitter_mps3(joints, MOTION272.fps) for joints in pair])
            if shown is None or len(clip) > len(shown[0]):
                shown = (clip, recon)
        if shown is not None:
            write_strips(folder / f"step-{step:08d}.png", list(shown))
        return {
            "val/mpjpe_mm": errors / max(1, frames),
            "val/jitter_ratio": float(jitters[0] / jitters[1].clamp_min(1e-6)),
        }

    def export(self, folder: Path, step: int) -> None:
        """A checkpoint of kind "causal-tae" with its statistics and where it came from."""
        save_model(
            folder, self.model, kind=CAUSAL_TAE, config=self.model.config, statistics=self.statistics,
            layout=MOTION272.name, provenance={"steps": step, "seed": self.seed},
        )  # fmt: skip


def _initial_model(model_config: CausalTAEConfig, config: CausalTAETaskConfig) -> tuple[CausalTAE, Statistics | None]:
    """A fresh model, or the one to go on from with the statistics that belong to it."""
    model, statistics = CausalTAE(model_config), None
    if config.start_from:
        trained, statistics = load_causal_tae(config.start_from)
        if trained.config != model_config:
            raise BadInputError(f"{config.start_from}: expected an autoencoder of the configured size, {model_config}")
        model = trained.train()
    elif config.decoder_only:
        raise BadInputError("[task] decoder_only needs start_from: the folder of the autoencoder whose encoder to keep")
    model.encoder.requires_grad_(not config.decoder_only)
    return model, statistics


def reconstruct(model: CausalTAE, statistics: Statistics, clip: Tensor) -> Tensor:
    """Features [T, D] through the posterior mean and back, un-normalised."""
    device = next(model.parameters()).device
    posterior = model.encode(statistics.normalize(clip).to(device)[None])
    return statistics.denormalize(model.decode(posterior.mean)[0].float().cpu())


train_causal_tae = recipe(
    CAUSAL_TAE,
    CausalTAETaskConfig,
    lambda config, settings, _: CausalTAETask(
        CausalTAEConfig.from_json(config.model), settings, config.data, config.loop.seed
    ),
)
