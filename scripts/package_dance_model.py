"""Puts a trained music-to-dance model into the package: half precision, with its provenance.

    python scripts/package_dance_model.py runs/choreo_llama_default/model --retrieval runs/retrieval_default/model

The library of reference dances stays out: its codes decode to the recordings, which are not ours to pass on. Whoever
has them builds it with `kinestream.streaming.dance.references` (docs/dance.md). The card is written by
scripts/write_dance_card.py afterwards.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from kinestream.checkpoints.dance import DEFAULT_DANCE_DIR, load_music_to_dance, save_music_to_dance
from kinestream.checkpoints.retrieval import load_retrieval, save_retrieval
from kinestream.streaming.dance.references import RETRIEVAL_FOLDER

PROVENANCE = {
    "data": [
        "Dance with Melody (Tang, Jia, Mao; ACM MM 2018)",
        "Bandai-Namco Research Motion Dataset 1 and 2 (tokenizer)",
        "DeepMimic reference clips (tokenizer)",
    ],
    "licence": "CC BY-NC 4.0 (from the Bandai-Namco recordings); Dance with Melody was published for research",
    "recipe": [
        "configs/rvq_vae_default.toml",
        "configs/retrieval_default.toml",
        "configs/choreo_llama_default.toml",
    ],
}


def main() -> None:
    """Read the run's model folder and write the packaged one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model/ of a choreo-llama run")
    parser.add_argument("--retrieval", type=Path, required=True, help="model/ of a retrieval run")
    parser.add_argument("--temperature", type=float, help="how freely codes are drawn by default")
    parser.add_argument("-o", "--out", type=Path, default=DEFAULT_DANCE_DIR)
    given = parser.parse_args()
    model = load_music_to_dance(given.model)
    model = replace(model, provenance={**model.provenance, **PROVENANCE})
    if given.temperature is not None:
        model = replace(model, sampling=replace(model.sampling, temperature=given.temperature))
    save_music_to_dance(given.out, model, weights_dtype=torch.float16)
    save_retrieval(given.out / RETRIEVAL_FOLDER, load_retrieval(given.retrieval))
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    print(f"{given.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
