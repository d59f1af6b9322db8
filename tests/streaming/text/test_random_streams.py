"""Whatever is said to a stream in whatever order: frames once given never change, and a script repeats itself."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from kinestream.streaming import Engine, Session, SessionOptions

MakeEngine = Callable[..., Engine]
TEXTS = ("walks", "waves", "bows", "turns around")


def act(session: Session, dice: random.Random) -> Session:
    """One random thing that a listener may do; gives the session to go on with."""
    choice = dice.random()
    if choice < 0.12:
        session.prompt(dice.choice(TEXTS), dice.choice([None, 0.3, 1.0]))
    elif choice < 0.22:
        session.queue(dice.choice(TEXTS), dice.choice([None, 0.3, 1.0]))
    elif choice < 0.25:
        session.clear_queue()
    elif choice < 0.29:
        session.rewind(dice.randint(session.earliest_frame, session.num_frames))
    elif choice < 0.33:
        return session.branch(seed=dice.choice([None, dice.randrange(99)]))
    else:
        session.step()
    return session


def perform(engine: Engine, number: int) -> tuple[Session, torch.Tensor]:
    dice = random.Random(number)
    idle = dice.choice([None, "stands"])
    session = engine.session(seed=number, options=SessionOptions(idle_prompt=idle, min_prompt_s=0.3))
    given: dict[int, torch.Tensor] = {}
    for _ in range(80):
        before = session.index
        session = act(session, dice)
        if session.index < before:
            given = {index: frames for index, frames in given.items() if index < session.index}
        elif session.index > before:
            given[before] = session.timeline[before].chunk.motion.local_rotations.clone()
        assert session.index - session.control.context_start <= 12 + 1 or session.control.prompt.kind == "hold"
    assert sorted(given) == list(range(session.index))
    if given:
        told = torch.cat([given[index] for index in sorted(given)])
        assert torch.equal(session.motion().local_rotations, told)
    else:
        told = torch.zeros(0)
    return session, told


@pytest.mark.parametrize("number", range(6))
def test_any_script_keeps_given_frames_and_repeats_itself(make_engine: MakeEngine, number: int) -> None:
    engine = make_engine(stop_threshold=0.6)
    _, first = perform(engine, number)
    _, second = perform(engine, number)
    assert torch.equal(first, second)


def test_a_log_of_events_is_enough_to_make_the_stream_again(make_engine: MakeEngine) -> None:
    engine = make_engine(stop_threshold=0.6)
    session = engine.session(seed=11)
    dice = random.Random(4)
    for _ in range(60):
        if dice.random() < 0.15:
            session.prompt(dice.choice(TEXTS), dice.choice([None, 0.5]))
        if dice.random() < 0.15:
            session.queue(dice.choice(TEXTS))
        session.step()
    again = engine.session(seed=11)
    events = list(session.events)
    while again.index < session.index:
        while events and events[0].index == again.index:
            event = events.pop(0)
            say = again.prompt if event.action == "prompt" else again.queue
            say(event.text, event.seconds)
        again.step()
    assert not events
    assert torch.equal(again.motion().local_rotations, session.motion().local_rotations)
