"""Streams on networks in a device's slots are those of exact mode, whoever joins, leaves, goes back or branches."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from kinestream.inference import DeviceNetworks
from kinestream.inference.networks import Mode
from kinestream.streaming import Engine, Scheduler, Session, SessionOptions
from kinestream.streaming.text import engine as engine_module
from kinestream.streaming.text import networks as networks_module
from kinestream.streaming.text.step import StreamStep
from tests.streaming.conftest import LATENT_DIM, HashEncoder, tiny_model
from tests.streaming.text.test_random_streams import perform
from tests.support.devices import PLACES, on, prepared

MakeEngine = Callable[..., Engine]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the networks run."""
    return prepared(request.param, monkeypatch)


@pytest.fixture
def device_engine(place: str) -> MakeEngine:
    """As `make_engine`, on slots."""

    def build(stop_threshold: float = 0.0, end_latent: Tensor | None = None) -> Engine:
        model = on(tiny_model(stop_threshold, end_latent), place)
        return Engine(model, HashEncoder(), networks=DeviceNetworks(model, "exact", streams=1))

    return build


def in_use(engine: Engine) -> int:
    assert isinstance(engine.networks, DeviceNetworks)
    return engine.networks.contexts_in_use


def act(session: Session, latents: int = 30) -> Tensor:
    """Several contexts and two prompts; the features of all frames."""
    frames = []
    for index in range(latents):
        if index % 15 == 0:
            session.prompt(f"prompt {index}")
        frames.append(session.step().features)
    return torch.cat(frames)


def assert_near(got: Tensor, expected: Tensor) -> None:
    # Features are metres; a stream's rounding is fed back to it, latent by latent. A GPU adds up in another
    # order, and its convolutions, with which a body comes to rest, round to TF32.
    tolerance = 5e-3 if torch.cuda.is_available() else 1e-5
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def test_a_stream_alone_is_that_of_exact_mode(make_engine: MakeEngine, device_engine: MakeEngine) -> None:
    assert_near(act(device_engine().session(3)), act(make_engine().session(3)))


def test_streams_that_join_leave_rewind_and_branch_are_those_of_exact_mode(
    make_engine: MakeEngine, device_engine: MakeEngine
) -> None:
    def play(engine: Engine) -> list[Tensor]:
        options = [SessionOptions(guidance=g, sampling_steps=s) for g, s in ((4.0, None), (1.0, None), (2.0, 3))]
        sessions = [engine.session(seed, options[seed % 3]) for seed in range(5)]
        frames: list[Tensor] = []
        for index in range(28):
            live = sessions[: 2 + index // 6]
            if index % 7 == 0:
                live[-1].prompt(f"prompt {index}")
            if index == 12:
                sessions.insert(0, live[0].branch(seed=77))
            if index == 20:
                live[1].rewind(4 * (live[1].index - 9))
            frames += [result.features for result in engine.step(live) if result is not None]
        return frames

    for got, expected in zip(play(device_engine()), play(make_engine()), strict=True):
        assert_near(got, expected)


@pytest.mark.parametrize("number", range(3))
def test_any_script_gives_the_stream_of_exact_mode(
    make_engine: MakeEngine, device_engine: MakeEngine, number: int
) -> None:
    _, expected = perform(make_engine(0.6), number)
    _, got = perform(device_engine(0.6), number)
    assert_near(got, expected)


def test_a_step_that_fails_moves_nobody(
    make_engine: MakeEngine, device_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, whole = device_engine(), make_engine().session(3)
    session, neighbour = engine.session(3), engine.session(4)
    whole.prompt("walks")
    for stream in (session, neighbour):
        stream.prompt("walks")
        stream.step()
    expected = [whole.step().features for _ in range(4)][1:]
    with monkeypatch.context() as broken:
        broken.setattr(engine_module.Engine, "_accepts", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.step([session, neighbour])
    got = [engine.step([neighbour, session])[1] for _ in range(3)]
    for result, features in zip(got, expected, strict=True):
        assert result is not None
        assert_near(result.features, features)


def test_redraws_ends_and_rests_are_those_of_exact_mode(make_engine: MakeEngine, device_engine: MakeEngine) -> None:
    session = make_engine().session(1)
    session.prompt("walks")
    latent = [session.step().tokens for _ in range(9)][-1]  # the first stream below makes it again, and ends there

    def play(engine: Engine) -> list[tuple[str, Tensor]]:
        one, two = engine.session(1), engine.session(2)
        for stream in (one, two):
            stream.prompt("walks")
            stream.queue("waves", seconds=0.6)
        results = [result for _ in range(24) for result in engine.step([one, two]) if result is not None]
        return [(result.kind, result.features) for result in results]

    threshold = 0.004
    expected = play(make_engine(threshold, latent))
    got = play(device_engine(threshold, latent))
    assert [kind for kind, _ in got] == [kind for kind, _ in expected]
    assert {kind for kind, _ in got} == {"text", "hold"}
    for (_, features), (_, same) in zip(got, expected, strict=True):
        assert_near(features, same)


def test_a_candidate_that_is_not_taken_leaves_no_trace(
    make_engine: MakeEngine, device_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    accepts = engine_module.Engine._accepts

    def second_thoughts(self: Engine, stream: StreamStep) -> bool:
        calls.append(stream)
        if stream.attempt == 0:
            stream.attempt += 1
            return False
        return accepts(self, stream)

    monkeypatch.setattr(engine_module.Engine, "_accepts", second_thoughts)
    assert_near(act(device_engine().session(3), 6), act(make_engine().session(3), 6))
    assert len(calls) == 24


def test_a_rewound_stream_repeats_itself_bit_for_bit(device_engine: MakeEngine) -> None:
    session = device_engine().session(5)
    before = act(session)
    twin = session.branch(frame=80, seed=9)
    for _ in range(8):
        twin.step()
    session.rewind(80)
    assert torch.equal(torch.cat([session.step().features for _ in range(10)]), before[80:])


def test_a_stream_is_saved_and_goes_on_in_any_mode(
    make_engine: MakeEngine, device_engine: MakeEngine, tmp_path: Path
) -> None:
    engine, exact = device_engine(), make_engine()
    session = engine.session(5)
    act(session, 20)
    session.save(tmp_path / "stream.safetensors")
    expected = session.step().features
    assert_near(Session.restore(tmp_path / "stream.safetensors", exact).step().features, expected)
    assert_near(Session.restore(tmp_path / "stream.safetensors", engine).step().features, expected)


def test_contexts_of_streams_that_are_gone_are_free(make_engine: MakeEngine, device_engine: MakeEngine) -> None:
    engine = device_engine()
    scheduler = Scheduler(engine, max_streams=8)
    streams = []
    for seed in range(6):
        session = engine.session(seed, SessionOptions(guidance=1.0 if seed == 5 else 3.0))
        session.prompt("walks")
        streams.append(scheduler.join(session))
    for _ in range(4):
        scheduler.step()
        for stream in streams:
            stream.read()
    assert in_use(engine) == 11
    twin = streams[0].session.branch()
    twin.step()
    assert in_use(engine) == 11  # the streams part when the second one goes on
    streams[0].session.step()
    assert in_use(engine) == 13
    for stream in streams[:3]:
        stream.leave()
    del session, streams[:3], twin, stream
    assert in_use(engine) == 5


def test_one_draw_waits_once_and_decodes_with_it(device_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = device_engine()
    sessions = [engine.session(seed) for seed in range(3)]
    for session in sessions:
        session.prompt("walks")
    engine.step(sessions)
    waits: list[int] = []
    monkeypatch.setattr(
        "kinestream.inference.cuda.networks.to_host", lambda values: waits.append(len(values)) or values
    )
    engine.step(sessions)
    assert waits == [3]
    assert all(session.timeline[1].chunk.tokens.shape == (LATENT_DIM,) for session in sessions)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_model_on_a_gpu_runs_there_in_either_mode(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(networks_module, "DeviceNetworks", lambda *arguments: asked.extend(arguments))
    model = SimpleNamespace(ar=SimpleNamespace(latent_mean=torch.zeros(1, device="meta")))
    networks_module.networks_for(model, mode)  # type: ignore[arg-type]
    assert asked == [model, mode]


def test_the_engine_releases_the_devices_weights() -> None:
    model = tiny_model()
    transformer, mean = weakref.ref(model.ar.transformer), model.ar.latent_mean.clone()
    engine = Engine(model, HashEncoder(), networks=DeviceNetworks(model, "exact", precision=torch.bfloat16))
    weights = [weight.clone() for weight in model.tae.encoder.parameters()]
    del model
    gc.collect()
    assert transformer() is None
    assert list(engine.model.ar.parameters()) == []
    assert torch.equal(engine.model.ar.latent_mean, mean)
    kept = zip(engine.model.tae.encoder.parameters(), weights, strict=True)
    assert all(torch.equal(weight, before) for weight, before in kept)
    assert act(engine.session(1), 3).isfinite().all()
