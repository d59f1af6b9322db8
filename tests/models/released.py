"""Loads the small networks that the authors' code was run with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinestream.models.ar_diffusion import ARDiffusion
from kinestream.models.ar_diffusion.released_keys import config_from_released_shapes, released_key_map

OWN_BUFFERS = {"latent_mean", "latent_std", "empty_text"}


def load_released_ar(golden_dir: Path) -> tuple[ARDiffusion, dict[str, Tensor]]:
    """Give the model with the golden weights, and the recorded arrays."""
    theirs = load_file(golden_dir / "ar_diffusion_tiny.safetensors")
    config = config_from_released_shapes({key: tuple(value.shape) for key, value in theirs.items()}, num_heads=4)
    names = released_key_map(config)
    assert sorted(names.values()) == sorted(theirs)
    model = ARDiffusion(config).eval()
    missing, unexpected = model.load_state_dict({ours: theirs[key] for ours, key in names.items()}, strict=False)
    assert set(missing) == OWN_BUFFERS
    assert not unexpected
    with np.load(golden_dir / "ar_diffusion_tiny.npz") as arrays:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model.empty_text.copy_(tensors["empty_text"])
    return model.requires_grad_(False), tensors
