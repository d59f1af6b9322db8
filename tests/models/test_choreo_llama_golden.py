"""The released bridge, LLaMA and drawing agree with the published code on its own weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinestream.models.choreo_llama import ChoreoLlama, SamplingSettings
from kinestream.models.choreo_llama.released_keys import (
    UNUSED_PREFIXES,
    config_from_released_shapes,
    expected_names,
    tensors_from_released,
)
from kinestream.models.choreo_llama.sampling import code_probabilities
from kinestream.nn.moe import CadenceExpert, split_bands

FIRST = 4096
LEVELS = torch.arange(3) * 512


def close_to(got: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((got - expected).abs().max() <= tolerance * expected.abs().max())


def arrays_of(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def released(golden_dir: Path) -> tuple[ChoreoLlama, dict[str, Tensor]]:
    theirs, arrays = (
        load_file(golden_dir / "music2dance_tiny.safetensors"),
        arrays_of(golden_dir / "music2dance_tiny.npz"),
    )
    codebooks = torch.stack([arrays[f"codebook{level}"] for level in range(3)])
    shapes = {key: tuple(value.shape) for key, value in theirs.items()}
    config = config_from_released_shapes(shapes, (3, 512, 24), num_heads=4, bridge_heads=4, window_steps=20)
    model = ChoreoLlama(config).eval().requires_grad_(False)
    model.load_state_dict(tensors_from_released(theirs, config, codebooks))
    left = set(theirs) - expected_names(config)
    assert all(name.startswith(UNUSED_PREFIXES) for name in left)
    return model, arrays


def conditions_of(model: ChoreoLlama, arrays: dict[str, Tensor]) -> Tensor:
    return model.conditions(arrays["music"][None], arrays["style_idx"].view(1), arrays["retrieval_cond"][None, None])


def codes_of(arrays: dict[str, Tensor]) -> Tensor:
    return (arrays["dance_tokens"] - FIRST).view(1, -1, 3) - LEVELS


def test_conditions_and_dance_embeddings_agree(released: tuple[ChoreoLlama, dict[str, Tensor]]) -> None:
    model, arrays = released
    assert close_to(conditions_of(model, arrays)[0], arrays["music_embeds"])
    assert close_to(model.embed_codes(codes_of(arrays)).flatten(1, 2)[0], arrays["dance_embeds"])


def test_logits_agree(released: tuple[ChoreoLlama, dict[str, Tensor]]) -> None:
    model, arrays = released
    logits = model(conditions_of(model, arrays), codes_of(arrays)).flatten(1, 2)[0]
    compared = 0
    for row, position in enumerate(arrays["logits_positions"].tolist()):
        token = position - len(arrays["music"]) + 1
        if token < len(logits):  # the last position predicts what no token of the window is
            level = slice(512 * (token % 3), 512 * (token % 3) + 512)
            assert close_to(logits[token], arrays["logits_dance_vocab_slice"][row, level])
            compared += 1
    assert compared == 5


def test_greedy_dance_agrees(released: tuple[ChoreoLlama, dict[str, Tensor]]) -> None:
    model, arrays = released
    nothing = torch.zeros(1, 0, 3, dtype=torch.long)
    drawn = model.extend(conditions_of(model, arrays), nothing, 20, SamplingSettings(temperature=0.0))
    assert torch.equal((drawn + LEVELS + FIRST).flatten(), arrays["gen_greedy_plain"])


def test_sampler_agrees(released: tuple[ChoreoLlama, dict[str, Tensor]]) -> None:
    _, arrays = released
    logits = arrays["sampler_logits"][FIRST : FIRST + 512].numpy()
    expected = arrays["sampler_plain_probs_sorted"]
    probabilities, codes = code_probabilities(logits, SamplingSettings(0.8, top_k=15, top_p=0.95))
    assert int(codes[0]) + FIRST == int(arrays["sampler_plain_first_token"])
    count = min(len(expected), len(probabilities))
    assert close_to(torch.from_numpy(probabilities[:count]).float(), expected[:count])


def test_full_size_has_the_released_names_and_shapes(golden_dir: Path) -> None:
    listing = json.loads((golden_dir / "fullsize_keys/music2dance_llama_1b.json").read_text())
    shapes = {key: tuple(shape) for key, shape in listing["state_dict"].items()}
    config = config_from_released_shapes(shapes, (3, 512, 1024))
    assert (config.num_layers, config.num_heads, config.num_kv_heads, config.mlp_dim) == (16, 32, 8, 8192)
    assert (config.window_steps, config.window_music_frames, config.window_reference_frames) == (96, 320, 384)
    with torch.device("meta"):
        theirs = {name: torch.empty(shape) for name, shape in shapes.items()}
        ours = {name: tuple(value.shape) for name, value in ChoreoLlama(config).state_dict().items()}
        tensors = tensors_from_released(theirs, config, torch.empty(3, 512, 1024))
    assert {name: tuple(value.shape) for name, value in tensors.items()} == ours
    left = set(shapes) - expected_names(config)
    assert all(name.startswith(UNUSED_PREFIXES) for name in left)


@torch.no_grad()
@pytest.mark.parametrize("length", ["", "_odd"])
def test_bands_agree(golden_dir: Path, length: str) -> None:
    arrays = arrays_of(golden_dir / "cadence_moe_tiny.npz")
    bands = split_bands(arrays[f"x{length}"][..., -264:], 2)
    assert close_to(bands[:, 0], arrays[f"band0{length}"])
    assert close_to(bands[:, 1], arrays[f"band1{length}"])


@torch.no_grad()
def test_experts_and_mamba_agree(golden_dir: Path) -> None:
    theirs, arrays = (
        load_file(golden_dir / "cadence_moe_tiny.safetensors"),
        arrays_of(golden_dir / "cadence_moe_tiny.npz"),
    )
    cases = [
        ("specialized_experts.0", 264, "band0", "specialized0_out"),
        ("specialized_experts.1", 264, "band1", "specialized1_out"),
        ("universal_expert", 32, "universal_in", "universal_out"),
    ]
    for name, width, given, expected in cases:
        prefix = f"music_bridge.{name}."
        own = {key.removeprefix(prefix): value for key, value in theirs.items() if key.startswith(prefix)}
        expert = CadenceExpert(width, 32, 4).eval()
        expert.load_state_dict({key.replace("transformer_attn", "attention"): value for key, value in own.items()})
        assert close_to(expert(arrays[given]), arrays[expected])
        if name == "universal_expert":
            assert close_to(expert.mamba(arrays["universal_mamba_in"]), arrays["universal_mamba_out"])
            state, steps = expert.mamba.init_state(1), []
            for chunk in arrays["universal_mamba_in"].split(5, dim=1):
                out, state = expert.mamba.step(chunk, state)
                steps.append(out)
            assert close_to(torch.cat(steps, dim=1), arrays["universal_mamba_out"])
