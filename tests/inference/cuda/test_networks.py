"""Networks in slots of a device's memory give the modules' numbers, alone and in padded batches, whoever shares a slot.

The same tests run on a CUDA device, where graphs are captured and replayed (`pytest -m gpu`); there they have not been
run yet.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel, load_text_to_motion
from kinestream.errors import BadInputError, KinestreamError
from kinestream.inference import DeviceNetworks, ModuleNetworks
from kinestream.inference.cuda import graphs as device_graphs
from kinestream.inference.cuda.graphs import to_host
from kinestream.inference.cuda.networks import fastest_precision
from kinestream.inference.cuda.slots import SlotContexts, SlotPool
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.nn.streaming import state_to_tensors, take_rows
from tests.inference.conftest import small_model
from tests.support.devices import CAPTURED, PLACES, on, prepared

TEXT, LATENT, STEPS, CONTEXT = 12, 4, 8, 9


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the networks run."""
    return prepared(request.param, monkeypatch)


@pytest.fixture
def device(model: TextToMotionModel, place: str) -> DeviceNetworks:
    return DeviceNetworks(on(model, place), "exact", streams=1)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_near(got: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert got.shape == expected.shape
    # A device adds up in another order.
    relative *= 1 if got.device.type == "cpu" and not torch.cuda.is_available() else 20
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got.cpu(), expected, rtol=relative, atol=relative * largest)


@pytest.mark.parametrize("normalize_qk", [True, False])
@pytest.mark.parametrize("history", [0, 1, 5])
def test_contexts_give_the_modules_conditions(place: str, history: int, normalize_qk: bool) -> None:
    model = small_model(normalize_qk=normalize_qk)
    own, device = ModuleNetworks(model), DeviceNetworks(on(model, place), "exact", streams=1)
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


@pytest.mark.parametrize("place", CAPTURED, indirect=True)
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


@pytest.mark.parametrize("place", CAPTURED, indirect=True)
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
    assert_equal_draws(model, device, guided, steps)


@pytest.mark.parametrize("place", ["captured"], indirect=True)
def test_a_captured_draw_gives_the_modules_latents_and_frames(model: TextToMotionModel, device: DeviceNetworks) -> None:
    assert_equal_draws(model, device, True, STEPS)


def assert_equal_draws(model: TextToMotionModel, device: DeviceNetworks, guided: bool, steps: int) -> None:
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
        drawn, got, decoders = device.sample_frames(contexts, scale if guided else None, noise, decoders)
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
    _, _, decoders = device.sample_frames([context], None, noise, [None])
    first = device.sample_frames([context], None, noise + 1, decoders)
    device.sample_frames([context], None, noise + 2, decoders)
    again = device.sample_frames([context], None, noise + 1, decoders)
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
        drawn, frames, _ = device.sample_frames(contexts, torch.full((len(seeds),), 2.0), noise, [None] * len(seeds))
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


def test_half_precision_stays_near_float32(place: str) -> None:
    """The packaged model on equal latents: conditions to 1 %, latents to 2 %, frames to 2 % of their size."""
    model = on(load_text_to_motion(), place)
    whole, half = (DeviceNetworks(model, "fast", precision=kind) for kind in (torch.float32, torch.bfloat16))
    config = model.ar.config
    text = random(1, config.text_dim)
    texts = torch.stack([text[0] / text.norm(), model.ar.empty_text.cpu()])
    (_, context), (_, near) = whole.prefill(texts, None), half.prefill(texts, None)
    state = close = None
    for number in range(8):
        assert_share(half.conditions(near), whole.conditions(context), 0.01)
        noise = random(whole.sampling_steps + 1, 1, config.latent_dim, seed=number)
        drawn, frames, (state,) = whole.sample_frames([context], torch.tensor([2.5]), noise, [state])
        others, others_frames, (close,) = half.sample_frames([near], torch.tensor([2.5]), noise, [close])
        assert_share(others, drawn, 0.02)
        assert_share(others_frames, frames, 0.02)
        latents = drawn.expand(2, 1, -1)
        (_, context), (_, near) = whole.step(latents, context), half.step(latents, near)


def assert_share(got: Tensor, expected: Tensor, share: float) -> None:
    assert 0.0 < float((got - expected).norm() / expected.norm()) < share


def test_fast_mode_says_what_the_device_lacks(model: TextToMotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "An old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    precision, notes = fastest_precision(gpu, "fast")
    assert precision == torch.float32
    assert "An old GPU" in notes[0]
    assert fastest_precision(gpu, "exact") == (torch.float32, ())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert fastest_precision(gpu, "fast") == (torch.bfloat16, ())
    assert DeviceNetworks(model, "fast").precision == torch.float32


def test_all_that_streams_need_can_be_made_ready(device: DeviceNetworks) -> None:
    device.warm_up(3)
    assert device.contexts_in_use == 0
    assert len(device._contexts.tensors[0]) == 16  # no more than places for four streams need
    before = [pool.generation for pool in (device._contexts, device._decoders)]
    states = [device.prefill(random(2, TEXT), None)[1] for _ in range(3)]
    device.sample_frames(states, torch.ones(3), random(STEPS + 1, 3, LATENT), [None] * 3)
    assert [pool.generation for pool in (device._contexts, device._decoders)] == before
    assert device.contexts_in_use == 6


@pytest.mark.gpu
def test_a_step_waits_for_the_device_once(model: TextToMotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    device = DeviceNetworks(on(model, prepared("cuda", monkeypatch)), "fast")
    _, context = device.prefill(random(2, TEXT), None)
    waits = []

    def waiting(values: Tensor) -> Tensor:
        waits.append(len(values))
        torch.cuda.set_sync_debug_mode("default")
        host = to_host(values)
        torch.cuda.set_sync_debug_mode("error")
        return host

    def step(number: int, context: SlotContexts, states: Sequence) -> tuple[SlotContexts, Sequence]:
        _, context = device.step(random(2, 1, LATENT, seed=number), context)
        return context, device.sample_frames([context], torch.ones(1), random(STEPS + 1, 1, LATENT), states)[2]

    context, states = step(0, context, [None])  # captures
    monkeypatch.setattr("kinestream.inference.cuda.networks.to_host", waiting)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(3):
            context, states = step(number, context, states)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert waits == [1, 1, 1]


def test_a_device_without_memory_for_more_says_so_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SlotPool([torch.zeros(4, 3), torch.zeros(4, 2)])
    kept = pool.take(2)
    pool.tensors[1][kept[1].index] = 7.0
    new_zeros = Tensor.new_zeros

    def full(tensor: Tensor, *shape: int) -> Tensor:
        if shape[1] == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return new_zeros(tensor, *shape)

    monkeypatch.setattr(Tensor, "new_zeros", full)
    with pytest.raises(KinestreamError, match="memory for 2 contexts"):
        pool.take(1)
    monkeypatch.undo()
    kept += pool.take(3)
    assert sorted(slot.index for slot in kept) == [2, 3, 4, 5, 6]
    assert [len(tensor) for tensor in pool.tensors] == [8, 8]
    assert pool.tensors[1][kept[1].index].tolist() == [7.0, 7.0]


def test_what_cant_be_captured_is_run_as_it_is_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(function: object, inputs: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(device_graphs, "captures", lambda device: True)
    monkeypatch.setattr(device_graphs, "CapturedGraph", refused)
    twice = device_graphs.Replayed(lambda x: 2 * x, torch.device("cpu"))
    with pytest.warns(RuntimeWarning, match=r"not permitted when stream is capturing\)") as said:
        got = [twice(1, None, torch.ones(1)) for _ in range(3)]
    assert len(said) == 1
    assert [float(value) for value in got] == [2.0] * 3


def test_a_device_without_memory_is_not_mistaken_for_one_that_cant_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(function: object, inputs: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(device_graphs, "captures", lambda device: True)
    monkeypatch.setattr(device_graphs, "CapturedGraph", full)
    with pytest.raises(torch.OutOfMemoryError):
        device_graphs.Replayed(lambda x: 2 * x, torch.device("cpu"))(1, None, torch.ones(1))
