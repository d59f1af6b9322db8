"""The autoregressive diffusion model agrees with the published code on a small network with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig, SamplingNoise, diffusion_loss
from kinestream.models.ar_diffusion.released_keys import config_from_released_shapes, released_key_map
from kinestream.nn.diffusion import cosine_schedule
from tests.models.released import OWN_BUFFERS, load_released_ar

Golden = tuple[ARDiffusion, dict[str, Tensor]]


def relative_error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return load_released_ar(golden_dir)


def recorded_noise(arrays: dict[str, Tensor], name: str) -> SamplingNoise:
    return SamplingNoise(arrays[f"{name}_noise_init"], arrays[f"{name}_noise_steps"][:, :1])


@pytest.mark.parametrize(
    ("text", "latents", "expected"),
    [
        ("text", "latents", "cond_forward_text_latents"),
        ("empty_text", "latents", "cond_empty_latents"),
        ("batch_text", "batch_latents", "cond_batch"),
    ],
)
def test_conditions_agree_with_published_code(golden: Golden, text: str, latents: str, expected: str) -> None:
    model, arrays = golden
    conditions = model.conditions(arrays[text].view(-1, 768), arrays[latents])
    assert relative_error(conditions, arrays[expected]) < 1e-4


def test_a_full_context_agrees_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    conditions = model.conditions(arrays["text"][None], arrays["latents77"])
    assert relative_error(conditions[:, -1], arrays["cond_latents77_last"]) < 1e-4


def test_cached_steps_agree_with_published_whole_sequence(golden: Golden) -> None:
    model, arrays = golden
    condition, state = model.prefill(arrays["text"][None], None, model.init_state(1))
    got = [condition]
    for latent in arrays["latents"].split(1, dim=1):
        condition, state = model.step(latent, state)
        got.append(condition)
    assert relative_error(torch.stack(got, dim=1), arrays["cond_forward_text_latents"]) < 1e-4


def test_head_agrees_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    assert relative_error(model.head(arrays["net_x"], arrays["net_t"], arrays["net_c"]), arrays["net_out"]) < 1e-4
    assert relative_error(model.head.time_embedding(arrays["net_t"]), arrays["net_time_embed"]) < 1e-4


def test_guidance_agrees_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    x, t = arrays["net_x"][:2], torch.full((2,), 31)
    cond, uncond = (model.head(x, t, half) for half in arrays["net_c"].chunk(2))
    assert relative_error(uncond + 4.0 * (cond - uncond), arrays["net_cfg_out"][:2]) < 1e-4


def test_schedule_agrees_with_published_code(golden: Golden) -> None:
    _, arrays = golden
    schedule = cosine_schedule(50)
    of_start, of_noisy = schedule.posterior_mean_coefficients
    recip, recip_minus_one = schedule.start_coefficients
    for name, ours in {
        "betas": schedule.betas,
        "alphas_cumprod": schedule.alphas_cumprod,
        "posterior_mean_coef1": of_start,
        "posterior_mean_coef2": of_noisy,
        "posterior_variance": schedule.posterior_variance,
        "sqrt_recip_alphas_cumprod": recip,
        "sqrt_recipm1_alphas_cumprod": recip_minus_one,
        "posterior_log_variance_clipped": 2 * np.log(schedule.posterior_std),
        "timestep_map": np.array(schedule.timesteps),
    }.items():
        np.testing.assert_allclose(ours, arrays[f"sched_{name}"].numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("name", "temperature"), [("sample", 1.0), ("sample_T07", 0.7)])
def test_fifty_guided_steps_agree_with_published_code(golden: Golden, name: str, temperature: float) -> None:
    model, arrays = golden
    cond, uncond = arrays["sample_cond"][:1], arrays["sample_cond"][1:]
    latent = model.head.sample(cond, uncond, 4.0, noise=recorded_noise(arrays, name), temperature=temperature)
    assert relative_error(latent, arrays[f"{name}_out"][:1]) < 1e-4


def test_fifty_unguided_steps_agree_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    latent = model.head.sample(arrays["sample_cond"][:1], noise=recorded_noise(arrays, "sample_nocfg"))
    assert relative_error(latent, arrays["sample_nocfg_out"]) < 1e-4


def test_training_loss_agrees_with_published_code(golden: Golden) -> None:
    model, arrays = golden
    loss = diffusion_loss(
        model.head, arrays["train_z"], arrays["train_target"], t=arrays["train_t"], noise=arrays["train_noise"]
    )
    assert relative_error(loss.per_row, arrays["train_loss_per_row"]) < 1e-4
    assert relative_error(loss.start_estimate, arrays["train_pred_xstart"]) < 1e-4
    noisy = model.head.schedule.add_noise(arrays["train_target"], arrays["train_noise"], arrays["train_t"])
    assert relative_error(noisy, arrays["train_x_t"]) < 1e-4


def test_full_size_has_the_released_names_and_shapes(golden_dir: Path) -> None:
    listing = json.loads((golden_dir / "fullsize_keys" / "llamahf_normal_size.json").read_text())
    shapes = {key: tuple(shape) for key, shape in listing["state_dict"].items()}
    config = config_from_released_shapes(shapes)
    assert config == ARDiffusionConfig.paper()
    with torch.device("meta"):
        model = ARDiffusion(config)
    names = released_key_map(config)
    ours = {names[key]: tuple(value.shape) for key, value in model.state_dict().items() if key not in OWN_BUFFERS}
    assert ours == shapes


def test_published_loop_with_recorded_noise_and_its_stop(golden: Golden) -> None:
    """The whole generation: guided sampling with two caches, one latent after the other, until the end latent."""
    model, arrays = golden
    texts = torch.stack([arrays["text"], arrays["empty_text"]])
    condition, state = model.prefill(texts, None, model.init_state(2))
    latents = []
    for initial, steps in zip(arrays["loop_noise_init"], arrays["loop_noise_steps"], strict=True):
        latent = model.head.sample(condition[:1], condition[1:], 4.0, noise=SamplingNoise(initial, steps[:, :1]))
        condition, state = model.step(latent.expand(2, -1)[:, None], state)
        latents.append(latent)
    got = torch.stack(latents, dim=1)
    assert relative_error(got, arrays["loop_latents"]) < 1e-4
    distances = (got[0] - arrays["reference_end_latent_t2m_272"]).norm(dim=-1)
    assert relative_error(distances, arrays["loop_end_distance"]) < 1e-4
    stops = ((got[0] - arrays["loop_latents"][0, 3]).norm(dim=-1) < 0.1).nonzero()[0, 0]
    assert int(stops) == arrays["loop_stopped_latents"].shape[1]
