"""Networks in slots of a device's memory give the modules' numbers, alone and in padded batches, whoever shares a slot.

What only a CUDA device can show is marked `gpu` and skipped elsewhere.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.errors import BadInputError, KinestreamError
from kinestream.inference import DeviceNetworks, ModuleNetworks
from kinestream.inference.device_slots import SlotPool
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.nn.streaming import state_to_tensors, take_rows
from tests.inference.conftest import small_model

TEXT, LATENT, STEPS, CONTEXT = 12, 4, 8, 9


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def device(model: TextToMotionModel) -> DeviceNetworks:
    return DeviceNetworks(model, "exact", streams=1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_near(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("normalize_qk", [True, False])
@pytest.mark.parametrize("history", [0, 1, 5])
def test_contexts_give_the_modules_conditions(history: int, normalize_qk: bool) -> None:
    model = small_model(normalize_qk=normalize_qk)
    own, device = ModuleNetworks(model), DeviceNetworks(model, "exact", streams=1)
    past = random(3, history, LATENT, seed=9) if history else None
    expected, state = own.prefill(random(3, TEXT), past)
    _, slots = device.prefill(random(3, TEXT), past)
    assert_near(device.conditions(slots), expected)
    for number in range(CONTEXT - history):
        latents = random(3, 1, LATENT, seed=number)
        expected, state = own.step(latents, state)
        _, slots = device.step(latents, slots)
        assert_near(device.conditions(slots), expected)
    with pytest.raises(BadInputError, match="context is full"):
        device.step(latents, slots)


def test_contexts_of_any_length_start_and_step_together(model: TextToMotionModel, device: DeviceNetworks) -> None:
    own = ModuleNetworks(model)
    lengths = [0, 3, 1, 8]
    texts = [random(2 if row % 2 else 1, TEXT, seed=row) for row in range(4)]
    histories = [random(len(t), k, LATENT, seed=k) if k else None for t, k in zip(texts, lengths, strict=True)]
    alone = own.prefill_each(texts, histories)
    started = device.prefill_each(texts, histories)
    for (expected, _), (_, state) in zip(alone, started, strict=True):
        assert_near(device.conditions(state), expected)
    latents = random(6, 1, LATENT, seed=5)
    _, joined = device.step(latents, device.join([state for _, state in started]))
    expected, _ = own.step(latents, own.join([state for _, state in alone]))
    assert_near(device.conditions(joined), expected)
    _, both = device.step(latents[:2], device.take(joined, [3, 0]))
    expected, _ = own.step(latents[:2], own.take(own.step(latents, own.join([s for _, s in alone]))[1], [3, 0]))
    assert_near(device.conditions(both), expected)


def test_an_older_context_goes_on_without_touching_the_newer_one(
    model: TextToMotionModel, device: DeviceNetworks
) -> None:
    own = ModuleNetworks(model)
    _, old = device.prefill(random(2, TEXT), None)
    _, start = own.prefill(random(2, TEXT), None)
    ways = [[1, 2, 3], [4, 5, 6]]
    states, expected = [old, old], [start, start]
    for turn in range(3):
        for way in range(2):
            latents = random(2, 1, LATENT, seed=ways[way][turn])
            _, states[way] = device.step(latents, states[way])
            conditions, expected[way] = own.step(latents, expected[way])
            assert_near(device.conditions(states[way]), conditions)
    # Twins in one batch, from one state.
    latents = random(4, 1, LATENT, seed=7)
    _, twins = device.step(latents, device.join([states[0], states[0]]))
    conditions, _ = own.step(latents, own.join([expected[0], expected[0]]))
    assert_near(device.conditions(twins), conditions)


@pytest.mark.parametrize("steps", [STEPS, 3])
@pytest.mark.parametrize("guided", [True, False])
def test_a_draw_gives_the_modules_latents_and_frames(
    model: TextToMotionModel, device: DeviceNetworks, guided: bool, steps: int
) -> None:
    own = ModuleNetworks(model)
    rows, copies = 3, 2 if guided else 1
    contexts, conditions = [], []
    for row in range(rows):
        text, history = random(copies, TEXT, seed=row), random(copies, 1 + row, LATENT, seed=row)
        contexts.append(device.prefill(text, history)[1])
        conditions.append(own.prefill(text, history)[0])
    columns = torch.stack(conditions, dim=1)
    scale = torch.tensor([1.5, 2.0, 3.0])
    decoders: Sequence = [None] * rows
    state = model.tae.decoder.init_state(rows)
    for number in range(3):
        noise = random(steps + 1, rows, LATENT, seed=number)
        chain = SamplingNoise(noise[0], noise[1:])
        expected = own.sample(columns[0], columns[1] if guided else None, scale, chain, steps)
        frames, state = own.decode(model.ar.denormalize_latents(expected)[:, None], state)
        drawn, got, decoders = device.draw(contexts, scale if guided else None, noise, decoders)
        assert_near(drawn, expected)
        assert_near(got, frames)
        sampled = device.sample(
            device.join([context[[0]] for context in contexts]),
            device.join([context[[1]] for context in contexts]) if guided else None,
            scale,
            chain,
            steps,
        )
        assert_near(sampled, expected)
    for row, decoder in enumerate(decoders):
        own_state = state_to_tensors(take_rows(state, [row]))
        for name, values in state_to_tensors(decoder).items():
            assert_near(values, own_state[name])


def test_what_is_drawn_can_be_thrown_away(model: TextToMotionModel, device: DeviceNetworks) -> None:
    _, context = device.prefill(random(1, TEXT), None)
    noise = random(STEPS + 1, 1, LATENT)
    _, _, decoders = device.draw([context], None, noise, [None])
    first = device.draw([context], None, noise + 1, decoders)
    device.draw([context], None, noise + 2, decoders)
    again = device.draw([context], None, noise + 1, decoders)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_decoders_go_on_from_states_in_main_memory(model: TextToMotionModel, device: DeviceNetworks) -> None:
    own = ModuleNetworks(model)
    state = model.tae.decoder.init_state(1)
    kept = None
    for number in range(6):
        latents = random(1, 1, LATENT, seed=number)
        # Every other step goes on from the other's state.
        frames, kept = device.decode(latents, state if number % 2 or kept is None else kept)
        expected, state = own.decode(latents, state)
        assert_near(frames, expected)


def test_numbers_in_a_batch_of_one_size_do_not_depend_on_the_neighbours(device: DeviceNetworks) -> None:
    def run(seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        texts = [random(2, TEXT, seed=seed) for seed in seeds]
        states = [state for _, state in device.prefill_each(texts, [random(2, 3, LATENT, seed=s) for s in seeds])]
        latents = torch.cat([random(2, 1, LATENT, seed=seed) for seed in seeds])
        _, joined = device.step(latents, device.join(states))
        contexts = [device.take(joined, [2 * row, 2 * row + 1]) for row in range(len(seeds))]
        noise = torch.stack([random(STEPS + 1, LATENT, seed=seed) for seed in seeds], dim=1)
        drawn, frames, _ = device.draw(contexts, torch.full((len(seeds),), 2.0), noise, [None] * len(seeds))
        return drawn[1], frames[1]

    for got, expected in zip(run([4, 1, 9]), run([7, 1, 8, 3]), strict=True):
        assert torch.equal(got, expected)


def test_slots_are_given_back_and_doubled(model: TextToMotionModel, device: DeviceNetworks) -> None:
    _, first = device.prefill(random(2, TEXT), None)
    before = device.conditions(first)
    assert device.contexts_in_use == 2
    crowd = [device.prefill(random(2, TEXT, seed=seed), None)[1] for seed in range(9)]
    assert device.contexts_in_use == 20
    assert torch.equal(device.conditions(first), before)
    del crowd
    gc.collect()
    assert device.contexts_in_use == 2


def test_a_device_without_memory_for_more_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SlotPool([torch.zeros(4, 3)])
    kept = pool.take(2)

    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "zeros_like", full)
    with pytest.raises(KinestreamError, match="memory for 2 contexts"):
        pool.take(1)
    assert [slot.index for slot in kept] == [2, 3]
