"""The autoregressive diffusion model: contexts, masks, sampling settings, training loss."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion import (
    ARDiffusion,
    ARDiffusionConfig,
    DiffusionLoss,
    SamplingNoise,
    diffusion_loss,
    draw_sampling_noise,
    replaced_share,
    two_forward_loss,
)
from kinestream.nn.diffusion import cosine_schedule

CONFIG = ARDiffusionConfig(
    latent_dim=4, text_dim=6, hidden_dim=16, num_layers=2, num_heads=2, context_latents=12, head_width=16,
    head_layers=2, diffusion_steps=6,
)  # fmt: skip


def lively(model: ARDiffusion) -> ARDiffusion:
    """AdaLN-zero makes a head that ignores its condition; give it numbers."""
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def model() -> ARDiffusion:
    return lively(ARDiffusion(CONFIG)).eval().requires_grad_(False)


def noise(seed: int, batch: int = 1, steps: int = 6) -> SamplingNoise:
    drawn = draw_sampling_noise(batch, steps, 4, torch.Generator().manual_seed(seed))
    return SamplingNoise(0.1 * drawn.initial, drawn.steps)


def test_padding_does_not_change_conditions(model: ARDiffusion) -> None:
    text, latents = torch.randn(2, 6), torch.randn(2, 7, 4)
    padded = latents.clone()
    padded[0, 3:] = torch.nan
    conditions = model.conditions(text, padded, torch.tensor([3, 7]))
    torch.testing.assert_close(conditions[:1, :4], model.conditions(text[:1], latents[:1, :3]))
    torch.testing.assert_close(conditions[1:], model.conditions(text[1:], latents[1:]))
    assert not conditions[0, 4:].any()


def test_prefill_of_uneven_histories_goes_on_like_the_whole(model: ARDiffusion) -> None:
    text, latents = torch.randn(3, 6), torch.randn(3, 8, 4)
    lengths = torch.tensor([0, 5, 3])
    condition, state = model.prefill(text, latents[:, :5], model.init_state(3), lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        whole = model.conditions(text[row : row + 1], latents[row : row + 1])[0]
        torch.testing.assert_close(condition[row], whole[length], rtol=1e-4, atol=1e-5)
    nexts = latents[torch.arange(3), lengths][:, None]
    condition, _ = model.step(nexts, state)
    for row, length in enumerate(lengths.tolist()):
        whole = model.conditions(text[row : row + 1], latents[row : row + 1])[0]
        torch.testing.assert_close(condition[row], whole[length + 1], rtol=1e-4, atol=1e-5)


def test_prefill_leaves_inactive_rows_alone(model: ARDiffusion) -> None:
    text, latents = torch.randn(3, 6), torch.randn(3, 2, 4)
    _, old = model.prefill(text, latents, model.init_state(3))
    condition, new = model.prefill(-text, None, old, active=torch.tensor([False, True, False]))
    assert new.length.tolist() == [3, 1, 3]
    assert not condition[[0, 2]].any()
    torch.testing.assert_close(condition[1], model.conditions(-text[1:2], latents[:1, :0])[0, 0])
    before, _ = model.step(latents[:, :1], old)
    after, _ = model.step(latents[:, :1], new)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])


def test_a_full_or_empty_context_is_refused(model: ARDiffusion) -> None:
    text = torch.randn(1, 6)
    _, state = model.prefill(text, torch.randn(1, 12, 4), model.init_state(1))
    with pytest.raises(BadInputError, match="full"):
        model.step(torch.randn(1, 1, 4), state)
    with pytest.raises(BadInputError, match="empty"):
        model.step(torch.randn(1, 1, 4), model.init_state(1))
    with pytest.raises(BadInputError, match="don't fit"):
        model.conditions(text, torch.randn(1, 13, 4))
    resting, _ = model.step(torch.randn(1, 1, 4), state, torch.tensor([False]))
    assert not resting.any()


def test_a_text_of_another_encoder_is_refused(model: ARDiffusion) -> None:
    with pytest.raises(BadInputError, match="another text encoder"):
        model.conditions(torch.randn(1, 5), torch.randn(1, 2, 4))
    with pytest.raises(BadInputError, match="latents must be"):
        model.conditions(torch.randn(1, 6), torch.randn(2, 2, 4))


def test_latents_are_normalised_at_the_border(model: ARDiffusion) -> None:
    model.latent_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    model.latent_std.copy_(torch.tensor([0.5, 1.0, 2.0, 4.0]))
    latents = torch.randn(2, 3, 4)
    torch.testing.assert_close(model.denormalize_latents(model.normalize_latents(latents)), latents)
    torch.testing.assert_close(model.normalize_latents(model.latent_mean), torch.zeros(4))


def test_small_batches_on_the_cpu_give_the_same_latents_as_large_ones(model: ARDiffusion) -> None:
    cond, uncond = torch.randn(6, 16), torch.randn(6, 16)
    drawn, scale = noise(0, batch=6), torch.linspace(1.0, 5.0, 6)
    large = model.head.sample(cond, uncond, scale, noise=drawn)
    for row in range(6):
        pick = slice(row, row + 1)
        own = SamplingNoise(drawn.initial[pick], drawn.steps[:, pick])
        alone = model.head.sample(cond[pick], uncond[pick], float(scale[row]), noise=own)
        torch.testing.assert_close(alone, large[pick], rtol=1e-4, atol=1e-4 * float(large.abs().max()))
    own = SamplingNoise(drawn.initial[:2], drawn.steps[:, :2])
    both = model.head.sample(cond[:2], noise=own)
    torch.testing.assert_close(both, model.head.sample(cond, noise=drawn)[:2], rtol=1e-4, atol=1e-3)


def test_many_rows_are_sampled_in_spans_with_the_same_result(
    model: ARDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    cond, drawn = torch.randn(6, 16), noise(0, batch=6)
    whole = model.head.sample(cond, noise=drawn)
    monkeypatch.setattr("kinestream.models.ar_diffusion.head._MODULATION_ROWS", 12)
    torch.testing.assert_close(model.head.sample(cond, noise=drawn), whole, rtol=1e-4, atol=1e-3)


def test_guidance_one_is_the_condition_alone(model: ARDiffusion) -> None:
    cond, uncond, drawn = torch.randn(1, 16), torch.randn(1, 16), noise(0)
    guided = model.head.sample(cond, uncond, 1.0, noise=drawn)
    torch.testing.assert_close(guided, model.head.sample(cond, noise=drawn), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
def test_fewer_steps_stay_finite_and_use_known_levels(steps: int, model: ARDiffusion) -> None:
    schedule = cosine_schedule(6).respaced(steps)
    assert schedule.num_steps == steps
    assert set(schedule.timesteps) <= set(range(6))
    assert len(set(schedule.timesteps)) == steps
    latent = model.head.sample(torch.randn(1, 16), steps=steps, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(latent).all()


def test_a_perfect_network_samples_the_data_with_any_number_of_steps() -> None:
    """With the true noise of a one-point distribution, every chain ends on the point."""
    point = torch.tensor([0.7, -1.2])
    for steps in (50, 20, 7, 2):
        schedule = cosine_schedule(50).respaced(steps)
        x = torch.randn(2, dtype=torch.float64)
        for level in reversed(range(steps)):
            signal = schedule.alphas_cumprod[level]
            true_noise = (x - signal**0.5 * point) / (1 - signal) ** 0.5
            of_noisy, of_noise = schedule.start_coefficients
            start = of_noisy[level] * x - of_noise[level] * true_noise
            mean_of_start, mean_of_noisy = schedule.posterior_mean_coefficients
            x = mean_of_start[level] * start + mean_of_noisy[level] * x
            if level:
                x = x + schedule.posterior_std[level] * torch.randn(2)
        torch.testing.assert_close(x, point.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [0, 7])
def test_impossible_numbers_of_steps_are_refused(steps: int, model: ARDiffusion) -> None:
    with pytest.raises(BadInputError, match="1 to 6 steps"):
        model.head.sample(torch.randn(1, 16), steps=steps)


def test_noise_of_the_wrong_shape_is_refused(model: ARDiffusion) -> None:
    with pytest.raises(BadInputError, match="needs noise"):
        model.head.sample(torch.randn(2, 16), noise=noise(0))
    with pytest.raises(BadInputError, match="One generator per row"):
        draw_sampling_noise(2, 3, 4, [torch.Generator()])


def test_one_generator_per_row_gives_the_same_noise_in_any_batch() -> None:
    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (5, 6)]

    both = draw_sampling_noise(2, 3, 4, generators())
    alone = draw_sampling_noise(1, 3, 4, generators()[1:])
    assert torch.equal(both.steps[:, 1:], alone.steps)
    assert torch.equal(both.initial[1:], alone.initial)


# ---- training


def test_replaced_share_is_the_papers_cosine() -> None:
    assert replaced_share(0, 10) == 0.0
    assert replaced_share(5, 10) == pytest.approx(0.5)
    assert replaced_share(10, 10) == pytest.approx(1.0)
    assert replaced_share(99, 10) == pytest.approx(1.0)
    with pytest.raises(BadInputError):
        replaced_share(1, 0)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.zeros(3, 8, dtype=torch.bool)
    mask[0, 2:8] = mask[1, :5] = mask[2, 3:4] = True
    return torch.randn(3, 6), torch.randn(3, 8, 4), mask


def test_history_and_padding_carry_no_loss_but_history_conditions() -> None:
    torch.manual_seed(0)
    model = lively(ARDiffusion(dataclasses.replace(CONFIG, text_drop=0.0)))
    text, latents, mask = batch()
    latents.requires_grad_()
    two_forward_loss(model, text, latents, mask, 0.0, torch.Generator().manual_seed(0)).loss.backward()
    assert latents.grad is not None
    used = latents.grad.abs().sum(dim=-1) > 0
    assert used[0, :8].all()
    assert not used[1, 5:].any()
    assert not used[2, 4:].any()
    assert used[2, :3].all()


def test_opening_latents_of_a_prompt_count_more_often(model: ARDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.arange(20.0).reshape(1, 5, 4)
    mask = torch.tensor([[False, True, True, True, False]])  # one latent of history, one of padding
    seen: list[Tensor] = []

    def record(head: object, conditions: Tensor, targets: Tensor, **settings: object) -> DiffusionLoss:
        seen.append(targets)
        assert len(conditions) == len(targets)
        return DiffusionLoss(targets.sum(), targets, targets)

    monkeypatch.setattr("kinestream.models.ar_diffusion.loss.diffusion_loss", record)
    two_forward_loss(model, torch.randn(1, 6), latents, mask, 0.0, opening=2, opening_mul=3)
    assert sorted(seen[0][:, 0].tolist()) == [4, 4, 4, 8, 8, 8, 12]


def test_padding_may_hold_anything() -> None:
    model = lively(ARDiffusion(CONFIG))
    text, latents, mask = batch()
    spoiled = latents.clone()
    spoiled[1, 5:] = torch.nan
    spoiled[2, 4:] = 1e9
    for share in (0.0, 1.0):
        losses = [
            two_forward_loss(model, text, z, mask, share, torch.Generator().manual_seed(0)).loss
            for z in (latents, spoiled)
        ]
        torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("estimate", ["denoise", "sample"])
def test_two_forward_replaces_the_asked_share_of_current_inputs(estimate: str) -> None:
    model = lively(ARDiffusion(CONFIG))
    text, latents, mask = torch.randn(20, 6), torch.randn(20, 12, 4), torch.ones(20, 12, dtype=torch.bool)
    for share in (0.0, 0.3, 1.0):
        loss = two_forward_loss(
            model,
            text,
            latents,
            mask,
            share,
            torch.Generator().manual_seed(0),
            estimate=estimate,  # type: ignore[arg-type]
        )
        assert float(loss.replaced) == pytest.approx(share, abs=0.08)
        assert torch.isfinite(loss.loss)


def test_only_the_second_forward_carries_gradient_and_the_target_stays_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything replaced, ground truth reaches the loss as a target only."""
    torch.manual_seed(0)
    model = lively(ARDiffusion(dataclasses.replace(CONFIG, text_drop=0.0)))
    text = torch.randn(2, 6)
    latents = torch.randn(2, 6, 4, requires_grad=True)
    seen: list[Tensor] = []
    given = model.latent_tokens
    monkeypatch.setattr(model, "latent_tokens", lambda ops, z: (seen.append(z), given(ops, z))[1])
    mask = torch.ones(2, 6, dtype=torch.bool)
    two_forward_loss(model, text, latents, mask, 1.0, torch.Generator().manual_seed(0)).loss.backward()
    assert len(seen) == 2
    torch.testing.assert_close(seen[0], latents[:, :-1])
    assert not torch.isclose(seen[1], latents[:, :-1]).all(dim=-1).any()
    assert float(seen[1].detach().abs().max()) <= 5.0


def test_loss_is_repeatable_and_follows_its_generator() -> None:
    model = lively(ARDiffusion(CONFIG))
    text, latents, mask = batch()

    def loss(seed: int) -> Tensor:
        return two_forward_loss(model, text, latents, mask, 0.5, torch.Generator().manual_seed(seed), batch_mul=2).loss

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))


def test_text_is_dropped_to_the_empty_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively(ARDiffusion(dataclasses.replace(CONFIG, text_drop=0.999)))
    model.empty_text.fill_(0.5)
    text = torch.randn(4, 6)
    seen: list[Tensor] = []
    given = model.text_token
    monkeypatch.setattr(model, "text_token", lambda ops, z: (seen.append(z), given(ops, z))[1])
    two_forward_loss(model, text, torch.randn(4, 5, 4), torch.ones(4, 5, dtype=torch.bool), 0.0)
    assert torch.equal(seen[0], torch.full((4, 6), 0.5))


def test_a_fresh_head_predicts_no_noise() -> None:
    """AdaLN-zero: the loss starts at the noise's variance, whatever the condition."""
    model = ARDiffusion(CONFIG)
    loss = diffusion_loss(model.head, torch.randn(2000, 16), torch.randn(2000, 4), generator=torch.Generator())
    assert float(loss.loss.detach()) == pytest.approx(1.0, abs=0.05)


def test_learning_a_fixed_latent_lowers_the_loss() -> None:
    torch.manual_seed(0)
    model = ARDiffusion(dataclasses.replace(CONFIG, text_drop=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    text, latents = torch.randn(2, 6), torch.randn(2, 4, 4)
    mask, losses = torch.ones(2, 4, dtype=torch.bool), []
    for step in range(80):
        loss = two_forward_loss(
            model, text, latents, mask, replaced_share(step, 80), torch.Generator().manual_seed(step), batch_mul=8
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_training_runs_in_bfloat16_autocast() -> None:
    model = lively(ARDiffusion(CONFIG))
    text, latents, mask = batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = two_forward_loss(model, text, latents, mask, 0.5, torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_wrong_masks_are_refused() -> None:
    model = ARDiffusion(CONFIG)
    text, latents, mask = batch()
    for wrong in (mask.float(), mask[:, :-1], torch.zeros_like(mask)):
        with pytest.raises(BadInputError, match="loss_mask"):
            two_forward_loss(model, text, latents, wrong, 0.0)
    with pytest.raises(BadInputError, match="estimate"):
        two_forward_loss(model, text, latents, mask, 0.5, estimate="guess")  # type: ignore[arg-type]


# ---- configuration


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_dim": 10, "num_heads": 4},
        {"text_drop": 1.0},
        {"diffusion_steps": 1},
        {"num_layers": 0},
        {"text_scale": 0.0},
        {"num_layers": True},
        {"text_scale": "1"},
    ],
)
def test_config_refuses_wrong_values(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        ARDiffusionConfig(**wrong)  # type: ignore[arg-type]


def test_config_survives_json() -> None:
    config = ARDiffusionConfig.default()
    assert ARDiffusionConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_published_inner_width_follows_from_the_hidden_width() -> None:
    assert ARDiffusionConfig.paper().mlp_dim == 2048
    assert ARDiffusionConfig.default().mlp_dim == 768


def test_the_attention_scale_is_trained_only_where_asked() -> None:
    for learn in (False, True):
        model = ARDiffusion(dataclasses.replace(CONFIG, learn_attention_scale=learn))
        scales = [p for name, p in model.named_parameters() if name.endswith("attention.scale")]
        assert [scale.requires_grad for scale in scales] == [learn, learn]
