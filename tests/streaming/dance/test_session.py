"""Dance sessions: sound in chunks of any size, one and the same dance out, in time and with bounded memory."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.checkpoints.retrieval import MusicDanceRetrieval
from kinestream.conditioning.music import LOOK_AHEAD_S, music_features
from kinestream.data.dance.windows import DanceClip, DanceClips
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.io.audio import Audio, read_audio
from kinestream.models.choreo_llama import Piece, SamplingSettings, generate_codes
from kinestream.models.retrieval import RetrievalConfig, RetrievalModel
from kinestream.streaming import Chunk, DanceEngine, generate_dance
from kinestream.streaming.dance import session as dance
from kinestream.streaming.dance.options import DanceOptions
from kinestream.streaming.dance.references import (
    NamedReferences,
    RetrievedReferences,
    build_library,
    save_library,
)
from kinestream.streaming.dance.session import DanceSession
from tests.io.audio_files import write_wav
from tests.io.walking import walking
from tests.support.tiny_dance import LLAMA, RATE_HZ, click_track, noise, tiny_dance_model


@pytest.fixture(scope="module")
def model() -> MusicToDanceModel:
    return tiny_dance_model()


def heard(session: DanceSession, sound: np.ndarray) -> list[Chunk]:
    session.hear(sound, RATE_HZ)
    return list(session)


def rest(session: DanceSession) -> list[Chunk]:
    session.finish()
    return list(session)


def danced(session: DanceSession, sound: np.ndarray, sizes: Sequence[int]) -> list[Chunk]:
    chunks, first, turn = [], 0, 0
    while first < len(sound):
        size = sizes[turn % len(sizes)]
        chunks += heard(session, sound[first : first + size])
        first, turn = first + size, turn + 1
    return chunks + rest(session)


def features(chunks: Sequence[Chunk]) -> Tensor:
    return torch.cat([chunk.features for chunk in chunks])


def roots(chunks: Sequence[Chunk]) -> Tensor:
    return torch.cat([chunk.motion.root_position_m for chunk in chunks])


def test_chunks_of_any_size_give_the_dance_of_the_whole_song_bit_for_bit(model: MusicToDanceModel) -> None:
    song = click_track(9.3)
    whole = generate_dance(song, model, seed=3, genre="waltz")
    assert whole.num_frames == 279
    for sizes in ([160], [7_001, 50, 20_000]):
        chunks = danced(DanceEngine(model).session(seed=3, genre="waltz"), song.samples, sizes)
        assert torch.equal(roots(chunks), whole.root_position_m)
        assert torch.equal(torch.cat([chunk.motion.local_rotations for chunk in chunks]), whole.local_rotations)
        assert [chunk.first_frame for chunk in chunks] == list(range(0, 279, 24))


def test_a_song_of_one_piece_has_the_codes_of_the_model_s_whole_song_form(model: MusicToDanceModel) -> None:
    song, likeliest = click_track(1.3), SamplingSettings(temperature=0.0)
    options = DanceOptions(piece_s=40 / 30, sampling=likeliest)
    (chunk,) = danced(DanceEngine(model).session(genre="waltz", options=options), song.samples, [900])
    music = model.music_statistics.normalize(music_features(song).values)
    assert len(music) == chunk.motion.num_frames == 39
    assert torch.equal(chunk.tokens, generate_codes(model.llama, music[None], torch.tensor([1]), settings=likeliest)[0])


def test_the_features_of_all_pieces_are_those_of_all_codes_decoded_at_once(model: MusicToDanceModel) -> None:
    chunks = danced(DanceEngine(model).session(), click_track(5.0).samples, [RATE_HZ])
    whole = model.decode(torch.cat([chunk.tokens for chunk in chunks])[None])[0]
    torch.testing.assert_close(features(chunks), whole[:150], atol=1e-5, rtol=1e-4)


def test_frames_come_out_within_the_stated_look_ahead(model: MusicToDanceModel) -> None:
    session = DanceEngine(model).session()
    assert session.look_ahead_s == pytest.approx(LOOK_AHEAD_S + 0.8)
    song, block, late = click_track(12.0).samples, 800, []
    for first in range(0, len(song), block):
        heard_s = (first + block) / RATE_HZ
        late += [heard_s - chunk.first_frame / 30.0 for chunk in heard(session, song[first : first + block])]
    assert len(late) >= 10
    assert max(late) <= session.look_ahead_s + block / RATE_HZ


def test_another_seed_song_or_genre_gives_another_dance(model: MusicToDanceModel) -> None:
    song = click_track(4.0)
    plain = generate_dance(song, model).root_position_m
    assert torch.equal(generate_dance(song, model).root_position_m, plain)
    for other in (
        generate_dance(song, model, seed=1),
        generate_dance(noise(4.0), model),
        generate_dance(song, model, genre="Waltz"),
    ):
        assert not torch.equal(other.root_position_m, plain)


def test_the_genre_changes_while_it_dances_at_the_song_s_time_whatever_the_chunks(model: MusicToDanceModel) -> None:
    song = click_track(8.0).samples
    results = []
    for sizes in ([400], [50_000]):
        session = DanceEngine(model).session(genre="rumba")
        session.change_genre("waltz", at_s=2.0)
        session.change_genre(None, at_s=5.0)
        chunks = danced(session, song, sizes)
        results.append(features(chunks))
        assert [chunk.genre for chunk in chunks] == ["rumba"] * 3 + ["waltz"] * 4 + [None] * 3
    assert torch.equal(*results)
    unchanged = features(danced(DanceEngine(model).session(genre="rumba"), song, [50_000]))
    assert torch.equal(results[0][:72], unchanged[:72])
    assert not torch.equal(results[0], unchanged)


def test_a_change_of_genre_now_holds_from_the_next_piece(model: MusicToDanceModel) -> None:
    session, song = DanceEngine(model).session(), click_track(8.0).samples
    before = heard(session, song[: 6 * RATE_HZ])
    session.change_genre("waltz")
    assert session.genre == "waltz"
    after = heard(session, song[6 * RATE_HZ :]) + rest(session)
    assert {chunk.genre for chunk in before} == {None}
    assert {chunk.genre for chunk in after} == {"waltz"}


def test_a_long_dance_holds_no_more_than_a_short_one(model: MusicToDanceModel) -> None:
    """Most numbers in tensors alive around 8 and around 18 seconds; the chunks are not kept."""
    session, song = DanceEngine(model).session(options=DanceOptions(rewind_s=2.0)), click_track(20.0).samples
    held: dict[bool, list[int]] = {False: [], True: []}
    for second in range(20):
        heard(session, song[second * RATE_HZ : (second + 1) * RATE_HZ])
        if second in (7, 8, 9, 17, 18, 19):
            gc.collect()
            held[second > 12].append(sum(thing.numel() for thing in gc.get_objects() if type(thing) is Tensor))
    assert session.num_frames > 450
    assert max(held[True]) <= max(held[False]) * 1.05


def test_feet_do_not_slide_between_pieces_and_the_body_stays_above_the_floor(model: MusicToDanceModel) -> None:
    motion = generate_dance(click_track(6.0), model)
    steps = motion.joint_positions_m().diff(dim=0).norm(dim=-1).amax(dim=1)
    assert float(steps.max()) < 1.0
    assert float(motion.joint_positions_m()[..., 1].min()) > -0.02
    free = generate_dance(click_track(6.0), model, options=DanceOptions(foot_lock=False))
    assert free.num_frames == motion.num_frames
    assert not torch.equal(free.root_position_m, motion.root_position_m)


def test_steps_are_brought_to_the_beats_piece_by_piece(model: MusicToDanceModel) -> None:
    locked, free = (
        generate_dance(click_track(9.0), model, options=DanceOptions(beat_lock=lock, foot_lock=False))
        for lock in (True, False)
    )
    assert locked.num_frames == free.num_frames
    assert not torch.equal(locked.root_position_m, free.root_position_m)
    piece = model.llama.config.window_steps // 2 * model.tokenizer.config.frames_per_step
    for frame in range(0, free.num_frames - piece, piece):  # pieces begin and end where the model put them
        for place in (frame, frame + piece - 1):
            assert torch.allclose(locked.root_position_m[place], free.root_position_m[place], atol=1e-5)
    with pytest.raises(BadInputError, match="beat_lock is True or False"):
        DanceOptions(beat_lock=1)  # type: ignore[arg-type]


def test_a_piece_that_stands_still_to_music_is_drawn_again(
    model: MusicToDanceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = torch.zeros(60, 272)
    standing[:, MOTION272.slices["heading_change_rot6d"]] = torch.tensor([1.0, 0, 0, 0, 1, 0])
    standing[:, MOTION272.slices["rotations_rot6d"]] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(22)
    walked = motion272_from_motion(walking(60))
    clicks = click_track(2.0)
    nothing = dataclasses.replace(clicks, samples=np.zeros_like(clicks.samples))
    loud, silent = (music_features(sound).values for sound in (clicks, nothing))
    assert dance._stands_still(standing, loud)
    assert not dance._stands_still(standing, silent)
    assert not dance._stands_still(walked, loud)

    asked: list[float] = []
    histories: list[bool] = []
    drawn, again = dance.next_piece, Piece.again

    def watched(*arguments: Any, **options: Any) -> Any:
        asked.append(options["settings"].temperature)
        histories.append(arguments[3] is not None)
        return drawn(*arguments, **options)

    def watched_again(piece: Piece, settings: SamplingSettings) -> Piece:
        asked.append(settings.temperature)
        histories.append(bool(piece.known.shape[1]))
        return again(piece, settings)

    monkeypatch.setattr(dance, "next_piece", watched)
    monkeypatch.setattr(Piece, "again", watched_again)
    monkeypatch.setattr(dance, "_stands_still", lambda features, music: True)
    generate_dance(click_track(1.0), model)
    usual = model.sampling.temperature
    assert asked[:5] == [usual, 1.0, 1.3, 1.6, usual]
    assert len(asked) % 5 == 0
    assert histories[-5:-1] == [True] * 4
    assert histories[-1] is False


def test_fast_mode_keeps_the_promises_of_a_dance(model: MusicToDanceModel) -> None:
    pytest.importorskip("openvino", reason="needs the extra fast")
    song = click_track(5.0)
    whole = generate_dance(song, model, seed=3, mode="fast")
    assert torch.equal(generate_dance(song, model, seed=3, mode="fast").root_position_m, whole.root_position_m)
    chunks = danced(DanceEngine(model, mode="fast").session(seed=3), song.samples, [7_001, 50])
    assert torch.equal(roots(chunks), whole.root_position_m)
    assert torch.equal(torch.cat([chunk.motion.local_rotations for chunk in chunks]), whole.local_rotations)
    assert not torch.equal(generate_dance(song, model, seed=4, mode="fast").root_position_m, whole.root_position_m)
    # So small a model keeps float weights: it draws the codes of the exact one.
    exact = danced(DanceEngine(model).session(seed=3), song.samples, [RATE_HZ])
    assert torch.equal(torch.cat([chunk.tokens for chunk in chunks]), torch.cat([chunk.tokens for chunk in exact]))


def test_fast_dances_in_turn_on_one_compiled_model_leave_each_other_alone(model: MusicToDanceModel) -> None:
    pytest.importorskip("openvino", reason="needs the extra fast")
    sessions = [DanceEngine(model, mode="fast").session(seed=seed) for seed in (1, 2)]
    assert sessions[0].model is sessions[1].model
    song = click_track(4.0).samples
    parts: tuple[list[Chunk], list[Chunk]] = ([], [])
    for first in range(0, len(song), 9_000):
        for session, part in zip(sessions, parts, strict=True):
            part += heard(session, song[first : first + 9_000])
    for seed, session, part in zip((1, 2), sessions, parts, strict=True):
        together = features([*part, *rest(session)])
        alone = features(danced(DanceEngine(model, mode="fast").session(seed=seed), song, [len(song)]))
        assert torch.equal(together, alone)


def test_an_unknown_mode_is_refused(model: MusicToDanceModel) -> None:
    with pytest.raises(BadInputError, match=r'"exact" or "fast"; got \'turbo\''):
        DanceEngine(model, mode="turbo")  # type: ignore[arg-type]


# References.


def test_named_references_change_the_dance(model: MusicToDanceModel) -> None:
    song = click_track(4.0)
    plain = generate_dance(song, model)
    first = generate_dance(song, model, references=[walking(50, wave=True)])
    assert not torch.equal(first.root_position_m, plain.root_position_m)
    again = generate_dance(song, model, references=NamedReferences(model, [walking(50, wave=True)]))
    assert torch.equal(first.root_position_m, again.root_position_m)


def test_references_that_the_model_cannot_take_are_refused(model: MusicToDanceModel) -> None:
    with pytest.raises(BadInputError, match="1 to 2 reference dances, got 3"):
        NamedReferences(model, [walking(40)] * 3)
    with pytest.raises(BadInputError, match=r"reference dance 2 .*too short"):
        NamedReferences(model, [walking(40), walking(5)])
    without = tiny_dance_model(llama=dataclasses.replace(LLAMA, bridge="linear"))
    with pytest.raises(BadInputError, match="no reference dances"):
        NamedReferences(without, [walking(40)])


@pytest.fixture(scope="module")
def retrieval(model: MusicToDanceModel) -> MusicDanceRetrieval:
    config = RetrievalConfig(
        music_dim=44, dance_dim=272, max_frames=48, embedding_dim=8, num_heads=2, mlp_dim=8, num_layers=1
    )
    torch.manual_seed(1)
    return MusicDanceRetrieval(
        RetrievalModel(config).eval(), model.statistics, Statistics(torch.zeros(44), torch.ones(44)), 48
    )


@pytest.fixture
def clips(tmp_path: Path) -> DanceClips:
    found = []
    for number, genre in enumerate(("rumba", "waltz", "waltz")):
        dance = motion272_from_motion(walking(90 + 7 * number, wave=number == 1))
        np.save(tmp_path / f"{number}.npy", dance.numpy())
        music = torch.randn(len(dance), 44, generator=torch.Generator().manual_seed(number))
        path = tmp_path / f"{number}.npy"
        found.append(DanceClip(f"clip{number}", f"clip{number}", genre, path, music, len(dance)))
    return DanceClips(found, Statistics(torch.zeros(272), torch.ones(272)), [])


def test_a_library_beside_the_model_gives_references_of_the_genre_that_last_as_long_as_the_music(
    model: MusicToDanceModel, retrieval: MusicDanceRetrieval, clips: DanceClips, tmp_path: Path
) -> None:
    pytest.importorskip("faiss", reason="needs faiss (the extra dance)")
    assert RetrievedReferences.beside(tmp_path, model) is None
    library = build_library(model, retrieval, clips)
    save_library(tmp_path, retrieval, library)
    source = RetrievedReferences.beside(tmp_path, model)
    assert source is not None
    music = music_features(click_track(3.0)).values
    for frames in (24, 48, 80):
        found = source.find(0, music[:frames], "rumba")
        assert found is not None
        assert found.frames.shape == (1, 2, frames, 272)
    # The only rumba is clip 0: what comes back is its own motion as the tokenizer has it.
    (matches,) = retrieval.search(library, [music[:48]], 1, genre="rumba")
    start = matches[0].window.start
    found = source.find(0, music[:48], "rumba")
    assert found is not None
    whole = model.tokenizer.decode(library.contents["clip0"][None].long())[0]
    torch.testing.assert_close(
        found.frames[0, 0][: len(whole) - start], whole[start : start + 48], atol=1e-4, rtol=1e-3
    )
    song = click_track(4.0)
    retrieved = generate_dance(song, model, references=source)
    assert not torch.equal(retrieved.root_position_m, generate_dance(song, model).root_position_m)
    chunks = danced(DanceEngine(model).session(references=source), song.samples, [999])
    assert torch.equal(roots(chunks), retrieved.root_position_m)


def test_a_library_of_other_networks_is_refused(
    model: MusicToDanceModel, retrieval: MusicDanceRetrieval, clips: DanceClips
) -> None:
    pytest.importorskip("faiss", reason="needs faiss (the extra dance)")
    other = dataclasses.replace(retrieval, window_frames=40)
    with pytest.raises(BadInputError, match="another retrieval network"):
        RetrievedReferences(model, other, build_library(model, retrieval, clips))
    with pytest.raises(BadInputError, match="no codes of this model"):
        RetrievedReferences(model, retrieval, retrieval.build_index(clips, hop=30))


# Sound of all kinds.


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_silence_noise_and_short_clips_are_danced(seconds: float, model: MusicToDanceModel) -> None:
    for song in (Audio.from_samples(np.zeros(int(seconds * 8_000)), 8_000), noise(seconds)):
        motion = generate_dance(song, model)
        assert motion.num_frames == round(30 * seconds)


def test_a_real_song_s_excerpt_is_danced_from_the_file_as_from_memory(
    model: MusicToDanceModel, shared_dir: Path
) -> None:
    song = shared_dir / "data" / "songs" / "rumba.mp3"
    if not song.is_file():
        pytest.skip("needs the songs")
    motion = generate_dance(song, model, start_s=20.0, end_s=26.0, seed=2)
    assert (motion.num_frames, motion.name) == (180, "rumba")
    memory = generate_dance(read_audio(song, start_s=20.0, end_s=26.0), model, seed=2)
    assert torch.equal(motion.root_position_m, memory.root_position_m)


def test_eight_bit_mono_is_danced(model: MusicToDanceModel, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "old.wav", click_track(2.0).samples, RATE_HZ, width=1)
    assert generate_dance(path, model).num_frames == 60


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"genre": "polka"}, "rumba, waltz"),
        ({"seed": -1}, "seed"),
        ({"start_s": 5.0}, "start"),
        ({"start_s": 1.5}, "at least 1 s"),
        ({"options": DanceOptions(piece_s=1.6)}, "piece_s is at most"),
    ],
)
def test_what_cannot_be_danced_is_refused(said: dict[str, object], part: str, model: MusicToDanceModel) -> None:
    with pytest.raises(BadInputError, match=part):
        generate_dance(click_track(2.0), model, **said)  # type: ignore[arg-type]


def test_analysed_music_gives_the_dance_of_its_sound(model: MusicToDanceModel) -> None:
    song = click_track(9.3)
    analysed = music_features(song)
    whole, ours = (generate_dance(heard, model, seed=3, genre="waltz") for heard in (song, analysed))
    assert torch.equal(ours.local_rotations, whole.local_rotations)
    assert torch.equal(ours.root_position_m, whole.root_position_m)
    part = generate_dance(analysed, model, start_s=2.0, end_s=5.0)
    assert part.num_frames == 90
    with pytest.raises(BadInputError, match="expected 0 <= start"):
        generate_dance(analysed, model, start_s=20.0)
    with pytest.raises(BadInputError, match="at least 1 s of music"):
        generate_dance(analysed, model, end_s=0.5)


def test_a_dance_follows_sound_or_features_and_never_both(model: MusicToDanceModel) -> None:
    rows = music_features(click_track(2.0)).values
    session = DanceEngine(model).session()
    session.hear_features(rows)
    with pytest.raises(BadInputError, match="follows music features"):
        session.hear(np.zeros(100), RATE_HZ)
    assert sum(chunk.motion.num_frames for chunk in rest(session)) == 60
    with pytest.raises(BadInputError, match="finished"):
        session.hear_features(rows)
    session = DanceEngine(model).session()
    session.hear(np.zeros(100), RATE_HZ)
    with pytest.raises(BadInputError, match="hears sound already"):
        session.hear_features(rows)
    for broken, says in ((rows[:, :5], r"\[T, 44\]"), (rows * torch.nan, "NaN"), (rows.long(), "as floats")):
        with pytest.raises(BadInputError, match=says):
            DanceEngine(model).session().hear_features(broken)


def test_broken_sound_leaves_the_session_as_it_was(model: MusicToDanceModel) -> None:
    session, song = DanceEngine(model).session(), click_track(3.0).samples
    chunks = heard(session, song[:10_000])
    for broken in (np.full(10, np.nan), np.zeros((2, 3, 4)), np.zeros(5, dtype=np.int16)):
        with pytest.raises(BadInputError):
            session.hear(broken, RATE_HZ)
    chunks += heard(session, song[10_000:]) + rest(session)
    assert torch.equal(roots(chunks), generate_dance(click_track(3.0), model).root_position_m)
    for late in (lambda: session.hear(song, RATE_HZ), session.finish):
        with pytest.raises(BadInputError, match="finished"):
            late()


def test_models_that_cannot_stream_are_refused() -> None:
    with pytest.raises(BadInputError, match="muq-25hz"):
        DanceEngine(tiny_dance_model(music_features="muq-25hz")).session()
    with pytest.raises(BadInputError, match="humanml264"):
        DanceEngine(tiny_dance_model(layout="humanml264")).session()
    with pytest.raises(BadInputError, match="not one sample"):
        DanceEngine(tiny_dance_model()).session().finish()
