"""Recipe: the dance tokenizer (InfiniteDance, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints import save_model
from kinestream.checkpoints.folder import RVQ_VAE, load_causal_tae
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.features.recovery import world_joints_from_rotations
from kinestream.metrics import foot_skating_ratio, jitter_mps3, mpjpe_mm
from kinestream.models.rvq_vae import RVQVAE, RVQVAEConfig, rvq_vae_loss
from kinestream.motion import FOOT_JOINTS
from kinestream.nn.rvq import perplexity
from kinestream.skeleton import smpl22
from kinestream.training.crops import Crops
from kinestream.training.loop import Batch
from kinestream.training.motion_layouts import motion_layout
from kinestream.training.recipe import recipe
from kinestream.training.samples import write_strips

# What an error of one counts as in the joint terms: metres, metres a frame, and metres a frame cubed.
_POSITION_UNIT_M, _STEP_UNIT_M, _JERK_UNIT_M = 0.1, 0.01, 0.02

# Frames of the windows that the error is taken over: a heading that turns a little wrong would otherwise grow into a
# turned body in a dance of a minute.
ERROR_WINDOW = 240


@dataclass(frozen=True)
class RVQVAETaskConfig:
    """Settings of this recipe."""

    layout: str = MOTION272.name
    """Feature layout: "motion272", "humanml259" (paper) or "humanml264" (release)."""
    crop_frames: int = 64
    """Frames of a training crop; shorter clips hold their last pose to the end."""
    position_weight: float = 0.5
    """Weight of the joint positions in the features."""
    velocity_weight: float = 0.5
    """Weight of the velocities in the features and of the positions' steps."""
    commitment_weight: float = 0.02
    """Weight of the distance between vectors and their codes."""
    joint_weight: float = 0.0
    """Weight of joints as the rotations place them: position, step and jerk (motion272 only; not in the paper)."""
    start_from: str = ""
    """Folder of a trained Causal TAE (of the same sizes, code_dim = hidden_dim) whose convolutions the tokenizer starts
    from, with its statistics; "" to start from random values."""
    validation_clips: int = 64
    """Validation clips that are reconstructed, evenly spread over the split."""


class RVQVAETask:
    """Random crops of all training clips, each clip as likely as its length times its weight."""

    def __init__(self, model_table: dict[str, Any], config: RVQVAETaskConfig, data: Sequence[str], seed: int) -> None:
        self.config, self.seed = config, seed
        self.layout = motion_layout(config.layout)
        if config.joint_weight > 0 and self.layout.layout is not MOTION272:
            raise BadInputError("[task] joint_weight: joints can be scored in the motion272 layout only")
        torch.manual_seed(seed)
        table = model_table | {"feature_dim": self.layout.layout.width}
        self.model = RVQVAE(RVQVAEConfig.from_json(table))
        started = _start_from(config.start_from, self.model) if config.start_from else None
        if config.crop_frames % self.model.config.frames_per_step:
            raise BadInputError(
                f"[task] crop_frames must be a multiple of {self.model.config.frames_per_step} (frames a token step), "
                f"got {config.crop_frames}"
            )
        self.crops = Crops(data, config.crop_frames, self.layout)
        own = self.crops.clips.statistics
        if self.crops.converted:
            own = Statistics.of(self.crops.converted, self.layout.layout)
        self.statistics = started or own
        self._feet = [smpl22().index(name) for name in FOOT_JOINTS]

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Normalised crops [B, N, D]."""
        return {"features": self.statistics.normalize(torch.stack(self.crops.draw(rows, rng)))}

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Features, positions, velocities and commitment, with the perplexity of each codebook beside them."""
        target, slices = batch["features"], self.layout.layout.slices
        recon, quantized = self.model(target, generator)
        terms = rvq_vae_loss(
            recon, target, quantized.commitment, positions=slices["positions"], velocities=slices["velocities"],
            position_weight=self.config.position_weight, velocity_weight=self.config.velocity_weight,
            commitment_weight=self.config.commitment_weight,
        )  # fmt: skip
        values = terms._asdict()
        if self.config.joint_weight > 0:
            joints, real = (
                world_joints_from_rotations(self.statistics.denormalize(features.float()))
                for features in (recon, target)
            )
            values["joints"] = joint_loss(joints, real, self._feet)
            values["total"] = terms.total + self.config.joint_weight * values["joints"]
        for level, value in enumerate(perplexity(quantized.codes, self.model.config.num_codes)):
            values[f"perplexity_{level}"] = value
        return values

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Reconstruction error, jitter and skating on held-out clips, and how well the codes are used."""
        toes = [smpl22().index(name) for name in ("left_foot", "right_foot")]
        sums, frames, codes = torch.zeros(5), 0, []
        shown: tuple[Tensor, Tensor] | None = None
        for clip in self.crops.validation(self.config.validation_clips, self.model.config.frames_per_step):
            tokens, recon = reconstruct(self.model, self.statistics, clip)
            codes.append(tokens)
            joints, real = self.layout.joints_m(recon), self.layout.joints_m(clip)
            fps = self.layout.layout.fps
            sums += len(clip) * torch.stack(
                [self._error_mm(recon, clip), jitter_mps3(joints, fps), jitter_mps3(real, fps)]
                + [foot_skating_ratio(j[:, toes], fps) for j in (joints, real)]
            )
            frames += len(clip)
            if self.layout.layout is MOTION272 and (shown is None or len(clip) > len(shown[0])):
                shown = (clip, recon)
        if shown is not None:
            write_strips(folder / f"step-{step:08d}.png", list(shown))
        return _figures(sums / max(1, frames), torch.cat(codes), self.model.config.num_codes)

    def _error_mm(self, recon: Tensor, clip: Tensor) -> Tensor:
        """MPJPE, each window of `ERROR_WINDOW` frames beginning at the recording's heading; the last may be shorter."""
        parts = [
            len(real) * mpjpe_mm(self.layout.joints_m(given), self.layout.joints_m(real))
            for given, real in zip(recon.split(ERROR_WINDOW), clip.split(ERROR_WINDOW), strict=True)
        ]
        return torch.stack(parts).sum() / len(clip)

    def export(self, folder: Path, step: int) -> None:
        """A checkpoint of kind "rvq-vae" with its statistics and where it came from."""
        save_model(
            folder, self.model, kind=RVQ_VAE, config=self.model.config, statistics=self.statistics,
            layout=self.config.layout, provenance={"steps": step, "seed": self.seed},
        )  # fmt: skip


@torch.no_grad()
def _start_from(folder: str, model: RVQVAE) -> Statistics:
    """Give the tokenizer a Causal TAE's convolutions, so that without quantisation it gives what that one gives.

    The two linear layers at the waist become part of the encoder's last convolution. Gives the autoencoder's
    statistics; BadInputError where the sizes differ.
    """
    tae, statistics = load_causal_tae(folder)
    config, size = model.config, tae.config
    if (config.feature_dim, config.hidden_dim, config.code_dim, config.num_halvings, config.depth,
        config.dilation_growth_rate, config.causal, config.velocity_dim) != (
        size.feature_dim, size.hidden_dim, size.hidden_dim, size.num_halvings, size.depth,
        size.dilation_growth_rate, True, 0):  # fmt: skip
        raise BadInputError(
            f"[task] start_from: {folder} holds {size}; expected the sizes of [model], with code_dim = hidden_dim"
        )
    encoder, decoder = model.encoder.net, model.decoder.net
    encoder.load_state_dict({k: v for k, v in tae.encoder.state_dict().items() if not k.startswith("to_posterior")})
    decoder.load_state_dict({k: v for k, v in tae.decoder.state_dict().items() if not k.startswith("from_latent")})

    def waist(vectors: Tensor) -> Tensor:
        """Posterior mean and what the decoder makes of it, of vectors [..., H]."""
        return cast(Tensor, tae.decoder.from_latent(tae.encoder.to_posterior(vectors)[..., : size.latent_dim]))

    weight, bias = encoder.output.weight, cast(Tensor, encoder.output.bias)
    offset = waist(torch.zeros(size.hidden_dim))
    weight.copy_((waist(weight.permute(1, 2, 0)) - offset).permute(2, 0, 1))
    bias.copy_(waist(bias))
    return statistics


def _figures(means: Tensor, codes: Tensor, num_codes: int) -> dict[str, float]:
    error, jitter, real_jitter, skating, real_skating = means.tolist()
    used = [len(level.unique()) for level in codes.unbind(dim=-1)]
    return {
        "val/mpjpe_mm": error,
        "val/jitter_ratio": jitter / max(real_jitter, 1e-6),
        "val/skating": skating,
        "val/skating_real": real_skating,
        "val/unused_codes": 1.0 - sum(used) / (num_codes * len(used)),
    } | {f"val/perplexity_{level}": float(value) for level, value in enumerate(perplexity(codes, num_codes))}


def joint_loss(joints_m: Tensor, target_m: Tensor, feet: Sequence[int]) -> Tensor:
    """Mean absolute errors of joints [B, T, J, 3] over the root's place on the ground, of their steps (the feet's
    twice) and of their jerk, each in a unit of its own.

    Errors count by their size, so that two millimetres that change sign from frame to frame, which the squared error of
    features hardly sees, do count.
    """
    ground = joints_m.new_tensor((1.0, 0.0, 1.0))
    local, real = (joints - joints[..., :1, :] * ground for joints in (joints_m, target_m))
    steps, jerk = ((joints_m - target_m).diff(n=order, dim=1).abs() for order in (1, 3))
    return (
        (local - real).abs().mean() / _POSITION_UNIT_M
        + steps.mean() / _STEP_UNIT_M
        + steps[..., list(feet), :].mean() / _STEP_UNIT_M
        + jerk.mean() / _JERK_UNIT_M
    )


def reconstruct(model: RVQVAE, statistics: Statistics, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Codes [L, K] of un-normalised features [T, D], and the features that come back from them."""
    device = next(model.parameters()).device
    codes = model.encode(statistics.normalize(clip).to(device)[None])
    return codes[0].cpu(), statistics.denormalize(model.decode(codes)[0].float().cpu())


train_rvq_vae = recipe(
    RVQ_VAE,
    RVQVAETaskConfig,
    lambda config, settings, _: RVQVAETask(config.model, settings, config.data, config.loop.seed),
)
