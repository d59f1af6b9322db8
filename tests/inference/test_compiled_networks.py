"""Compiled networks give the numbers of the networks they were compiled from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.inference import CompiledNetworks, ModuleNetworks, Networks
from kinestream.inference.compiled.head import HeadPrograms
from kinestream.inference.graph import Runtime
from kinestream.models.ar_diffusion.head import draw_sampling_noise
from kinestream.nn.diffusion import solver_steps
from tests.inference.conftest import small_model


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def compiled(model: TextToMotionModel, runtime: Runtime) -> CompiledNetworks:
    """Full precision, so that only rounding differs."""
    return CompiledNetworks(model, "exact", runtime)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_near(got: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) <= relative * float(expected.abs().max())


def assert_equal_streams(
    model: TextToMotionModel, compiled: Networks, history: Tensor | None, tolerance: float
) -> None:
    own = ModuleNetworks(model)
    text = random(2, 12)
    expected, state = own.prefill(text, history)
    got, compiled_state = compiled.prefill(text, history)
    assert_near(got, expected, tolerance)
    for number in range(4):
        latents = random(2, 1, 4, seed=number)
        expected, state = own.step(latents, state)
        got, compiled_state = compiled.step(latents, compiled_state)
        assert_near(got, expected, tolerance)


@pytest.mark.parametrize("history", [0, 1, 5])
def test_compiled_context_equals_the_transformer(
    model: TextToMotionModel, compiled: CompiledNetworks, history: int
) -> None:
    assert_equal_streams(model, compiled, random(2, history, 4, seed=9) if history else None, 1e-5)


def test_compiled_attention_without_normalisation_equals_the_transformer(runtime: Runtime) -> None:
    model = small_model(normalize_qk=False)
    assert_equal_streams(model, CompiledNetworks(model, "exact", runtime), random(2, 3, 4, seed=9), 1e-5)


def test_contexts_of_unequal_length_share_a_step(model: TextToMotionModel, compiled: CompiledNetworks) -> None:
    one, two = compiled.prefill(random(2, 12), None)[1], compiled.prefill(random(1, 12), random(1, 3, 4))[1]
    latents = random(3, 1, 4)
    together, state = compiled.step(latents, compiled.join([one, two]))
    assert_near(together[:2], compiled.step(latents[:2], one)[0])
    assert_near(together[2:], compiled.step(latents[2:], two)[0])
    alone = compiled.take(state, [2])
    assert [context.length for context in alone] == [5]
    assert_near(compiled.step(latents[:1], alone)[0], compiled.step(latents[:1], compiled.step(latents[2:], two)[1])[0])


def test_a_branch_does_not_write_over_the_context_it_left(compiled: CompiledNetworks) -> None:
    trunk = compiled.prefill(random(1, 12), random(1, 2, 4))[1]
    first = [random(1, 1, 4, seed=number) for number in range(3)]
    expected, state = [], trunk
    for latents in first:
        condition, state = compiled.step(latents, state)
        expected.append(condition)
    other = compiled.step(random(1, 1, 4, seed=99), trunk)[1]
    compiled.step(random(1, 1, 4, seed=98), other)
    again = trunk
    for latents, condition in zip(first, expected, strict=True):
        got, again = compiled.step(latents, again)
        torch.testing.assert_close(got, condition, rtol=0, atol=0)
    torch.testing.assert_close(compiled.step(first[0], state)[0], compiled.step(first[0], again)[0], rtol=0, atol=0)


def test_compiled_decoder_equals_the_decoder_and_shares_its_states(
    model: TextToMotionModel, compiled: CompiledNetworks
) -> None:
    own = ModuleNetworks(model)
    state = model.tae.decoder.init_state(2)
    compiled_state = state
    for number in range(8):
        latents = random(2, 1, 4, seed=number)
        # Every other step goes on from the other's state.
        got, compiled_state = compiled.decode(latents, compiled_state if number % 2 else state)
        expected, state = own.decode(latents, state)
        assert_near(got, expected)
        for mine, theirs in zip(compiled_state.convs, state.convs, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guided", [True, False])
def test_compiled_head_takes_the_ancestral_chain_to_the_same_latents(
    model: TextToMotionModel, runtime: Runtime, guided: bool
) -> None:
    head = HeadPrograms(model.ar.head, runtime, "float32")
    cond, uncond = random(3, 32), random(3, 32, seed=1) if guided else None
    scale = torch.tensor([1.5, 2.0, 3.0])
    noise = draw_sampling_noise(3, 8, 4, torch.Generator().manual_seed(2))
    expected = model.ar.head.sample(cond, uncond, scale, noise=noise)
    # Order 1 with all of the noise is the chain itself.
    chain = solver_steps(model.ar.head.schedule, range(7, -1, -1), order=1, stochasticity=1.0)
    got = head.sample(cond.numpy(), None if uncond is None else uncond.numpy(), scale.numpy(), noise, chain)
    assert_near(torch.from_numpy(got), expected, 1e-4)


def test_int8_weights_stay_near_the_networks(runtime: Runtime) -> None:
    model = small_model(width=256)
    compiled = CompiledNetworks(model, "fast", runtime)
    assert_equal_streams(model, compiled, random(2, 5, 4), 0.05)
    state = model.tae.decoder.init_state(1)
    frames, _ = compiled.decode(random(1, 1, 4), state)
    expected, _ = ModuleNetworks(model).decode(random(1, 1, 4), state)
    assert 0.0 < float((frames - expected).norm() / expected.norm()) < 0.05
