"""The causal autoencoder agrees with the published code, and its loss with the paper's equations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinestream.errors import BadInputError
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig, LatentDistribution, causal_tae_loss
from kinestream.models.causal_tae.released_keys import config_from_released_shapes, released_key_map

TINY = CausalTAEConfig(feature_dim=12, hidden_dim=8, latent_dim=4)


def close_to(got: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-4) -> bool:
    reference = torch.from_numpy(expected)
    return bool((got - reference).abs().max() <= tolerance * reference.abs().max())


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> tuple[CausalTAE, dict[str, np.ndarray]]:
    folder = golden_dir
    theirs = load_file(folder / "causal_tae_tiny.safetensors")
    config = config_from_released_shapes({key: tuple(value.shape) for key, value in theirs.items()})
    model = CausalTAE(config)
    names = released_key_map(config)
    assert sorted(names.values()) == sorted(theirs)
    model.load_state_dict({ours: theirs[key] for ours, key in names.items()})
    with np.load(folder / "causal_tae_tiny.npz") as arrays:
        return model.eval(), dict(arrays)


@torch.no_grad()
def test_encoder_agrees_with_published_code(golden: tuple[CausalTAE, dict[str, np.ndarray]]) -> None:
    model, arrays = golden
    posterior = model.encode(torch.from_numpy(arrays["x"]))
    assert close_to(posterior.mean, arrays["mu"])
    assert close_to(posterior.logvar, arrays["logvar"])
    z = posterior.mean + torch.from_numpy(arrays["eps"]) * (0.5 * posterior.logvar).exp()
    assert close_to(z, arrays["z_sampled"])


@torch.no_grad()
def test_decoder_agrees_with_published_code(golden: tuple[CausalTAE, dict[str, np.ndarray]]) -> None:
    model, arrays = golden
    assert close_to(model.decode(torch.from_numpy(arrays["z"])), arrays["decoded"])


@torch.no_grad()
def test_streaming_decoder_and_encoder_agree_with_published_code(
    golden: tuple[CausalTAE, dict[str, np.ndarray]],
) -> None:
    model, arrays = golden
    state, frames = model.decoder.init_state(1), []
    for latent in torch.from_numpy(arrays["z"]).split(1, dim=1):
        chunk, state = model.decoder.step(latent, state)
        frames.append(chunk)
    assert close_to(torch.cat(frames, dim=1), arrays["decoded"])
    encoder_state, means = model.encoder.init_state(1), []
    for chunk in torch.from_numpy(arrays["x"]).split(4, dim=1):
        posterior, encoder_state = model.encoder.step(chunk, encoder_state)
        means.append(posterior.mean)
    assert close_to(torch.cat(means, dim=1), arrays["mu"])


def test_full_size_has_the_released_names_and_shapes(golden_dir: Path) -> None:
    listing = json.loads((golden_dir / "fullsize_keys/causal_humantae_1024.json").read_text())
    shapes = {key: tuple(shape) for key, shape in listing["state_dict"].items()}
    assert config_from_released_shapes(shapes) == CausalTAEConfig.paper()
    with torch.device("meta"):
        model = CausalTAE(CausalTAEConfig.paper())
    names = released_key_map(model.config)
    ours = {names[key]: tuple(value.shape) for key, value in model.state_dict().items()}
    assert ours == shapes


def test_a_latent_influences_178_frames_after_its_own_first_frame() -> None:
    torch.manual_seed(0)
    decoder = CausalTAE(CausalTAEConfig(feature_dim=3, hidden_dim=4, latent_dim=2)).double().decoder
    z = torch.zeros(1, 60, 2, dtype=torch.float64)
    moved = z.clone()
    moved[0, 0] += 1.0
    changed = (decoder(moved) - decoder(z)).abs().amax(dim=-1)[0] > 0
    assert changed.nonzero().max() <= 3 + 178


def test_sampling_is_decided_by_the_generator() -> None:
    posterior = LatentDistribution(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))
    draws = [posterior.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])


def test_loss_follows_equations_2_to_6() -> None:
    generator = torch.Generator().manual_seed(0)
    target, recon = torch.randn(2, 8, 12, generator=generator), torch.randn(2, 8, 12, generator=generator)
    posterior = LatentDistribution(torch.randn(2, 2, 4, generator=generator), torch.randn(2, 2, 4, generator=generator))
    loss = causal_tae_loss(recon, target, posterior, root_dims=3, root_weight=7.0)
    variance = ((target - recon) ** 2).mean()
    terms = (target - recon) ** 2 / (2 * variance) + 0.5 * variance.log()
    kl = 0.5 * (posterior.mean**2 + posterior.logvar.exp() - posterior.logvar - 1).sum()
    expected = (terms.sum() + kl + 7.0 * terms[..., :3].sum()) / target.numel()
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.sigma, variance.sqrt())


def test_loss_stays_finite_for_a_perfect_reconstruction() -> None:
    x = torch.randn(1, 4, 12, requires_grad=True)
    loss = causal_tae_loss(x, x.detach(), LatentDistribution(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)))
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_a_plain_autoencoder_draws_nothing_and_pays_no_divergence() -> None:
    model = CausalTAE(dataclasses.replace(TINY, variational=False))
    x = torch.randn(2, 16, 12)
    posterior = model.encode(x)
    torch.testing.assert_close(posterior.sample(), posterior.mean, atol=1e-5, rtol=0.0)
    recon = model.decode(posterior.mean)
    with_kl, without = (causal_tae_loss(recon, x, posterior, kl_weight=weight) for weight in (1.0, 0.0))
    torch.testing.assert_close(with_kl.total - without.total, with_kl.kl)


def test_only_a_causal_autoencoder_is_blind_to_the_future_and_streams() -> None:
    for causal in (True, False):
        model = CausalTAE(dataclasses.replace(TINY, causal=causal)).requires_grad_(False)
        x = torch.randn(1, 32, 12)
        changed = x.clone()
        changed[:, 16:] += 1.0
        before, after = model.encode(x).mean[:, :4], model.encode(changed).mean[:, :4]
        assert torch.equal(before, after) == causal
        assert model.decode(model.encode(x).mean).shape == x.shape
    with pytest.raises(BadInputError, match="future"):
        model.decoder.init_state(1)


def test_training_on_a_constant_lowers_the_error() -> None:
    torch.manual_seed(0)
    model = CausalTAE(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.randn(1, 1, 12).repeat(4, 32, 1)
    losses = []
    for _ in range(60):
        recon, posterior = model(x, torch.Generator().manual_seed(1))
        loss = causal_tae_loss(recon, x, posterior)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(float(loss.sigma))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("shape", [(1, 3, 12), (1, 8, 11), (8, 12)])
def test_encode_refuses_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError):
        CausalTAE(TINY).encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong", [{"hidden_dim": 0}, {"hidden_dim": 1.5}, {"logvar_range": (3.0, 1.0)}, {"num_halvings": 99}]
)
def test_config_refuses_wrong_values(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        CausalTAEConfig(**wrong)  # type: ignore[arg-type]


def test_config_survives_json() -> None:
    config = CausalTAEConfig.default()
    assert CausalTAEConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(BadInputError, match="hidden_size"):
        CausalTAEConfig.from_json({"hidden_size": 3})
