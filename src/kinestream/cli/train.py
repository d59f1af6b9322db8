"""`kinestream train`: train a model from a TOML configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import add_verb, existing_file
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

MODELS = {
    "causal-tae": "the motion autoencoder: 4 frames to one latent and back, causally",
    "ar-diffusion": "the text-to-motion model over the latents of a trained causal-tae",
    "evaluator": "the text-motion evaluator in whose space generated motion is judged",
    "rvq-vae": "the dance tokenizer: 4 frames to three codes and back, causally",
    "choreo-llama": "the music-to-dance model over the codes of a trained rvq-vae",
    "retrieval": "music and dance in one space, so that a song finds dances that suit it",
    "foot-restoration": "the model that makes root, knees and feet of a faulty motion anew",
}

DESCRIPTION = """\
Train one of the models. CONFIG is a TOML file; configs/ holds the ones that the packaged model was trained with.
The run's folder gets checkpoints, TensorBoard logs, rendered samples and, in model/, the trained model. A killed run
goes on with --resume at the very step it would have taken next.

  kinestream train causal-tae configs/causal_tae_default.toml --out runs/causal_tae
  kinestream train ar-diffusion configs/ar_diffusion_default.toml --out runs/ar --set loop.steps=20000
  torchrun --nproc-per-node 2 -m kinestream.cli train causal-tae configs/causal_tae_default.toml
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `train` with one sub-command a model."""
    parser = add_verb(
        verbs,
        "train",
        usage="train MODEL CONFIG [--out DIR] [--resume] [--set KEY=VALUE]",
        summary="train a model from a TOML configuration",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("model", choices=list(MODELS), metavar="MODEL", help=_models_text())
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file with the recipe's settings")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: runs/NAME-OF-CONFIG)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the run's folder")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace one setting of CONFIG, for example --set loop.steps=1000 (may be repeated)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Check what can be checked before torch is loaded, then train."""
    config = existing_file(arguments.config, "a TOML configuration such as configs/causal_tae_default.toml")
    for override in arguments.overrides:
        if not override.partition("=")[0].strip() or "=" not in override:
            raise BadInputError(f"--set expects KEY=VALUE, got {override!r}")
    output = arguments.out if arguments.out is not None else Path("runs") / config.stem
    from kinestream import training

    recipes = {
        "causal-tae": training.train_causal_tae,
        "ar-diffusion": training.train_ar_diffusion,
        "evaluator": training.train_evaluator,
        "rvq-vae": training.train_rvq_vae,
        "choreo-llama": training.train_choreo_llama,
        "retrieval": training.train_retrieval,
        "foot-restoration": training.train_foot_restoration,
    }
    recipe = recipes[arguments.model]
    recipe(config, output, resume=arguments.resume, overrides=arguments.overrides)
    print(output)


def _models_text() -> str:
    return "; ".join(f"{name}: {text}" for name, text in MODELS.items())
