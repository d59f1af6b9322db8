"""Recipe: the Foot Restoration Diffusion Model (InfiniteDance, section 3.1 and Algorithm 1), on recordings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints import save_model
from kinestream.checkpoints.folder import FOOT_RESTORATION
from kinestream.features import HUMANML259, Statistics
from kinestream.features.humanml_legs import LEGS, leg_columns, local_positions
from kinestream.models.foot_restoration import (
    FootRestoration,
    FootRestorationConfig,
    LossWeights,
    foot_restoration_loss,
)
from kinestream.nn.diffusion import cosine_schedule
from kinestream.training.crops import Crops
from kinestream.training.loop import Batch
from kinestream.training.motion_layouts import motion_layout
from kinestream.training.recipe import recipe
from kinestream.training.restoration.faults import FaultSizes, with_faults

# Shares of the chain at which held-out clips are restored: nearly clean, half way, nearly noise.
_VALIDATION_LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class FootRestorationTaskConfig:
    """Settings of this recipe."""

    root_weight: float = 1.0
    """Weight of the root's error."""
    foot_weight: float = 1000.0
    """Weight of the squared steps of standing feet (equation 1), m²."""
    velocity_position_weight: float = 10.0
    """Weight of places against summed velocities, m²."""
    rotation_position_weight: float = 1.0
    """Weight of places against rotations (equation 3), m²."""
    epsilon_m2: float = 0.1
    """Epsilon of equation 3: squared distances up to it cost nothing."""
    fault_share: float = 0.0
    """Share of the samples whose given part (all but root, knees and feet) trembles, slides, floats or sinks; the
    target stays the recording. 0 is the paper, whose given part is the recording's own."""
    validation_clips: int = 32
    """Validation clips, evenly spread over the split."""


class FootRestorationTask:
    """Random crops in the layout humanml259, root, knees and feet noised, the rest given (Merge)."""

    def __init__(
        self, model_config: FootRestorationConfig, config: FootRestorationTaskConfig, data: Sequence[str], seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.model = FootRestoration(model_config)
        self.config, self.seed, self.data = config, seed, tuple(data)
        self.schedule = cosine_schedule(model_config.noise_steps)
        self.crops = Crops(data, model_config.window_frames, motion_layout(HUMANML259.name))
        self.statistics = Statistics.of(self.crops.converted, HUMANML259)
        self.weights = LossWeights(
            config.root_weight, config.foot_weight, config.velocity_position_weight, config.rotation_position_weight
        )

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Normalised crops [B, N, 259], and what is given of them."""
        crops = torch.stack(self.crops.draw(rows, rng))
        given = with_faults(crops, self.config.fault_share, FaultSizes(), rng) if self.config.fault_share else crops
        return {"features": self.statistics.normalize(crops), "given": self.statistics.normalize(given)}

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Algorithm 1, lines 5 to 14."""
        clean = batch["features"]
        level = torch.randint(0, self.schedule.num_steps, (len(clean),), generator=generator).to(clean.device)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        estimate = self.model(self._merged(clean, batch["given"], noise, level), level)
        terms = foot_restoration_loss(
            estimate, clean, self.statistics.mean.to(clean.device), self.statistics.std.to(clean.device),
            weights=self.weights, epsilon_m2=self.config.epsilon_m2,
        )  # fmt: skip
        return terms._asdict()

    def _merged(self, clean: Tensor, given: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        noisy = self.schedule.add_noise(clean, noise, level)
        return torch.where(leg_columns().to(clean.device), noisy, given)

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """How far knees, ankles and toes land from the recording's, from three noise levels in one step, in mm."""
        device = next(self.model.parameters()).device
        sums, frames = torch.zeros(len(_VALIDATION_LEVELS)), 0
        generator = torch.Generator().manual_seed(self.seed)
        for clip in self.crops.validation(self.config.validation_clips, 1):
            clean = self.statistics.normalize(clip[: self.model.config.window_frames])[None]
            noise = torch.randn(clean.shape, generator=generator)
            for place, share in enumerate(_VALIDATION_LEVELS):
                level = torch.tensor([int(share * (self.schedule.num_steps - 1))])
                merged = self._merged(clean, clean, noise, level)
                estimate = self.model(merged.to(device), level.to(device)).cpu()
                legs, real = (
                    local_positions(self.statistics.denormalize(values))[..., LEGS, :] for values in (estimate, clean)
                )
                sums[place] += 1000.0 * (legs - real).norm(dim=-1).mean() * clean.shape[1]
            frames += clean.shape[1]
        means = (sums / max(1, frames)).tolist()
        return {f"val/legs_mm_at_{share:g}": mean for share, mean in zip(_VALIDATION_LEVELS, means, strict=True)}

    def export(self, folder: Path, step: int) -> None:
        """A checkpoint of kind "foot-restoration" with its statistics and where it came from."""
        save_model(
            folder, self.model, kind=FOOT_RESTORATION, config=self.model.config, statistics=self.statistics,
            layout=HUMANML259.name, provenance={"steps": step, "seed": self.seed},
        )  # fmt: skip


train_foot_restoration = recipe(
    FOOT_RESTORATION,
    FootRestorationTaskConfig,
    lambda config, settings, _: FootRestorationTask(
        FootRestorationConfig.from_json(config.model), settings, config.data, config.loop.seed
    ),
)
