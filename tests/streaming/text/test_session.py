"""What a listener can rely on: prompts act at once, queues follow, streams repeat with their seed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch

from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import MOTION272, motion_from_motion272
from kinestream.inference import Mode
from kinestream.streaming import Chunk, Engine, Session, SessionOptions
from tests.streaming.conftest import HashEncoder, tiny_model

MakeEngine = Callable[..., Engine]


def run(session: Session, steps: int) -> list[Chunk]:
    return [session.step() for _ in range(steps)]


def features(results: list[Chunk]) -> torch.Tensor:
    return torch.cat([result.features for result in results])


def test_each_step_gives_four_frames_that_continue_the_motion(engine: Engine) -> None:
    session = engine.session(seed=1, options=SessionOptions(foot_lock=False))
    session.prompt("walks")
    results = run(session, 5)
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert [result.first_frame for result in results] == [0, 4, 8, 12, 16]
    assert all(result.motion.num_frames == 4 for result in results)
    whole = motion_from_motion272(features(results))
    streamed = session.motion()
    torch.testing.assert_close(streamed.local_rotations, whole.local_rotations, atol=1e-5, rtol=1e-5)
    ground = [0, 2]
    torch.testing.assert_close(
        streamed.root_position_m[:, ground], whole.root_position_m[:, ground], atol=1e-5, rtol=1e-5
    )


def test_motion_starts_at_the_origin_facing_forward(engine: Engine) -> None:
    session = engine.session(seed=1)
    session.prompt("walks")
    first = session.step()
    assert first.motion.root_position_m[0, [0, 2]].tolist() == [0.0, 0.0]
    change = MOTION272.take(first.features[0], "heading_change_rot6d")
    assert change.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_no_joint_sinks_more_than_a_centimetre_into_the_floor(engine: Engine) -> None:
    session = engine.session(seed=1)
    session.prompt("walks")
    run(session, 20)
    assert session.motion().joint_positions_m()[..., 1].min() >= -0.0101


def test_a_prompt_acts_from_the_next_latent(engine: Engine) -> None:
    one, other = engine.session(seed=1), engine.session(seed=1)
    for session in (one, other):
        session.prompt("walks")
    same = features(run(one, 6)), features(run(other, 6))
    assert torch.equal(*same)
    other.prompt("jumps")
    changed = other.step()
    assert (changed.prompt, changed.began, changed.ended) == ("jumps", ("prompt",), ())
    assert (one.step().tokens - changed.tokens).abs().max() > 1e-4


def test_same_seed_and_prompts_give_the_same_motion_and_another_seed_another(engine: Engine) -> None:
    def make(seed: int) -> torch.Tensor:
        session = engine.session(seed=seed)
        session.prompt("walks", 1.0)
        first = run(session, 5)
        session.queue("waves")
        return features(first + run(session, 20))

    assert torch.equal(make(5), make(5))
    assert not torch.allclose(make(5), make(6), atol=1e-3)


def test_seconds_count_in_latents_and_the_queue_follows(engine: Engine) -> None:
    session = engine.session(options=SessionOptions(when_idle="end"))
    session.prompt("walks", 1.0)
    session.queue("waves", 0.5)
    results = list(session)
    assert [result.prompt for result in results] == ["walks"] * 8 + ["waves"] * 4
    assert [result.began for result in results].count(("prompt",)) == 2
    assert results[8].ended == ("prompt",)
    assert session.finished
    with pytest.raises(KinestreamError, match="ended"):
        session.step()
    session.queue("bows", 0.5)
    assert session.step().prompt == "bows"


def test_prompt_replaces_the_current_one_and_keeps_the_queue(engine: Engine) -> None:
    session = engine.session()
    session.prompt("walks")
    session.queue("waves")
    session.step()
    session.prompt("jumps", 0.4)
    assert session.queued_prompts == ("waves",)
    assert [result.prompt for result in run(session, 5)] == ["jumps"] * 3 + ["waves"] * 2
    session.queue("bows")
    session.clear_queue()
    assert session.queued_prompts == ()
    assert session.current_prompt == "waves"


def test_a_prompt_ends_by_itself_at_the_end_latent_which_is_dropped(make_engine: MakeEngine) -> None:
    free = make_engine().session(seed=2)
    free.prompt("walks")
    latents = torch.stack([result.tokens for result in run(free, 12)])
    engine = make_engine(stop_threshold=1e-3, end_latent=latents[9])
    session = engine.session(seed=2, options=SessionOptions(when_idle="end"))
    session.queue("walks")
    session.queue("waves", 0.3)
    results = list(session)
    assert [result.prompt for result in results] == ["walks"] * 9 + ["waves"] * 2
    assert results[9].ended == ("prompt",)
    assert torch.equal(torch.stack([result.tokens for result in results[:9]]), latents[:9])


def test_a_prompt_with_a_length_is_acted_again_when_it_ends_early(make_engine: MakeEngine) -> None:
    free = make_engine().session(seed=2)
    free.prompt("walks")
    latents = [result.tokens for result in run(free, 12)]
    engine = make_engine(stop_threshold=1e-3, end_latent=latents[9])
    session = engine.session(seed=2, options=SessionOptions(when_idle="end"))
    session.queue("walks", 2.0)
    results = list(session)
    assert [result.prompt for result in results] == ["walks"] * 15
    assert not any(result.ended for result in results)
    assert session.control.restarted == 9


def test_an_end_in_the_first_half_second_is_drawn_again(make_engine: MakeEngine) -> None:
    free = make_engine().session(seed=2)
    free.prompt("walks")
    first = free.step().tokens
    engine = make_engine(stop_threshold=1e-3, end_latent=first)
    session = engine.session(seed=2)
    session.prompt("walks")
    result = session.step()
    assert result.prompt == "walks"
    assert not torch.equal(result.tokens, first)


def test_a_model_that_only_wants_to_end_still_gives_frames(make_engine: MakeEngine) -> None:
    engine = make_engine(stop_threshold=1e9)
    session = engine.session()
    session.prompt("walks")
    session.queue("waves", 2.0)
    results = run(session, 60)
    assert all(bool(torch.isfinite(result.features).all()) for result in results)
    assert [result.prompt for result in results[:4]] == ["walks"] * 4
    assert [result.prompt for result in results[4:19]] == ["waves"] * 15
    assert results[-1].kind == "hold"


def test_without_prompts_the_body_comes_to_rest_and_stays(engine: Engine) -> None:
    session = engine.session(seed=1)
    session.prompt("walks", 2.0)
    run(session, 15)
    resting = run(session, 60)
    assert {result.kind for result in resting} == {"hold"}
    assert resting[0].ended == ("prompt",)
    assert resting[0].idle
    position = session.motion().root_position_m
    assert (position[-40:] - position[-1]).abs().max() < 1e-4
    settled = resting[-1].motion.local_rotations
    torch.testing.assert_close(settled, resting[-2].motion.local_rotations, atol=1e-4, rtol=0)
    session.queue("waves")
    assert session.step().prompt == "waves"


def test_a_stream_may_begin_without_any_prompt(engine: Engine) -> None:
    session = engine.session()
    results = run(session, 3)
    assert [result.kind for result in results] == ["hold"] * 3
    assert [result.prompt for result in results] == [""] * 3


def test_idle_prompt_of_the_model_or_the_user_is_acted_between_prompts(make_engine: MakeEngine) -> None:
    own = make_engine(idle_prompt="a person stands").session()
    assert own.step().prompt == "a person stands"
    session = make_engine().session(options=SessionOptions(idle_prompt="looks around"))
    session.prompt("walks", 0.5)
    results = run(session, 8)
    assert [(result.prompt, result.kind) for result in results[4:]] == [("looks around", "idle")] * 4
    session.queue("waves")
    assert session.step().prompt == "waves"


def test_guidance_of_one_needs_no_second_row(engine: Engine) -> None:
    session = engine.session(options=SessionOptions(guidance=1.0))
    session.prompt("walks")
    session.step()
    assert session.context is not None
    assert session.context.condition.shape[0] == 1


def test_a_failed_step_leaves_the_session_as_it_was(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session, twin = engine.session(seed=1), engine.session(seed=1)
    for each in (session, twin):
        each.prompt("walks")
        run(each, 3)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine.networks, "decode", fail)
        with pytest.raises(KeyboardInterrupt):
            session.step()
    assert session.index == 3
    assert torch.equal(session.step().features, twin.step().features)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_weights_that_give_nan_are_one_clear_error(mode: Mode) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.ar.out.bias.fill_(float("nan"))
    session = Engine(model, HashEncoder(), mode=mode).session()
    session.prompt("walks")
    with pytest.raises(KinestreamError, match="finite"):
        session.step()


def test_prompts_come_from_other_threads(engine: Engine) -> None:
    session = engine.session()

    def talk() -> None:
        for number in range(20):
            session.queue(f"prompt {number}", 0.2)

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    results = run(session, 10)
    for thread in threads:
        thread.join()
    assert len(results) == 10
    assert len(session.events) == 60


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9, "4", True])
def test_impossible_durations_are_refused(engine: Engine, seconds: float) -> None:
    session = engine.session()
    with pytest.raises(BadInputError, match="seconds"):
        session.prompt("walks", seconds)
    assert session.events == ()


@pytest.mark.parametrize(
    "values",
    [
        {"guidance": 0},
        {"guidance": float("nan")},
        {"sampling_steps": 0},
        {"sampling_steps": 7},
        {"when_idle": "sleep"},
        {"history_latents": 12},
        {"min_prompt_s": 9, "max_prompt_s": 1},
        {"stop_threshold": -1},
        {"rewind_s": 0},
    ],
)
def test_impossible_options_are_refused(engine: Engine, values: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        engine.session(options=SessionOptions(**values))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "7", True])
def test_impossible_seeds_are_refused(engine: Engine, seed: int) -> None:
    with pytest.raises(BadInputError, match="seed"):
        engine.session(seed=seed)
