"""The engine keeps the streaming contract: chunks equal the whole, batches equal singles, nobody disturbs anybody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.nn.streaming import state_to_tensors
from kinestream.streaming import Engine, Session, SessionOptions
from kinestream.streaming.text.control import Prompt
from tests.streaming.conftest import tiny_model

MakeEngine = Callable[..., Engine]


def test_streamed_frames_equal_the_whole_latent_sequence_decoded_at_once(engine: Engine) -> None:
    session = engine.session(seed=4)
    latents, frames = [], []
    for index in range(45):  # several contexts long, with prompt changes, so any seam would show
        if index % 15 == 0:
            session.prompt(f"prompt {index}")
        result = session.step()
        latents.append(result.tokens)
        frames.append(result.features)
    with torch.no_grad():
        whole = engine.model.statistics.denormalize(engine.model.tae.decode(torch.stack(latents)[None])[0])
    torch.testing.assert_close(torch.cat(frames)[1:], whole[1:], atol=2e-4, rtol=1e-4)


def test_cached_conditions_equal_the_whole_context_computed_at_once(engine: Engine) -> None:
    session = engine.session(seed=4)
    model = tiny_model().ar
    session.prompt("walks")
    for index in range(40):
        if index == 9:
            session.prompt("waves")
        session.step()
        context = session.context
        assert context is not None
        latents = torch.zeros(0, model.config.latent_dim)
        if session.index - 1 > context.start:
            latents = model.normalize_latents(session.timeline.latents(context.start, session.index - 1))
        assert context.prompt.embedding is not None
        texts = torch.stack([context.prompt.embedding, model.empty_text])
        with torch.no_grad():
            whole = model.conditions(texts, latents.expand(2, -1, -1))[:, -1]
        torch.testing.assert_close(context.condition, whole, atol=1e-4, rtol=1e-4)


def test_nothing_is_computed_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = engine.session()
    session.prompt("walks")
    prefilled: list[int] = []
    fed: list[int] = []
    networks = engine.networks
    prefill, step = networks.prefill, networks.step

    def counting_prefill(text: torch.Tensor, history: torch.Tensor | None) -> object:
        prefilled.append(0 if history is None else history.shape[1])
        return prefill(text, history)

    def counting_step(latent: torch.Tensor, state: object) -> object:
        fed.append(latent.shape[0])
        return step(latent, state)

    monkeypatch.setattr(networks, "prefill", counting_prefill)
    monkeypatch.setattr(networks, "step", counting_step)
    for _ in range(12):
        session.step()
    assert prefilled == [0]
    assert len(fed) == 11
    session.prompt("waves")
    session.step()
    assert prefilled == [0, 6]
    assert len(fed) == 11


def guidance_of_draws(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The guidance of every draw that one step of one session takes."""
    seen: list[float] = []
    sample = engine.networks.sample

    def recording(condition: object, blank: object, guidance: torch.Tensor, *rest: object) -> object:
        seen.extend(guidance.tolist())
        return sample(condition, blank, guidance, *rest)

    monkeypatch.setattr(engine.networks, "sample", recording)
    session = engine.session(options=SessionOptions(guidance=5.0))
    session.prompt("walks")
    session.step()
    return seen


def test_latents_beyond_the_usual_are_drawn_again_with_less_guidance(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.model = dataclasses.replace(engine.model, usual_latents=1e-6)
    assert guidance_of_draws(engine, monkeypatch) == [5.0, 3.0, 2.0, 1.5]


def test_usual_latents_are_taken_as_they_are(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.model = dataclasses.replace(engine.model, usual_latents=1e6)
    assert guidance_of_draws(engine, monkeypatch) == [5.0]


def test_a_batch_of_sessions_equals_single_sessions(make_engine: MakeEngine) -> None:
    def sessions(engine: Engine) -> list[Session]:
        made = [engine.session(seed=seed) for seed in range(4)]
        made.append(engine.session(seed=9, options=SessionOptions(guidance=2.0)))
        made.append(engine.session(seed=9, options=SessionOptions(guidance=1.0, sampling_steps=3)))
        for number, session in enumerate(made[:5]):
            session.prompt(f"prompt {number}", 0.5 + 0.5 * number)
            session.queue("walks")
        return made

    engine = make_engine()
    together, alone = sessions(engine), sessions(engine)
    for count in range(20):
        if count == 11:
            together[2].prompt("jumps")
            alone[2].prompt("jumps")
        batched = engine.step(together)
        for session, result in zip(alone, batched, strict=True):
            single = session.step()
            assert result is not None
            assert (single.prompt, single.kind) == (result.prompt, result.kind)
            torch.testing.assert_close(single.features, result.features, atol=1e-3, rtol=1e-3)


def test_sessions_that_do_not_step_are_not_touched(engine: Engine) -> None:
    moving, resting = engine.session(seed=1), engine.session(seed=2)
    for session in (moving, resting):
        session.prompt("walks")
    engine.step([moving, resting])
    assert resting.decoder is not None
    assert resting.context is not None
    before, context = state_to_tensors(resting.decoder), resting.context
    latents = torch.zeros(len(context.condition), 1, engine.model.ar.config.latent_dim)
    following = engine.networks.step(latents, context.state)[0]
    for _ in range(5):
        engine.step([moving])
    after = state_to_tensors(resting.decoder)
    assert resting.index == 1
    assert resting.context is context
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(engine.networks.step(latents, context.state)[0], following)


def test_noise_does_not_depend_on_neighbours(engine: Engine) -> None:
    alone, busy = engine.session(seed=1), engine.session(seed=1)
    others = [engine.session(seed=seed) for seed in range(10, 13)]
    for session in (alone, busy, *others):
        session.prompt("walks")
    for count in range(5):
        (single,) = engine.step([alone])
        batched = engine.step([*others[: count % 4], busy])[-1]
        assert single is not None
        assert batched is not None
        torch.testing.assert_close(single.tokens, batched.tokens, atol=1e-4, rtol=1e-4)


def test_a_session_listed_twice_or_foreign_is_refused(make_engine: MakeEngine) -> None:
    engine = make_engine()
    session = engine.session()
    with pytest.raises(BadInputError, match="twice"):
        engine.step([session, session])
    with pytest.raises(BadInputError, match="another"):
        engine.step([make_engine().session()])


def test_encoder_of_another_width_is_refused() -> None:
    class Wide:
        name = "wide"
        dim = 99

        def encode(self, texts: list[str]) -> torch.Tensor:
            return torch.zeros(len(texts), 99)

        def encode_blank(self) -> torch.Tensor:
            return torch.zeros(99)

    session = Engine(tiny_model(), Wide()).session()
    with pytest.raises(BadInputError, match="99"):
        session.prompt("walks")


def test_blank_embedding_of_an_imported_model_comes_from_its_encoder(engine: Engine) -> None:
    model = tiny_model()
    expected = model.ar.empty_text.clone()
    with torch.no_grad():
        model.ar.empty_text.zero_()
    known = engine.fingerprint
    imported = Engine(dataclasses.replace(model, empty_text_known=False), engine.encoder)
    assert torch.equal(imported.model.ar.empty_text, expected)
    assert imported.fingerprint == known


def test_results_are_ordinary_tensors(engine: Engine) -> None:
    session = engine.session()
    session.prompt("walks")
    result = session.step()
    assert isinstance(session.control.prompt, Prompt)
    for tensor in (result.tokens, result.features, result.motion.local_rotations, result.motion.root_position_m):
        assert not tensor.is_inference()
        assert not tensor.requires_grad
