"""The tokenizer agrees with the published code on its own weights, and keeps its promises on ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.rvq_vae import RVQVAE, RVQVAEConfig, rvq_vae_loss
from kinestream.models.rvq_vae.released_keys import (
    UNUSED_PREFIXES,
    codebook_names,
    config_from_released_shapes,
    released_key_map,
    tensors_from_released,
)

TINY = RVQVAEConfig(feature_dim=12, hidden_dim=8, code_dim=6, num_codes=16, depth=2)


def close_to(got: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((got - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> tuple[RVQVAE, dict[str, Tensor]]:
    theirs = load_file(golden_dir / "rvq_vae_tiny.safetensors")
    config = config_from_released_shapes({key: tuple(value.shape) for key, value in theirs.items()})
    model = RVQVAE(config).eval()
    model.load_state_dict(tensors_from_released(theirs, config))
    with np.load(golden_dir / "rvq_vae_tiny.npz") as arrays:
        return model, {name: torch.from_numpy(array) for name, array in arrays.items()}


@torch.no_grad()
def test_codes_agree_with_published_code(golden: tuple[RVQVAE, dict[str, Tensor]]) -> None:
    model, arrays = golden
    assert close_to(model.hidden(arrays["x"]).transpose(1, 2), arrays["encoder_out"])
    assert torch.equal(model.encode(arrays["x"]), arrays["code_idx"])
    assert close_to(model.embed(arrays["idx"]).transpose(1, 2), arrays["latent"])
    assert close_to(model.quantize(model.hidden(arrays["x"])).vectors.transpose(1, 2), arrays["quantized_sum"])


@torch.no_grad()
def test_frames_agree_with_published_code(golden: tuple[RVQVAE, dict[str, Tensor]]) -> None:
    model, arrays = golden
    assert close_to(model.decoder.net.run(model.embed(arrays["idx"])), arrays["decoded"])
    assert close_to(model.decode(arrays["idx"])[:, :16], arrays["decoded_merged_first16"])
    assert close_to(model.decode(arrays["idx"])[..., 3:5], arrays["vel_decoded"])
    assert close_to(
        model.decoder.net.run(model.embed(arrays["idx_partial"]))[:, :16], arrays["decoded_partial_first16"]
    )


def test_full_size_has_the_released_names_and_shapes(golden_dir: Path) -> None:
    listing = json.loads((golden_dir / "fullsize_keys/rvqvae_512x1024_3layer_width1024.json").read_text())
    shapes = {key: tuple(shape) for key, shape in listing["state_dict"].items()}
    config = config_from_released_shapes(shapes)
    assert (config.num_codebooks, config.num_codes, config.code_dim, config.hidden_dim) == (3, 512, 1024, 1024)
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in RVQVAE(config).state_dict().items()}
    names = released_key_map(config)
    assert {names[name]: ours[name] for name in names} == {name: shapes[name] for name in names.values()}
    assert set(ours) - set(names) == {"quantizer.codebooks", "quantizer.usage"}
    left = set(shapes) - set(names.values()) - set(codebook_names(config))
    assert left
    assert all(name.startswith(UNUSED_PREFIXES) for name in left)


def test_a_released_token_sees_87_frames_either_way(golden: tuple[RVQVAE, dict[str, Tensor]]) -> None:
    model, _ = golden
    vectors = torch.zeros(1, 80, model.config.code_dim)
    moved = vectors.clone()
    moved[0, 40] += 10.0
    with torch.no_grad():
        changed = (model.decoder.net.run(moved) - model.decoder.net.run(vectors)).abs().amax(dim=-1)[0].nonzero()
    assert int(changed.min()) >= 160 - 87
    assert int(changed.max()) <= 163 + 87


def test_a_symmetric_tokenizer_refuses_to_stream(golden: tuple[RVQVAE, dict[str, Tensor]]) -> None:
    model, _ = golden
    with pytest.raises(BadInputError, match="future"):
        model.decoder.init_state(1)


def test_unused_levels_and_leftover_frames_are_no_error() -> None:
    model = RVQVAE(TINY).eval()
    codes = model.encode(torch.randn(2, 19, 12))
    assert codes.shape == (2, 4, 3)
    assert model.decode(codes).shape == (2, 16, 12)
    assert model.decode(codes[..., :1]).shape == (2, 16, 12)
    torch.testing.assert_close(
        model.decode(codes.index_fill(2, torch.tensor([1, 2]), -1)), model.decode(codes[..., :1])
    )


@pytest.mark.parametrize("shape", [(1, 3, 12), (1, 8, 11), (8, 12)])
def test_encode_refuses_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError):
        RVQVAE(TINY).encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 0, 3), (1, 4, 4), (4, 3)])
def test_decode_refuses_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError):
        RVQVAE(TINY).decode(torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize(
    "wrong", [{"num_codes": 0}, {"quantizer_dropout": 1.0}, {"velocity_columns": (3, 999)}, {"codebook_decay": 1.0}]
)
def test_config_refuses_wrong_values(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        RVQVAEConfig(**wrong)  # type: ignore[arg-type]


def test_config_survives_json() -> None:
    for config in (RVQVAEConfig.default(), RVQVAEConfig.paper()):
        assert RVQVAEConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    paper = RVQVAEConfig.paper()
    assert (paper.num_codebooks, paper.num_codes, paper.code_dim) == (3, 512, 1024)


def test_loss_sees_positions_and_velocities() -> None:
    target = torch.randn(2, 8, 12)
    slices = {"positions": slice(2, 5), "velocities": slice(5, 8)}
    nothing = torch.zeros(())
    right = rvq_vae_loss(target, target, nothing, **slices)
    assert float(right.total) == 0.0
    placed, moving, other = (target.clone() for _ in range(3))
    placed[..., 2:5] += 0.1  # all frames alike: no step changes
    moving[..., 5:8] += 0.1
    other[..., 8:] += 0.1
    assert float(rvq_vae_loss(placed, target, nothing, **slices).positions) > 0
    assert float(rvq_vae_loss(placed, target, nothing, **slices).velocities) == pytest.approx(0.0, abs=1e-8)
    assert float(rvq_vae_loss(moving, target, nothing, **slices).velocities) > 0
    assert float(rvq_vae_loss(other, target, nothing, **slices).velocities) == 0.0
    assert float(rvq_vae_loss(other, target, nothing, **slices).total) > 0


def test_training_lowers_the_error_and_uses_the_codes() -> None:
    model = RVQVAE(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.randn(1, 8, 12).repeat(8, 4, 1) + 0.1 * torch.randn(8, 32, 12)
    errors = []
    for step in range(90):
        recon, quantized = model(x, torch.Generator().manual_seed(step))
        loss = rvq_vae_loss(recon, x, quantized.commitment, positions=slice(0, 6), velocities=slice(6, 12))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        errors.append(float(loss.features.detach()))
    assert errors[-1] < 0.3 * errors[0]
    assert len(model.eval().encode(x)[..., 0].unique()) > 1
