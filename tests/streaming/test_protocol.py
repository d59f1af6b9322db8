"""What every kind of stream promises alike: events in, chunks out, one scheduler, going back where it can."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from kinestream.conditioning.music import music_features
from kinestream.errors import BadInputError, KinestreamError
from kinestream.streaming import (
    AudioEvent,
    Chunk,
    ClearQueueEvent,
    DanceEngine,
    DanceOptions,
    Engine,
    Event,
    FinishEvent,
    GenreEvent,
    MusicEvent,
    PromptEvent,
    Scheduler,
    SessionOptions,
    StreamEngine,
    StreamSession,
    event_from_json,
)
from tests.streaming.conftest import HashEncoder, tiny_model
from tests.support.tiny_dance import RATE_HZ, click_track, tiny_dance_model


@dataclass(frozen=True)
class Control(Event):
    """A kind of event that no session knows yet."""

    kind: ClassVar[str] = "control"
    path: str = "s-curve"


@dataclass(frozen=True)
class Kind:
    """A kind of stream: how its engine is made, what is said to it, and how it says that it is doing that."""

    name: str
    engine: Callable[[], StreamEngine[Any]]
    options: Callable[[], Any]
    events: tuple[Event, ...]
    change: Event
    changed: Callable[[Chunk], bool]
    foreign: Event


def text_engine() -> Engine:
    return Engine(tiny_model(), HashEncoder(), mode="fast")


DANCE_MODEL = tiny_dance_model()


def dance_engine() -> DanceEngine:
    return DanceEngine(DANCE_MODEL, mode="fast")


MUSIC = music_features(click_track(6.0)).values
KINDS = (
    Kind(
        "text",
        text_engine,
        lambda: SessionOptions(rewind_s=3.0),
        (PromptEvent("walks", 2.0), PromptEvent("waves", 1.0, queue=True), PromptEvent("bows", 2.0, queue=True)),
        PromptEvent("kicks", at_s=1.5),
        lambda chunk: chunk.prompt == "kicks",
        GenreEvent("waltz"),
    ),
    Kind(
        "dance",
        dance_engine,
        lambda: DanceOptions(rewind_s=3.0),
        (MusicEvent(MUSIC), GenreEvent("rumba")),
        GenreEvent("waltz", at_s=1.5),
        lambda chunk: chunk.genre == "waltz",
        PromptEvent("walks"),
    ),
)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture(scope="module")
def engine(kind: Kind) -> StreamEngine[Any]:
    return kind.engine()


def told(kind: Kind, engine: StreamEngine[Any], seed: int = 0) -> StreamSession:
    session: StreamSession = engine.session(seed, kind.options())
    for event in kind.events:
        session.apply(event)
    return session


def finished(kind: Kind, engine: StreamEngine[Any], seed: int = 0) -> StreamSession:
    session = told(kind, engine, seed)
    session.finish()
    return session


def values(chunk: Chunk) -> tuple[Any, ...]:
    return (chunk.index, chunk.first_frame, chunk.kind, chunk.prompt, chunk.genre, chunk.began, chunk.ended)


def assert_same(got: list[Chunk], expected: list[Chunk]) -> None:
    assert [values(chunk) for chunk in got] == [values(chunk) for chunk in expected]
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.motion.local_rotations, other.motion.local_rotations)
        assert torch.equal(one.motion.root_position_m, other.motion.root_position_m)


# Events.


def every_event() -> Iterator[Event]:
    yield PromptEvent("walks forward", 2.5, queue=True, at_s=3.0)
    yield PromptEvent("waves")
    yield ClearQueueEvent()
    yield GenreEvent("waltz", 2.0)
    yield GenreEvent(None)
    yield FinishEvent()


@pytest.mark.parametrize("event", list(every_event()), ids=lambda event: event.kind)
def test_an_event_comes_back_from_its_json(event: Event) -> None:
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event


def test_sound_has_no_json_form() -> None:
    for event in (AudioEvent(np.zeros(4, np.float32), RATE_HZ), MusicEvent(MUSIC)):
        with pytest.raises(BadInputError, match="no JSON form"):
            event.to_json()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({}, "prompt, clear_queue, genre, finish"),
        ([], "an object whose"),
        ({"kind": "audio", "samples": []}, 'whose "kind" is one of'),
        ({"kind": ["prompt"]}, 'whose "kind" is one of'),
        ({"kind": "prompt"}, "no prompt event"),
        ({"kind": "prompt", "text": "walks", "speed": 2}, "no prompt event"),
        ({"kind": "prompt", "text": 5}, "a sentence; got 5"),
        ({"kind": "prompt", "text": "walks", "seconds": float("nan")}, "duration"),
        ({"kind": "prompt", "text": "walks", "seconds": 4_000}, "at most 3600"),
        ({"kind": "prompt", "text": "walks", "queue": 1}, "True or False"),
        ({"kind": "prompt", "text": "walks", "at_s": -1}, "at_s is a time"),
        ({"kind": "genre", "genre": 3}, "a name or None"),
        ({"kind": "genre", "genre": "waltz", "at_s": "soon"}, "at_s is a time"),
    ],
)
def test_json_that_is_no_event_is_one_clear_error(broken: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        event_from_json(broken)


def test_a_session_refuses_kinds_of_events_that_it_does_not_know(kind: Kind, engine: StreamEngine[Any]) -> None:
    session = told(kind, engine)
    names = ", ".join(event.kind for event in session.takes)
    for event in (Control(), kind.foreign):
        with pytest.raises(BadInputError, match=f"takes the events {names}; got {event.kind}"):
            session.apply(event)
    with pytest.raises(BadInputError, match="got 'walks'"):
        session.apply("walks")  # type: ignore[arg-type]
    assert_same([session.step()], [told(kind, engine).step()])


def test_an_event_for_later_takes_effect_with_the_first_chunk_of_its_time(
    kind: Kind, engine: StreamEngine[Any]
) -> None:
    session = told(kind, engine)
    session.apply(kind.change)
    before: list[Chunk] = []
    while not kind.changed(chunk := session.step()):
        before.append(chunk)
    assert chunk.began == (("prompt",) if kind.name == "text" else ("genre",))
    assert chunk.start_s >= 1.5 > before[-1].start_s
    unchanged = told(kind, engine)
    assert_same(before, [unchanged.step() for _ in before])


def test_after_the_end_of_the_input_a_stream_acts_what_waits_and_takes_no_more(
    kind: Kind, engine: StreamEngine[Any]
) -> None:
    session = finished(kind, engine)
    with pytest.raises(BadInputError, match="is finished"):
        session.apply(kind.events[0])
    with pytest.raises(BadInputError, match="is finished"):
        session.finish()
    assert sum(chunk.num_frames for chunk in session) >= 140
    assert not session.ready
    assert session.advance() is None
    with pytest.raises(KinestreamError, match="has ended"):
        session.step()


# Chunks.


def test_chunks_follow_each_other_without_a_gap(kind: Kind, engine: StreamEngine[Any]) -> None:
    session = finished(kind, engine)
    frames, before = 0, ""
    for number, chunk in enumerate(session):
        assert (chunk.index, chunk.first_frame) == (number, frames)
        assert chunk.start_s == pytest.approx(frames / 30)
        assert len(chunk.features) == chunk.num_frames == chunk.motion.num_frames
        assert chunk.num_frames % engine.frames_per_step == 0 or chunk.ended == ("music",)
        assert bool(chunk.began) == (not number or chunk.prompt != before)
        frames, before = frames + chunk.num_frames, chunk.prompt
        assert session.num_frames == frames


def test_the_same_events_give_the_same_bits_and_another_seed_others(kind: Kind, engine: StreamEngine[Any]) -> None:
    first = list(finished(kind, engine, 3))
    assert_same(list(finished(kind, engine, 3)), first)
    other = list(finished(kind, engine, 4))
    assert not torch.equal(*(torch.cat([chunk.tokens for chunk in chunks]) for chunks in (other, first)))


# Engines and schedulers.


def test_streams_of_a_scheduler_are_the_same_bits_as_alone(kind: Kind, engine: StreamEngine[Any]) -> None:
    scheduler = Scheduler(engine, max_streams=3, batch=2, max_unread=2)
    streams = [scheduler.join(finished(kind, engine, seed)) for seed in range(2)]
    given: dict[int, list[Chunk]] = {}
    for count in range(2_000):
        if count == 5:
            streams.append(scheduler.join(finished(kind, engine, 2)))
        moved = scheduler.step()
        for seed, stream in enumerate(streams):
            while (chunk := stream.read()) is not None:
                given.setdefault(seed, []).append(chunk)
        if not moved:
            break
    assert [stream.state for stream in streams] == ["ended"] * 3
    for seed, chunks in given.items():
        assert_same(chunks, list(finished(kind, engine, seed)))


def test_a_session_steps_once_at_a_time_on_its_own_engine(kind: Kind, engine: StreamEngine[Any]) -> None:
    session = told(kind, engine)
    with pytest.raises(BadInputError, match="listed twice"):
        engine.step([session, session])
    with pytest.raises(BadInputError, match="another engine"):
        kind.engine().step([session])
    assert engine.step([]) == []
    assert isinstance(engine.notes, tuple)
    for seed in (-1, 2**63, True, 1.5):
        with pytest.raises(BadInputError, match="A seed is a whole number"):
            engine.session(seed)  # type: ignore[arg-type]


# Composition.


def test_a_rewound_stream_repeats_itself_bit_for_bit(kind: Kind, engine: StreamEngine[Any]) -> None:
    session = told(kind, engine)
    session.apply(kind.change)
    first = [session.step() for _ in range(3)]
    again = first[1].first_frame
    rest = [session.step() for _ in range(1)]
    assert session.rewind(again - 1) == again == session.num_frames
    assert_same([session.step() for _ in range(3)], [*first[1:], *rest])
    assert session.rewind(session.num_frames) == session.num_frames


def test_a_stream_goes_back_as_far_as_it_remembers(kind: Kind, engine: StreamEngine[Any]) -> None:
    session = told(kind, engine)
    while session.num_frames < 144:
        session.step()
    for frame in (-1, 145, 1.5, True):
        with pytest.raises(BadInputError, match="can't be rewound"):
            session.rewind(frame)  # type: ignore[arg-type]
    oldest = session.earliest_frame
    assert session.rewind(oldest) == oldest


def test_a_branch_goes_its_own_way_and_leaves_the_stream_alone(kind: Kind, engine: StreamEngine[Any]) -> None:
    session, alone = told(kind, engine), told(kind, engine)
    expected = [alone.step() for _ in range(4)]
    made = [session.step() for _ in range(2)]
    same, other, earlier = session.branch(), session.branch(seed=9), session.branch(made[1].first_frame)
    later = [other.step() for _ in range(2)]
    assert_same([same.step() for _ in range(2)], expected[2:])
    assert_same([earlier.step() for _ in range(2)], expected[1:3])
    assert_same(made + [session.step() for _ in range(2)], expected)
    assert later[0].first_frame == expected[2].first_frame
    assert not torch.equal(later[0].tokens, expected[2].tokens)


def test_a_session_is_saved_whole_or_says_that_it_cannot_be(
    kind: Kind, engine: StreamEngine[Any], tmp_path: Path
) -> None:
    session, path = told(kind, engine), tmp_path / "stream.safetensors"
    session.apply(kind.change)
    session.step()
    if kind.name == "dance":
        with pytest.raises(KinestreamError, match="A dance can't be saved"):
            session.save(path)
        with pytest.raises(KinestreamError, match="no saved sessions"):
            type(session).restore(path, engine)
        assert list(tmp_path.iterdir()) == []
        return
    session.save(path)
    restored = type(session).restore(path, engine)
    assert_same([restored.step() for _ in range(20)], [session.step() for _ in range(20)])
    assert_same([restored.branch(8).step()], [session.branch(8).step()])


# What one kind has alone.


def test_a_dance_that_listens_cannot_be_doubled_until_its_sound_is_over() -> None:
    engine, sound = dance_engine(), click_track(5.0).samples
    session, whole = engine.session(), engine.session()
    for each in (session, whole):
        each.hear(sound, RATE_HZ)
    with pytest.raises(KinestreamError, match="while it listens"):
        session.branch()
    first = session.step()
    assert session.rewind(0) == 0
    assert_same([session.step()], [first])
    session.finish()
    whole.finish()
    twin = session.branch(0)
    assert_same(list(twin), list(whole))


def test_sound_has_one_rate_in_all_of_a_dance() -> None:
    session = dance_engine().session()
    with pytest.raises(BadInputError, match="4000 to 384000"):
        session.hear(np.zeros(100, np.float32), 5)
    session.hear(np.zeros(100, np.float32), RATE_HZ)
    with pytest.raises(BadInputError, match="16000 samples a second; got a chunk of 44100"):
        session.hear(np.zeros(100, np.float32), 44_100)


def test_the_last_chunk_of_a_dance_says_that_the_music_is_over() -> None:
    chunks = list(finished(KINDS[1], dance_engine()))
    assert [chunk.ended for chunk in chunks] == [()] * (len(chunks) - 1) + [("music",)]


def test_a_prompt_for_later_keeps_a_stream_that_would_end_alive() -> None:
    session = text_engine().session(options=SessionOptions(when_idle="end"))
    session.prompt("walks", 1.0)
    session.queue("waves", 0.5, at_s=2.0)
    chunks = list(session)
    assert [chunk.prompt for chunk in chunks] == ["walks"] * 8 + [""] * 7 + ["waves"] * 4
    assert {chunk.kind for chunk in chunks[8:15]} == {"hold"}


def test_a_prompt_for_later_is_said_again_where_the_stream_goes_back_behind_it() -> None:
    session = text_engine().session()
    session.prompt("walks")
    session.prompt("waves", at_s=1.0)
    chunks = [session.step() for _ in range(10)]
    assert [chunk.prompt for chunk in chunks] == ["walks"] * 8 + ["waves"] * 2
    for frame in (20, 32):
        session.rewind(frame)
        assert_same([session.step() for _ in range(10 - frame // 4)], chunks[frame // 4 :])
    session.finish()
    session.rewind(20)
    assert not session.closed
    session.prompt("bows")
    assert session.step().prompt == "bows"
