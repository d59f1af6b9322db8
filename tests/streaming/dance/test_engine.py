"""Dances drawn together are those drawn alone, whoever comes, goes, begins a window or fails."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.conditioning.music import music_features
from kinestream.errors import BadInputError, KinestreamError, TooManyStreamsError
from kinestream.inference import Mode
from kinestream.models.choreo_llama import References, SampledWindow, SamplingSettings
from kinestream.models.choreo_llama.window_sampling import sample_windows
from kinestream.streaming import Chunk, Scheduler
from kinestream.streaming.dance import session as dance
from kinestream.streaming.dance.engine import DanceEngine
from kinestream.streaming.dance.options import DanceOptions
from kinestream.streaming.dance.progress import ChunkInProgress
from kinestream.streaming.dance.references import NamedReferences
from kinestream.streaming.dance.session import DanceSession
from tests.io.walking import walking
from tests.support.tiny_dance import RATE_HZ, click_track, tiny_dance_model


@pytest.fixture(scope="module")
def model() -> MusicToDanceModel:
    return tiny_dance_model()


@pytest.fixture(scope="module")
def songs() -> list[Tensor]:
    return [music_features(click_track(6.0, tempo)).values for tempo in (90.0, 120.0, 140.0)]


@pytest.fixture(params=["exact", "fast"])
def engine(request: pytest.FixtureRequest, model: MusicToDanceModel) -> DanceEngine:
    mode: Mode = request.param
    if mode == "fast":
        pytest.importorskip("openvino", reason="needs the extra fast")
    return DanceEngine(model, mode=mode)


def all_of(engine: DanceEngine, session: DanceSession) -> list[Chunk]:
    assert session.engine is engine
    return list(session)


def same(got: list[Chunk], expected: list[Chunk]) -> None:
    assert [chunk.first_frame for chunk in got] == [chunk.first_frame for chunk in expected]
    for mine, alone in zip(got, expected, strict=True):
        assert mine.genre == alone.genre
        assert torch.equal(mine.tokens, alone.tokens)
        assert torch.equal(mine.features, alone.features)
        assert torch.equal(mine.motion.root_position_m, alone.motion.root_position_m)
        assert torch.equal(mine.motion.local_rotations, alone.motion.local_rotations)


class Someone:
    """A dance with all its own settings; alone and in company it hears and is told the same."""

    def __init__(self, number: int, model: MusicToDanceModel, songs: list[Tensor]) -> None:
        self.number, self.song = number, songs[number % len(songs)][: 96 + 7 * number]
        self.references = NamedReferences(model, [walking(50, wave=True)]) if number % 3 == 1 else None
        sampling = SamplingSettings(top_k=5) if number % 4 == 2 else None
        self.options = DanceOptions(piece_s=(None, 0.54, 0.27)[number % 3], sampling=sampling)

    def session(self, engine: DanceEngine) -> DanceSession:
        genre = ("waltz", None)[self.number % 2]
        made = engine.session(genre=genre, seed=self.number, references=self.references, options=self.options)
        made.change_genre("rumba", at_s=1.5)
        return made


def test_dances_that_join_leave_and_begin_windows_at_any_time_are_as_if_alone(
    engine: DanceEngine, model: MusicToDanceModel, songs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some pieces are drawn again, several times: which ones depends on the piece alone.
    monkeypatch.setattr(dance, "_stands_still", lambda features, music: int(features.sum().abs() * 1e3) % 3 == 0)
    people = [Someone(number, model, songs) for number in range(7)]
    dice, live, given = random.Random(4), {}, {person: [] for person in people}  # type: ignore[var-annotated]
    waiting, heard = list(people), dict.fromkeys(people, 0)
    widest = 0
    while waiting or live:
        if waiting and (not live or dice.random() < 0.1):
            person = waiting.pop(0)
            live[person] = person.session(engine)
        for person, session in live.items():
            if heard[person] < len(person.song) and dice.random() < 0.3:
                session.hear_features(person.song[heard[person] : heard[person] + 17])
                heard[person] += 17
                if heard[person] >= len(person.song) and person.number != 2:
                    session.finish()
        asked = [person for person in live if dice.random() < 0.9]
        dice.shuffle(asked)
        widest = max(widest, sum(live[person].progress is not None for person in asked))
        for person, chunk in zip(asked, engine.step([live[person] for person in asked]), strict=True):
            given[person] += [] if chunk is None else [chunk]
        over = [person for person, session in live.items() if not session.ready and heard[person] >= len(person.song)]
        # Number 4 leaves early, in the middle of a piece.
        for person in over + [person for person in live if person.number == 4 and len(given[person]) == 3]:
            live.pop(person, None)
    assert widest >= 4
    for person, chunks in given.items():
        alone = person.session(engine)
        alone.hear_features(person.song)
        if person.number != 2:
            alone.finish()
        expected = all_of(engine, alone)
        assert len(chunks) == 3 if person.number == 4 else chunks[-1].first_frame == expected[-1].first_frame
        same(chunks, expected[: len(chunks)])


def test_a_dance_of_an_engine_is_that_of_a_session_by_itself(
    engine: DanceEngine, model: MusicToDanceModel, songs: list[Tensor]
) -> None:
    mode: Mode = "exact" if engine.model is model else "fast"
    first, second = engine.session(seed=1), engine.session(seed=2)
    got: tuple[list[Chunk], list[Chunk]] = ([], [])
    for session in (first, second):
        session.hear_features(songs[0])
        session.finish()
    while first.ready or second.ready:
        for chunks, chunk in zip(got, engine.step([first, second]), strict=True):
            chunks += [] if chunk is None else [chunk]
    for seed, chunks in zip((1, 2), got, strict=True):
        alone = DanceEngine(model, mode=mode).session(seed)
        alone.hear_features(songs[0])
        alone.finish()
        same(chunks, list(alone))


def test_a_window_that_begins_holds_up_who_draws_by_one_block_a_step_and_comes_on_in_its_turn(
    model: MusicToDanceModel, songs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on: list[int] = []
    real = ChunkInProgress.work_alone
    monkeypatch.setattr(
        ChunkInProgress, "work_alone", lambda self, sampler: (went_on.append(self.order), real(self, sampler))
    )
    engine = DanceEngine(model)
    sessions = [engine.session(seed=seed, options=DanceOptions(piece_s=0.27 * seed)) for seed in (1, 1, 2, 2)]
    for session in sessions:
        session.hear_features(songs[0])
    held_up = 0
    for _ in range(60):
        chunks = [session.progress for session in sessions if session.progress is not None]
        waiting = [chunk.order for chunk in chunks if chunk.waits]
        drawing = [chunk for chunk in chunks if chunk.window is not None]
        went_on.clear()
        engine.step(sessions)
        if drawing:
            held_up += len(went_on)
            assert went_on == sorted(waiting)[:1] or (not waiting and len(went_on) <= 1)
    assert held_up > 20
    assert all(session.num_frames >= 24 for session in sessions)


class Broken:
    """References that are not finite from some piece on."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    def find(self, first_step: int, music: Tensor, genre: str | None) -> References | None:
        self.pieces -= 1
        return References(torch.full((1, 1, len(music), 272), torch.nan if self.pieces < 0 else 0.0))


def test_a_dance_that_fails_raises_and_the_others_lose_nothing(engine: DanceEngine, songs: list[Tensor]) -> None:
    good = [engine.session(seed=seed) for seed in range(2)]
    bad = engine.session(seed=5, references=Broken(2))
    sessions = [good[0], bad, good[1]]
    chunks: dict[DanceSession, list[Chunk]] = {session: [] for session in sessions}
    for session in sessions:
        session.hear_features(songs[1])
        session.finish()
    failures = 0
    while any(session.ready for session in good):
        try:
            made = engine.step(sessions)
        except KinestreamError:
            failures += 1
            with pytest.raises(KinestreamError, match="conditions of a window are not finite"):
                engine.step([bad])
            if failures == 2:
                sessions = good
            continue
        for session, chunk in zip(sessions, made, strict=True):
            chunks[session] += [] if chunk is None else [chunk]
    assert failures == 2
    assert len(chunks[bad]) == 2
    for seed, session in enumerate(good):
        alone = engine.session(seed=seed)
        alone.hear_features(songs[1])
        alone.finish()
        same(chunks[session], all_of(engine, alone))


def test_references_that_raise_something_else_leave_the_others_where_they_are(
    engine: DanceEngine, songs: list[Tensor]
) -> None:
    class Lost:
        def find(self, first_step: int, music: Tensor, genre: str | None) -> References | None:
            raise OSError("the library is gone")

    good, bad = engine.session(), engine.session(references=Lost())
    good.hear_features(songs[0])
    for _ in range(3):
        engine.step([good])
    progress = good.progress
    bad.hear_features(songs[0])
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            engine.step([good, bad])
    assert good.progress is progress
    assert bad.progress is None


def test_logits_that_are_not_finite_fail_one_window_alone(model: MusicToDanceModel) -> None:
    llama, nothing = model.llama, torch.zeros(2, 0, 2, dtype=torch.long)
    with torch.no_grad():
        conditions = llama.conditions(torch.randn(2, 48, 44), torch.tensor([0, 1]))
        expected = llama.extend(conditions, nothing, 4, SamplingSettings(temperature=0.0))
        windows = llama.sampled_windows(conditions, nothing, 4, SamplingSettings(temperature=0.0))
    added = windows[0]._added
    assert added is not None
    added[:, 3] = torch.inf
    sample_windows(llama.sampled_with, windows)
    assert torch.equal(windows[1].codes, expected[1])
    with pytest.raises(KinestreamError, match="logits of a code are not finite"):
        _ = windows[0].codes


def test_a_step_that_is_stopped_half_way_is_made_again(
    engine: DanceEngine, songs: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = engine.session(seed=3)
    session.hear_features(songs[2])
    session.finish()
    for _ in range(4):
        engine.step([session])
    sample = engine._sampler.sample

    def stopped(windows: Sequence[SampledWindow]) -> None:
        sample(windows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine._sampler, "sample", stopped)
        with pytest.raises(KeyboardInterrupt):
            engine.step([session])
    alone = engine.session(seed=3)
    alone.hear_features(songs[2])
    alone.finish()
    same(all_of(engine, session), all_of(engine, alone))


def test_caches_are_as_many_as_windows_that_are_sampled_and_are_released(
    engine: DanceEngine, songs: list[Tensor]
) -> None:
    slots = engine._sampler._slots
    sessions = [engine.session(seed=seed) for seed in range(5)]
    for session in sessions:
        session.hear_features(songs[0][:96])
    for _ in range(3):
        engine.step(sessions)
    assert len(slots._slots) == 5 <= slots._room <= 8
    while any(session.ready for session in sessions):
        engine.step(sessions)
    assert (slots._slots, slots._room) == ([], 0)
    # Who is gone in the middle of a window leaves its slot to others.
    sessions[0].hear_features(songs[0])
    engine.step(sessions)
    engine.step(sessions)
    assert len(slots._slots) == 1
    del session, sessions
    gc.collect()
    other = engine.session()
    other.hear_features(songs[0])
    all_of(engine, other)
    assert (slots._slots, slots._room) == ([], 0)


def test_dances_take_places_in_a_scheduler_as_streams_do(engine: DanceEngine, songs: list[Tensor]) -> None:
    scheduler = Scheduler(engine, max_streams=3, batch=2, max_unread=2)
    sessions = [engine.session(seed=seed) for seed in range(3)]
    bad = engine.session(references=Broken(1))
    failing, *streams = [scheduler.join(session) for session in (bad, *sessions[:2])]
    with pytest.raises(TooManyStreamsError, match="All 3 places"):
        scheduler.join(sessions[2])
    assert scheduler.step() == []
    assert streams[0].state == "ended"
    for session in (bad, *sessions):
        session.hear_features(songs[1])
    waited = dict.fromkeys(streams, 0)
    while failing.state != "failed":
        moved = scheduler.step()
        assert moved
        waited = {stream: 0 if stream in moved else count + 1 for stream, count in waited.items()}
        assert max(waited.values()) <= 1
    streams.append(scheduler.join(sessions[2]))
    assert failing.read() is not None
    with pytest.raises(KinestreamError, match="not finite"):
        failing.read()
    while scheduler.step():
        pass
    # Nobody reads: everybody is as far ahead as may be, and waits.
    assert [(stream.state, stream.unread) for stream in streams] == [("paused", 2)] * 3
    given: dict[int, list[Chunk]] = {seed: [] for seed in range(3)}
    while any(stream.unread for stream in streams) or scheduler.step():
        for seed, stream in enumerate(streams):
            while (chunk := stream.read()) is not None:
                given[seed].append(chunk)
    assert [stream.state for stream in streams] == ["ended"] * 3
    for seed, chunks in given.items():
        alone = engine.session(seed=seed)
        alone.hear_features(songs[1])
        same(chunks, all_of(engine, alone))


def test_sound_may_come_from_other_threads_while_others_dance(model: MusicToDanceModel) -> None:
    engine, sound = DanceEngine(model), click_track(3.0).samples
    sessions = [engine.session(seed=seed) for seed in range(3)]
    scheduler = Scheduler(engine, max_streams=2, max_queued=1, max_unread=1)
    found: list[list[Chunk]] = [[], [], []]

    def play(session: DanceSession, mine: list[Chunk]) -> None:
        stream = scheduler.join(session)
        for first in range(0, len(sound), 9_000):
            session.hear(sound[first : first + 9_000], RATE_HZ)
        session.finish()
        while sum(len(chunk.features) for chunk in mine) < 90:
            chunk = stream.read()
            mine += [chunk] if chunk is not None else []
            time.sleep(0.001)
        stream.leave()

    players = [threading.Thread(target=play, args=each) for each in zip(sessions, found, strict=True)]
    for thread in players:
        thread.start()
    while any(thread.is_alive() for thread in players):
        scheduler.step() or time.sleep(0.001)
    for seed, chunks in enumerate(found):
        alone = DanceEngine(model).session(seed)
        alone.hear(sound, RATE_HZ)
        alone.finish()
        same(chunks, list(alone))


def test_music_that_nobody_dances_to_is_not_kept_without_bound(
    model: MusicToDanceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = DanceEngine(model).session()
    monkeypatch.setattr(dance, "MAX_WAITING_S", 1)
    session.hear_features(torch.zeros(40, 44))
    with pytest.raises(BadInputError, match="step the dance before it hears more"):
        session.hear_features(torch.zeros(40, 44))


def test_a_session_has_one_place_on_its_own_engine(model: MusicToDanceModel) -> None:
    engine = DanceEngine(model)
    session = engine.session()
    with pytest.raises(BadInputError, match="listed twice"):
        engine.step([session, session])
    with pytest.raises(BadInputError, match="another"):
        engine.step([DanceEngine(model).session()])
    assert engine.step([]) == []
    assert engine.step([session]) == [None]
