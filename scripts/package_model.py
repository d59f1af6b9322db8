"""Puts a trained text-to-motion model into the package: half precision, with its guidance, idle prompt and provenance.

    python scripts/package_model.py runs/ar_diffusion_default/model --guidance 2.5 --idle-prompt "stands still"

The model card is written by scripts/write_model_card.py afterwards.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from kinestream.checkpoints import DEFAULT_MODEL_DIR, load_text_to_motion, save_text_to_motion

PROVENANCE = {
    "data": ["Bandai-Namco Research Motion Dataset 1 and 2", "DeepMimic reference clips"],
    "licence": "CC BY-NC 4.0 (from the Bandai-Namco recordings)",
    "recipe": ["configs/causal_tae_default.toml", "configs/ar_diffusion_default.toml"],
}


def main() -> None:
    """Read the run's model folder and write the packaged one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model/ of an ar-diffusion run")
    parser.add_argument("--guidance", type=float, required=True, help="scale of classifier-free guidance by default")
    parser.add_argument("--idle-prompt", help="what the body does while nothing is asked of it")
    parser.add_argument("-o", "--out", type=Path, default=DEFAULT_MODEL_DIR)
    given = parser.parse_args()
    trained = load_text_to_motion(given.model)
    provenance = {**trained.provenance, **PROVENANCE}
    if given.idle_prompt:
        provenance["idle_prompt"] = given.idle_prompt
    model = replace(trained, guidance=given.guidance, provenance=provenance)
    save_text_to_motion(given.out, model, weights_dtype=torch.float16)
    size = sum(path.stat().st_size for path in given.out.iterdir())
    print(f"{given.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
