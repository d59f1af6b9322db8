"""Many streams on one engine: everybody gets a turn, nobody gets ahead of his reader, nobody disturbs the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from kinestream.errors import BadInputError, KinestreamError, TooManyStreamsError
from kinestream.streaming import Chunk, Engine, Scheduler, Session, SessionOptions, Stream

MakeEngine = Callable[..., Engine]
CHEAP = SessionOptions(sampling_steps=2, guidance=1.0, foot_lock=False)


def walker(engine: Engine, seed: int = 0, options: SessionOptions = CHEAP) -> Session:
    session = engine.session(seed, options)
    session.prompt("walks")
    return session


def read_all(stream: Stream) -> list[Chunk]:
    found = []
    while (result := stream.read()) is not None:
        found.append(result)
    return found


def test_streams_join_and_leave_at_any_step_and_are_as_if_alone(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=4, batch=3, max_unread=2)
    given: dict[int, list[Chunk]] = {seed: [] for seed in range(6)}
    streams: dict[int, Stream] = {}
    for count in range(36):
        if count % 5 == 0 and count // 5 < 6:
            seed = count // 5
            streams[seed] = scheduler.join(engine.session(seed, SessionOptions(guidance=1.0 + seed % 2)))
            streams[seed].session.prompt(f"prompt {seed}", 1.0)
            streams[seed].session.queue("waves")
        if count in (14, 19, 24):
            streams[{14: 0, 19: 2, 24: 1}[count]].leave()
        scheduler.step()
        for seed, stream in streams.items():
            given[seed] += read_all(stream)
    assert all(given.values())
    for seed, results in given.items():
        alone = engine.session(seed, SessionOptions(guidance=1.0 + seed % 2))
        alone.prompt(f"prompt {seed}", 1.0)
        alone.queue("waves")
        for result in results:
            expected = alone.step()
            assert (result.index, result.prompt) == (expected.index, expected.prompt)
            torch.testing.assert_close(result.features, expected.features, atol=1e-3, rtol=1e-3)


def test_everybody_gets_the_same_share_when_not_all_fit_into_a_step(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=7, batch=3)
    streams = [scheduler.join(walker(engine, seed)) for seed in range(7)]
    turns: Counter[Stream] = Counter()
    waited: Counter[Stream] = Counter()
    for _ in range(21):
        moved = scheduler.step()
        assert len(moved) == 3
        for stream in streams:
            waited[stream] = 0 if stream in moved else waited[stream] + 1
            assert waited[stream] <= 2
            turns[stream] += stream in moved
            stream.read()
    assert set(turns.values()) == {9}


def test_a_stream_whose_reader_has_nothing_goes_before_one_that_is_ahead(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=2, batch=1)
    ahead, needy = (scheduler.join(walker(engine, seed)) for seed in range(2))
    for _ in range(4):
        scheduler.step()
    assert (ahead.unread, needy.unread) == (2, 2)
    read_all(needy)
    assert [scheduler.step() for _ in range(3)] == [[needy], [needy], [ahead]]


def test_a_stream_that_is_not_read_is_paused_and_goes_on_where_it_was(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=2, max_unread=3)
    left_alone, other = (scheduler.join(walker(engine, seed)) for seed in range(2))
    for _ in range(10):
        scheduler.step()
        other.read()
    assert (left_alone.state, left_alone.unread, left_alone.session.index) == ("paused", 3, 3)
    assert other.session.index == 10
    late = read_all(left_alone)
    assert left_alone.state == "live"
    for _ in range(4):
        scheduler.step()
        late += read_all(left_alone)
    expected = walker(engine, 0)
    for index, result in enumerate(late):
        assert result.index == index
        torch.testing.assert_close(result.features, expected.step().features, atol=1e-3, rtol=1e-3)
    assert len(late) == 7


def test_nothing_moves_when_nobody_reads(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_unread=1)
    stream = scheduler.join(walker(engine))
    assert [scheduler.step(), scheduler.step()] == [[stream], []]


def test_one_stream_too_many_is_refused_and_the_others_go_on(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=2)
    streams = [scheduler.join(walker(engine, seed)) for seed in range(2)]
    scheduler.step()
    with pytest.raises(TooManyStreamsError, match=r"All 2 places for streams are taken\. Come back when") as refused:
        scheduler.join(walker(engine, 9))
    assert (refused.value.places, refused.value.waiting) == (2, 0)
    assert scheduler.step() == streams
    streams[0].leave()
    assert scheduler.join(walker(engine, 9)).state == "live"


def test_streams_wait_for_a_place_in_the_order_in_which_they_came(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=1, max_queued=2)
    first, second, third = (scheduler.join(walker(engine, seed)) for seed in range(3))
    assert [stream.state for stream in (first, second, third)] == ["live", "queued", "queued"]
    with pytest.raises(TooManyStreamsError, match="and 2 wait for one"):
        scheduler.join(walker(engine, 9))
    assert scheduler.step() == [first]
    second.leave()
    first.leave()
    assert [stream.state for stream in (first, second, third)] == ["left", "left", "live"]
    assert scheduler.step() == [third]
    assert len(scheduler) == 1


def test_a_stream_that_fails_is_taken_out_alone(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=3)
    streams = [scheduler.join(walker(engine, seed)) for seed in range(3)]
    scheduler.step()
    broken = streams[1].session
    broken.prompt("walks")
    embedding = broken.control.prompt.embedding
    assert embedding is not None
    object.__setattr__(broken.control.prompt, "embedding", embedding * float("nan"))
    assert scheduler.step() == [streams[0], streams[2]]
    assert [stream.session.index for stream in streams] == [2, 1, 2]
    assert streams[1].state == "failed"
    assert streams[1].read() is not None
    with pytest.raises(KinestreamError, match="not finite"):
        streams[1].read()
    assert scheduler.step() == [streams[0], streams[2]]


def test_a_stream_that_has_ended_goes_on_with_the_next_prompt(engine: Engine) -> None:
    scheduler = Scheduler(engine)
    session = engine.session(options=SessionOptions(when_idle="end", sampling_steps=2))
    stream = scheduler.join(session)
    session.prompt("walks", 0.2)
    assert stream.state == "live"
    while scheduler.step():
        stream.read()
    assert stream.state == "ended"
    session.prompt("waves", 0.2)
    assert scheduler.step() == [stream]


def test_frames_that_were_made_can_be_read_after_leaving_and_the_session_can_come_back(engine: Engine) -> None:
    scheduler = Scheduler(engine)
    stream = scheduler.join(walker(engine))
    scheduler.step()
    stream.leave()
    stream.leave()
    assert stream.state == "left"
    assert [result.index for result in read_all(stream)] == [0]
    again = scheduler.join(stream.session)
    scheduler.step()
    assert [result.index for result in read_all(again)] == [1]


def test_readers_and_speakers_may_be_other_threads(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_streams=3, max_unread=2)
    stop = threading.Event()

    def drive() -> None:
        while not stop.is_set():
            scheduler.step() or stop.wait(0.001)

    def listen(seed: int, found: list[int]) -> None:
        stream = scheduler.join(walker(engine, seed))
        while len(found) < 12:
            result = stream.read()
            if result is None:
                stop.wait(0.001)
                continue
            found.append(result.index)
            if result.index == 5:
                stream.session.prompt("waves")
        stream.leave()

    heard: list[list[int]] = [[] for _ in range(3)]
    driver = threading.Thread(target=drive)
    listeners = [threading.Thread(target=listen, args=(seed, found)) for seed, found in enumerate(heard)]
    for thread in (driver, *listeners):
        thread.start()
    for thread in listeners:
        thread.join(timeout=60)
    stop.set()
    driver.join(timeout=60)
    assert heard == [list(range(12))] * 3
    assert len(scheduler) == 0


@pytest.mark.parametrize("wrong", [{"max_streams": 0}, {"batch": 0}, {"max_unread": 0}, {"max_queued": -1}])
def test_impossible_numbers_are_refused(engine: Engine, wrong: dict[str, int]) -> None:
    with pytest.raises(BadInputError, match="is a whole number from"):
        Scheduler(engine, **wrong)  # type: ignore[arg-type]


def test_a_session_has_one_place_on_its_own_engine(make_engine: MakeEngine) -> None:
    engine = make_engine()
    scheduler = Scheduler(engine)
    session = walker(engine)
    scheduler.join(session)
    with pytest.raises(BadInputError, match="joined already"):
        scheduler.join(session)
    with pytest.raises(BadInputError, match="another"):
        scheduler.join(make_engine().session())
