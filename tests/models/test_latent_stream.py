"""Endless latent generation: equal to the published loop, exact under new prompts and past the end of the context."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion import (
    ARDiffusion,
    ARDiffusionConfig,
    LatentStream,
    SamplingNoise,
    draw_sampling_noise,
    end_distance,
    is_end,
)
from tests.models.released import load_released_ar

CONFIG = ARDiffusionConfig(
    latent_dim=4, text_dim=6, hidden_dim=16, num_layers=2, num_heads=2, context_latents=12, head_width=16,
    head_layers=1, diffusion_steps=4,
)  # fmt: skip


@pytest.fixture
def model() -> ARDiffusion:
    model = ARDiffusion(CONFIG).eval().requires_grad_(False)
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.latent_mean.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0]))
    model.latent_std.copy_(torch.tensor([2.0, 0.5, 1.0, 3.0]))
    model.empty_text.copy_(torch.full((6,), 0.2))
    return model


def noise(seed: int, batch: int = 1) -> SamplingNoise:
    drawn = draw_sampling_noise(batch, 4, 4, torch.Generator().manual_seed(seed))
    return SamplingNoise(0.1 * drawn.initial, 0.1 * drawn.steps)


def without_cache(model: ARDiffusion, text: Tensor, latents: Tensor, seed: int) -> Tensor:
    """The next latent from the whole context at once, in the autoencoder's units."""
    known = model.normalize_latents(latents)
    cond = model.conditions(text, known)[:, -1]
    uncond = model.conditions(model.empty_text[None], known)[:, -1]
    return model.denormalize_latents(model.head.sample(cond, uncond, 4.0, noise=noise(seed)))


def test_published_loop_with_recorded_noise(golden_dir: Path) -> None:
    model, arrays = load_released_ar(golden_dir)
    stream = LatentStream(model)
    state = stream.prompt(arrays["text"][None], stream.init_state(1))
    latents = []
    for initial, steps in zip(arrays["loop_noise_init"], arrays["loop_noise_steps"], strict=True):
        latent, state = stream.step(state, noise=SamplingNoise(initial, steps[:, :1]))
        latents.append(latent[0])
    got, expected = torch.cat(latents), arrays["loop_latents"][0]
    assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    distances = end_distance(got, arrays["reference_end_latent_t2m_272"][0])
    torch.testing.assert_close(distances, arrays["loop_end_distance"], rtol=1e-4, atol=0.0)
    stopped = is_end(got, expected[3], 0.1).nonzero()[0]
    assert torch.equal(stopped, torch.tensor([len(arrays["loop_stopped_latents"][0])]))


def test_a_new_prompt_goes_on_from_the_previous_prompts_latents(model: ARDiffusion) -> None:
    stream = LatentStream(model, min_history=0)
    first, second, third = (torch.full((1, 6), value) for value in (0.5, -0.5, 1.0))
    state = stream.prompt(first, stream.init_state(1))
    made = []
    for seed in range(3):
        latent, state = stream.step(state, noise=noise(seed))
        made.append(latent)
    state = stream.prompt(second, state)
    for seed in range(3, 5):
        expected = without_cache(model, second, torch.cat(made, dim=1), seed)
        latent, state = stream.step(state, noise=noise(seed))
        made.append(latent)
        torch.testing.assert_close(latent[:, 0], expected, rtol=1e-4, atol=1e-5)
    state = stream.prompt(third, state)  # only the second prompt's two latents are history now
    latent, _ = stream.step(state, noise=noise(5))
    torch.testing.assert_close(
        latent[:, 0], without_cache(model, third, torch.cat(made[3:], dim=1), 5), rtol=1e-4, atol=1e-5
    )


def test_an_interrupted_prompt_keeps_some_history(model: ARDiffusion) -> None:
    stream = LatentStream(model, min_history=4)
    text = torch.ones(1, 6)
    state = stream.prompt(text, stream.init_state(1))
    for seed in range(5):
        _, state = stream.step(state, noise=noise(seed))
    state = stream.prompt(-text, state)
    state = stream.prompt(text, state)
    assert state.context_length.tolist() == [4]


def test_a_full_context_goes_on_with_its_newest_half(model: ARDiffusion) -> None:
    stream = LatentStream(model)
    text = torch.ones(1, 6)
    state = stream.prompt(text, stream.init_state(1))
    made: list[Tensor] = []
    context: list[Tensor] = []
    for seed in range(40):
        expected = without_cache(model, text, torch.cat([torch.zeros(1, 0, 4), *context], dim=1), seed)
        latent, state = stream.step(state, noise=noise(seed))
        made.append(latent)
        context.append(latent)
        if len(context) == 12:
            context = context[-6:]
        torch.testing.assert_close(latent[:, 0], expected, rtol=1e-3, atol=1e-4)
    assert len(made) == 40


def test_rows_take_prompts_and_overflow_independently(model: ARDiffusion) -> None:
    stream = LatentStream(model, min_history=2)
    texts = torch.tensor([[1.0], [0.0], [-1.0]]).expand(-1, 6)

    def run(rows: list[int]) -> Tensor:
        state = stream.prompt(texts[rows], stream.init_state(len(rows)))
        out = []
        for seed in range(16):
            switching = torch.tensor([seed == 3 + 4 * row for row in rows])
            if bool(switching.any()):
                state = stream.prompt(-texts[rows] + 0.5, state, switching)
            every = noise(seed, batch=3)
            latent, state = stream.step(
                state, guidance_scale=2.0, noise=SamplingNoise(every.initial[rows], every.steps[:, rows])
            )
            out.append(latent)
        return torch.cat(out, dim=1)

    together = run([0, 1, 2])
    for row in range(3):
        torch.testing.assert_close(together[row], run([row])[0], rtol=1e-3, atol=1e-4)


def test_given_history_conditions_the_first_latent(model: ARDiffusion) -> None:
    stream = LatentStream(model)
    text, history = torch.ones(1, 6), torch.randn(1, 20, 4)
    state = stream.prompt(text, stream.init_state(1), history=history)
    latent, _ = stream.step(state, noise=noise(0))
    expected = without_cache(model, text, history[:, -6:], 0)
    torch.testing.assert_close(latent[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_guidance_may_differ_by_row(model: ARDiffusion) -> None:
    stream = LatentStream(model)
    text = torch.ones(2, 6)
    state = stream.prompt(text, stream.init_state(2))
    same = noise(0)
    both = SamplingNoise(same.initial.expand(2, -1), same.steps.expand(-1, 2, -1))
    latent, _ = stream.step(state, noise=both, guidance_scale=torch.tensor([1.0, 6.0]))
    for row, scale in enumerate((1.0, 6.0)):
        alone, _ = stream.step(state, noise=both, guidance_scale=scale)
        torch.testing.assert_close(latent[row], alone[row])


def test_one_generator_per_row_gives_the_same_noise_in_any_batch() -> None:
    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (5, 6)]

    both = draw_sampling_noise(2, 3, 4, generators())
    alone = draw_sampling_noise(1, 3, 4, generators()[1:])
    assert torch.equal(both.steps[:, 1:], alone.steps)
    assert torch.equal(both.initial[1:], alone.initial)


def test_generate_stops_rows_at_their_end_latent(model: ARDiffusion) -> None:
    stream = LatentStream(model)
    text = torch.randn(3, 6)

    def generate(end: Tensor | None) -> list[Tensor]:
        seeds = [torch.Generator().manual_seed(seed) for seed in range(3)]
        return stream.generate(text, max_latents=8, end_latent=end, stop_threshold=1e-3, generator=seeds)

    free = generate(None)
    assert [len(row) for row in free] == [8, 8, 8]
    stopped = generate(free[1][5])
    assert [len(row) for row in stopped] == [8, 5, 8]
    torch.testing.assert_close(stopped[0], free[0])


def test_step_without_prompt_is_refused(model: ARDiffusion) -> None:
    stream = LatentStream(model)
    with pytest.raises(BadInputError, match="no prompt"):
        stream.step(stream.init_state(1))
