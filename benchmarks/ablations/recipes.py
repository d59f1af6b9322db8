"""The base of each comparison and what its variants change: overrides on the training configurations in configs/.

Everything that is compared has the same data, steps, batch, learning rate and seed; only the listed settings differ.
Models are narrow and runs are short, so that all of it fits an hour of one core: read differences, not levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kinestream.training.config import TrainConfig, load_train_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@dataclass(frozen=True)
class Variant:
    """One row of a table: overrides as `kinestream train` takes them, and `parts` that no configuration has."""

    name: str
    says: str
    overrides: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A configuration of configs/, made small by overrides, and how many steps it gets."""

    config: str
    overrides: tuple[str, ...]
    steps: int

    def load(self, data: tuple[str, ...], variant: Variant, steps: int | None, seed: int) -> TrainConfig:
        """The variant's whole configuration."""
        wanted = self.steps if steps is None else steps
        names = ", ".join(f'"{folder}"' for folder in data)
        always = (
            f"data=[{names}]", f"loop.steps={wanted}", f"loop.seed={seed}", f"loop.save_every={max(1, wanted // 2)}",
            f"loop.validate_every={wanted}", "loop.decay=cosine", "loop.final_learning_rate=0.0", "loop.parts=1",
            f"loop.warmup_steps={max(1, wanted // 10)}",
        )  # fmt: skip
        return load_train_config(CONFIGS / self.config, (*always, *self.overrides, *variant.overrides))


COMPRESSOR = Recipe(
    "causal_tae_paper.toml",
    ("model.hidden_dim=64", "loop.batch_size=32", "loop.learning_rate=1e-3", "loop.ema_decay=0.99"),
    400,
)
QUANTIZER = Recipe(
    "rvq_vae_paper.toml",
    (
        "task.layout=motion272", "model.hidden_dim=64", "model.code_dim=16", "model.num_codebooks=1",
        "loop.batch_size=32", "loop.learning_rate=1e-3", "loop.ema_decay=0.99",
    ),
    400,
)  # fmt: skip
TEXT = Recipe(
    "ar_diffusion_paper.toml",
    (
        "task.causal_tae=given", "task.text_encoder=all-MiniLM-L6-v2", "task.min_frames=30", "task.max_frames=160",
        "task.diffusion_draws=2", "task.estimate=denoise", "model.hidden_dim=96", "model.num_layers=3",
        "model.num_heads=4", "model.head_width=128", "model.head_layers=3", "model.diffusion_steps=20",
        "model.text_scale=19.595917942265423", "loop.batch_size=16", "loop.learning_rate=1e-3", "loop.ema_decay=0.99",
    ),
    240,
)  # fmt: skip
DANCE = Recipe(
    "choreo_llama_default.toml",
    (
        "model.hidden_dim=96", "model.num_layers=2", "model.num_heads=4", "model.num_kv_heads=4", "model.head_dim=24",
        "model.mlp_dim=256", "model.num_references=3", "loop.batch_size=8", "loop.learning_rate=1e-3",
        "loop.ema_decay=0.99", "task.phases=1", "task.tempi=[1.0]", "task.on_beat=false",
        "task.timbre_drop=0.0", "task.reference_drop=0.1",
    ),
    150,
)  # fmt: skip

CAUSAL_TAE = Variant("causal-tae", "Causal TAE (the paper's)")
CAUSAL_TAE_AGAIN = Variant("causal-tae-again", "Causal TAE, another seed", ("loop.seed=1",))
COMPRESSORS = (
    Variant("vq-vae", "VQ-VAE: one codebook of 512 codes of 16 values, not causal", parts=("quantized",)),
    Variant("ae", "AE: no sampling, no divergence, not causal", ("model.causal=false", "model.variational=false")),
    Variant(
        "ae-wide",
        "AE with latents of 64 values, as wide as the network",
        ("model.causal=false", "model.variational=false", "model.latent_dim=64"),
    ),
    Variant("vae", "VAE: not causal", ("model.causal=false",)),
    CAUSAL_TAE,
    CAUSAL_TAE_AGAIN,
)
ROOT_WEIGHTS = (
    *(Variant(f"root-{weight}", f"λ = {weight}", (f"task.root_weight={weight}.0",)) for weight in (1, 5, 6)),
    CAUSAL_TAE,
    *(Variant(f"root-{weight}", f"λ = {weight}", (f"task.root_weight={weight}.0",)) for weight in (8, 9)),
    CAUSAL_TAE_AGAIN,
)
FULL_TEXT = Variant("ar", "all of it (the paper's)")
AR_DESIGN = (
    Variant("ar-plain-attention", "without QK-norm", ("model.normalize_qk=false",)),
    Variant("ar-one-forward", "without Two-Forward", ("task.two_forward=false",)),
    Variant("ar-regression", "without diffusion head: mean squared error", parts=("regression",)),
    Variant("ar-words", "other text encoder: a bag of words", parts=("words",)),
    FULL_TEXT,
    Variant("ar-again", "all of it, another seed", ("loop.seed=1",)),
)
CADENCE = Variant("dance-cadence", "embeddings, references, Cadence-MoE (the paper's)", ('model.bridge="cadence"',))
DANCE_COMPONENTS = (
    Variant("dance-indices", "indices, no references", ('model.bridge="linear"', 'model.dance_input="indices"')),
    Variant("dance-embeddings", "embeddings, no references", ('model.bridge="linear"',)),
    Variant("dance-attention", "embeddings, references through attention", ('model.bridge="attention"',)),
    CADENCE,
    Variant("dance-again", "embeddings, no references, another seed", ('model.bridge="linear"', "loop.seed=1")),
)
BANDS = (CADENCE, Variant("dance-4-bands", "4 bands", ('model.bridge="cadence"', "model.num_bands=4")))
