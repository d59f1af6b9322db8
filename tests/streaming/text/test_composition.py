"""Rewind, branch, change what follows: every earlier frame stays byte for byte what it was."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.streaming import Engine, Session, SessionOptions


def run(session: Session, steps: int) -> Motion:
    for _ in range(steps):
        session.step()
    return session.motion()


def same(one: Motion, other: Motion) -> bool:
    return torch.equal(one.local_rotations, other.local_rotations) and torch.equal(
        one.root_position_m, other.root_position_m
    )


@pytest.fixture
def played(engine: Engine) -> Session:
    """Forty latents: two prompts, one of them said while the other was acted, longer than the context."""
    session = engine.session(seed=3)
    session.prompt("walks")
    run(session, 21)
    session.prompt("waves")
    session.queue("bows")
    run(session, 19)
    return session


@pytest.mark.parametrize("frame", [0, 4, 5, 30, 64, 84, 85, 97, 157, 160])
def test_earlier_frames_are_byte_identical_after_a_change(played: Session, frame: int) -> None:
    before = played.motion()
    start = played.rewind(frame)
    assert frame <= start < frame + 4
    assert played.num_frames == start
    played.prompt("jumps high")
    after = run(played, 12)
    if start:
        assert same(after.slice(0, start), before.slice(0, start))
    if start + 40 <= before.num_frames:
        assert not same(after.slice(start, start + 40), before.slice(start, start + 40))


@pytest.mark.parametrize("frame", [8, 63, 100, 140])
def test_a_rewound_stream_repeats_itself_bit_for_bit(played: Session, frame: int) -> None:
    before = played.motion()
    played.rewind(frame)
    if frame <= 84:
        run(played, 21 - played.index)
        played.prompt("waves")
        played.queue("bows")
    after = run(played, 40 - played.index)
    assert same(before, after)


def test_rewinding_forgets_what_was_said_later(played: Session) -> None:
    assert [event.text for event in played.events] == ["walks", "waves", "bows"]
    played.rewind(84)
    assert [event.text for event in played.events] == ["walks"]
    assert (played.current_prompt, played.queued_prompts) == ("walks", ())
    played.rewind(0)
    assert played.events == ()
    assert played.current_prompt == ""


def test_branches_share_the_past_and_part_from_there(played: Session) -> None:
    before = played.motion()
    branch = played.branch(frame=100)
    other = played.branch(frame=100, seed=8)
    branch.prompt("kicks")
    other.prompt("kicks")
    one, two = run(branch, 10), run(other, 10)
    assert same(one.slice(0, 100), before.slice(0, 100))
    assert same(two.slice(0, 100), before.slice(0, 100))
    assert not same(one, two)
    assert same(played.motion(), before)
    twin = played.branch()
    assert same(run(twin, 5), run(played, 5))


def test_a_branch_may_be_taken_while_the_body_rests(engine: Engine) -> None:
    session = engine.session(seed=3)
    session.prompt("walks", 1.0)
    before = run(session, 30)
    session.rewind(60)
    assert same(run(session, 15), before)


def test_moments_beyond_memory_are_a_clear_error(engine: Engine) -> None:
    session = engine.session(options=SessionOptions(rewind_s=4.0))
    session.prompt("walks", 3_600.0)
    run(session, 200)
    assert session.earliest_frame > 0
    with pytest.raises(BadInputError, match="rewind_s"):
        session.rewind(0)
    with pytest.raises(BadInputError, match="keeps frames"):
        session.motion(0, 8)
    assert session.num_frames - session.earliest_frame >= 4 * 30
    before = session.motion(session.earliest_frame)
    session.rewind(session.earliest_frame)
    first = session.num_frames
    run(session, 200 - session.index)
    assert same(session.motion(first), before)


@pytest.mark.parametrize("frame", [-1, 161, 1.5, True, None, "4"])
def test_impossible_moments_are_refused(played: Session, frame: int) -> None:
    with pytest.raises(BadInputError, match="can't be rewound"):
        played.rewind(frame)
    assert played.num_frames == 160


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (10, 5), (-4, 3), (0, 161)])
def test_frames_that_are_not_there_are_refused(played: Session, start: int, stop: int) -> None:
    with pytest.raises(BadInputError, match="keeps frames 0 to 160"):
        played.motion(start, stop)


def test_frames_can_be_cut_out_anywhere(played: Session) -> None:
    assert same(played.motion(5, 50), played.motion().slice(5, 50))
