"""Recipe: the autoregressive diffusion model (MotionStreamer, section 3.3 and appendix A)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from kinestream.checkpoints import (
    TextToMotionModel,
    load_causal_tae,
    load_text_to_motion,
    reference_end_latent,
    save_text_to_motion,
)
from kinestream.checkpoints.folder import AR_DIFFUSION
from kinestream.conditioning.text import MINILM_NAME, TextEncoder, text_encoder
from kinestream.data.clips import MotionClips, StreamPairs
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.models.ar_diffusion.loss import replaced_share, two_forward_loss
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.causal_tae.model import CausalTAE
from kinestream.training.loop import Batch
from kinestream.training.recipe import recipe
from kinestream.training.samples import sample_clips, write_strips
from kinestream.training.text.caption_cache import encode_captions
from kinestream.training.text.latents import LatentSequence, encode_sequences


@dataclass(frozen=True)
class ARDiffusionTaskConfig:
    """Settings of this recipe."""

    causal_tae: str = ""
    """Folder of the trained autoencoder's checkpoint."""
    text_encoder: str = MINILM_NAME
    """Name of the sentence encoder."""
    start_from: str = ""
    """Folder of a trained text-to-motion model to go on from, for example on your own recordings. Its text encoder may
    be narrower than this one's: what the wider one adds begins without effect."""
    leave_out: tuple[str, ...] = ()
    """Contents of the data's manifest that are not learned from."""
    min_frames: int = 40
    """Shorter motions are left out (appendix A)."""
    max_frames: int = 300
    """Longer motions are cut into windows (appendix A)."""
    diffusion_draws: int = 4
    """Noise levels drawn for each latent of a batch."""
    two_forward: bool = True
    """Replace a growing share of the input latents by the model's own predictions."""
    estimate: str = "sample"
    """How Two-Forward predicts: "sample" draws in few steps, "denoise" denoises a random level (the release)."""
    estimate_steps: int = 4
    """Sampling steps of such a draw."""
    opening: int = 0
    """Latents from a prompt's first on that count `opening_mul` times in the loss (not in the paper)."""
    opening_mul: int = 1
    """How often they count."""
    pair_weight: float = 1.0
    """How often a contextual pair is drawn, relative to a clip."""
    prompts: tuple[str, ...] = ("a person walks forward", "a person waves with both hands", "a tired person runs")
    """Prompts of the samples that are rendered during training."""


class ARDiffusionTask:
    """Batches of latent sequences of similar length."""

    def __init__(
        self,
        config: ARDiffusionTaskConfig,
        model_table: dict[str, Any],
        data: Sequence[str],
        seed: int,
        cache: Path,
    ) -> None:
        if not config.causal_tae:
            raise BadInputError("[task] causal_tae: expected the folder of a trained autoencoder (its run's model/)")
        self.config = config
        self.tae, self.statistics = self.load_autoencoder()
        self.tae.eval().requires_grad_(False)
        self.encoder: TextEncoder = self.load_text_encoder()
        torch.manual_seed(seed)
        sizes = {"text_dim": self.encoder.dim, "latent_dim": self.tae.config.latent_dim}
        self.model = ARDiffusion(ARDiffusionConfig.from_json(model_table | sizes))
        if config.start_from:
            start_from(self.model, config.start_from)
        self.end_latent = reference_end_latent(self.tae, self.statistics)
        self.sequences, captions = self._sequences(data, "train")
        self.texts = encode_captions(self.encoder, captions, cache / "captions-train.safetensors")
        self.held_out, held_out_captions = self._sequences(data, "val")
        self.held_out_texts = encode_captions(self.encoder, held_out_captions, cache / "captions-val.safetensors")
        self._set_buffers()
        self.sequences.sort(key=lambda sequence: len(sequence.mean))
        weights = np.array([sequence.weight for sequence in self.sequences])
        self._cumulative = np.cumsum(weights) / weights.sum()

    def load_autoencoder(self) -> tuple[CausalTAE, Statistics]:
        """The autoencoder whose latents are learned, and its statistics; a recipe of its own may bring another."""
        return load_causal_tae(self.config.causal_tae)

    def load_text_encoder(self) -> TextEncoder:
        """What makes embeddings of captions."""
        return text_encoder(self.config.text_encoder)

    def _sequences(self, data: Sequence[str], split: str) -> tuple[list[LatentSequence], list[str]]:
        c = self.config
        clips, pairs = MotionClips.load(data, split, c.leave_out), StreamPairs.load(data, split)
        return encode_sequences(
            self.tae, self.statistics, clips, pairs,
            min_frames=c.min_frames, max_frames=c.max_frames, pair_weight=c.pair_weight,
        )  # fmt: skip

    def _set_buffers(self) -> None:
        means = torch.cat([sequence.mean for sequence in self.sequences])
        variance = means.var(dim=0) + torch.cat([sequence.std for sequence in self.sequences]).square().mean(dim=0)
        self.model.latent_mean.copy_(means.mean(dim=0))
        self.model.latent_std.copy_(variance.sqrt())
        self.model.empty_text.copy_(self.encoder.encode_blank())

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Sequences of similar length: each row's place in the order of lengths lies near a common random one."""
        centre = rng.random()
        places = np.abs(centre + rng.uniform(-0.1, 0.1, rows))
        places = np.where(places > 1.0, 2.0 - places, places)
        picks = [self.sequences[min(i, len(self.sequences) - 1)] for i in np.searchsorted(self._cumulative, places)]
        return self.collate(picks, self.texts, rng)

    def collate(self, picks: Sequence[LatentSequence], texts: Tensor, rng: np.random.Generator) -> Batch:
        """Sequences as one batch: a caption and a latent drawn for each, ends marked, padded with zeros."""
        picks = [_with_shorter_history(pick, rng) for pick in picks]
        lengths = [len(pick.mean) + pick.ends for pick in picks]
        latents = torch.zeros(len(picks), max(lengths), self.model.config.latent_dim)
        mask = torch.zeros(len(picks), max(lengths), dtype=torch.bool)
        for row, pick in enumerate(picks):
            noise = torch.from_numpy(rng.standard_normal(pick.mean.shape, dtype=np.float32))
            latents[row, : len(pick.mean)] = pick.mean + pick.std * noise
            if pick.ends:
                latents[row, len(pick.mean)] = self.end_latent
            mask[row, pick.history : lengths[row]] = True
        captions = [pick.captions[rng.integers(len(pick.captions))] for pick in picks]
        return {"text": texts[captions], "latents": latents, "mask": mask, "lengths": torch.tensor(lengths)}

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Equation 7 with Two-Forward; the replaced share follows the cosine of appendix A over the run."""
        share = replaced_share(round(progress * 1_000_000), 1_000_000) if self.config.two_forward else 0.0
        result = two_forward_loss(
            self.model, batch["text"], self.model.normalize_latents(batch["latents"]), batch["mask"], share, generator,
            lengths=batch["lengths"], batch_mul=self.config.diffusion_draws,
            estimate=self.config.estimate, sample_steps=self.config.estimate_steps,  # type: ignore[arg-type]
            opening=self.config.opening, opening_mul=self.config.opening_mul,
        )  # fmt: skip
        return {"total": result.loss, "replaced": result.replaced}

    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """Noise error on held-out sequences with the same noise each time, and rendered samples."""
        rng, losses = np.random.default_rng(0), []
        device = next(self.model.parameters()).device
        for first in range(0, len(self.held_out), 64):
            batch = self.collate(self.held_out[first : first + 64], self.held_out_texts, rng)
            batch = {name: value.to(device) for name, value in batch.items()}
            generator = torch.Generator().manual_seed(first)
            latents = self.model.normalize_latents(batch["latents"])
            result = two_forward_loss(
                self.model, batch["text"], latents, batch["mask"], 0.0, generator, lengths=batch["lengths"], batch_mul=4
            )
            losses.append(float(result.loss))
        texts = self.encoder.encode(list(self.config.prompts)).to(device)
        clips, lengths = sample_clips(self.model, self.tae, self.statistics, texts, self.end_latent, seed=0)
        write_strips(folder / f"step-{step:08d}.png", clips)
        return {"val/loss": float(np.mean(losses)), "val/sample_frames": float(np.mean(lengths))}

    def export(self, folder: Path, step: int) -> None:
        """The whole text-to-motion model: autoencoder, this model, statistics, end latent, encoder's name."""
        save_text_to_motion(folder, self.bundle({"steps": step}))

    def bundle(self, provenance: Mapping[str, Any]) -> TextToMotionModel:
        """What a listener needs to generate."""
        return TextToMotionModel(
            tae=self.tae, ar=self.model, statistics=self.statistics, end_latent=self.end_latent,
            stop_threshold=self.stop_threshold(), text_encoder=self.config.text_encoder, provenance=dict(provenance),
            usual_latents=self.usual_latents(),
        )  # fmt: skip

    def usual_latents(self) -> float:
        """Deviations that nine of ten training sequences stay within in all their latents."""
        farthest = [self.model.normalize_latents(sequence.mean).abs().max() for sequence in self.sequences]
        return float(torch.stack(farthest).quantile(0.9))

    def stop_threshold(self) -> float:
        """Half the distance between the end latent and the nearest real training latent."""
        means = torch.cat([sequence.mean for sequence in self.sequences])
        return 0.5 * float((means - self.end_latent).norm(dim=-1).min())


def start_from(model: ARDiffusion, folder: str) -> None:
    """Take over a trained model's weights. BadInputError where anything but the width of the text differs."""
    trained = load_text_to_motion(folder).ar
    width, configured = trained.config.text_dim, model.config
    if replace(trained.config, text_dim=configured.text_dim) != configured or width > configured.text_dim:
        raise BadInputError(
            f"{folder}: expected a model of the configured size whose text is at most {configured.text_dim} wide; "
            f"configured is {configured}, it has {trained.config}"
        )
    weights = trained.state_dict()
    weights["text_in.weight"] = pad(weights["text_in.weight"], (0, configured.text_dim - width))
    weights["empty_text"] = pad(weights["empty_text"], (0, configured.text_dim - width))
    model.load_state_dict(weights)


def _with_shorter_history(pick: LatentSequence, rng: np.random.Generator) -> LatentSequence:
    """Drop a random number of the oldest history latents: prompts change after any number of them."""
    drop = int(rng.integers(0, pick.history)) if pick.history else 0
    return replace(pick, mean=pick.mean[drop:], std=pick.std[drop:], history=pick.history - drop)


train_ar_diffusion = recipe(
    AR_DIFFUSION,
    ARDiffusionTaskConfig,
    lambda config, settings, output: ARDiffusionTask(settings, config.model, config.data, config.loop.seed, output),
)
