"""Streams run for hours: what a session holds stops growing."""

from __future__ import annotations

import gc

import pytest
import torch

from kinestream.streaming import Engine, Session, SessionOptions


def held_tensors() -> int:
    gc.collect()
    return sum(1 for thing in gc.get_objects() if type(thing) is torch.Tensor)


def run(session: Session, steps: int) -> None:
    for count in range(steps):
        if count % 25 == 0:
            session.prompt(f"prompt {count % 100}")
        session.step()


@pytest.mark.slow
def test_thousands_of_latents_hold_no_more_than_the_first_hundreds(engine: Engine) -> None:
    session = engine.session(options=SessionOptions(rewind_s=8.0, sampling_steps=2, guidance=1.0))
    run(session, 300)
    early = held_tensors(), len(session.timeline)
    run(session, 1_700)
    late = held_tensors(), len(session.timeline)
    assert session.index == 2_000
    assert late[1] <= early[1] + 32
    assert late[0] <= early[0] * 1.2 + 500


def test_a_long_rest_stays_the_same_and_bounded(engine: Engine) -> None:
    session = engine.session(options=SessionOptions(rewind_s=2.0))
    session.prompt("walks", 1.0)
    for _ in range(8):
        session.step()
    where = None
    for count in range(300):
        result = session.step()
        if count == 100:
            where = result.motion.root_position_m[-1]
    assert where is not None
    torch.testing.assert_close(result.motion.root_position_m[-1], where, atol=1e-4, rtol=0)
    assert len(session.timeline) < 120
