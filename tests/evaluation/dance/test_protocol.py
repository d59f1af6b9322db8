"""The dance protocol from end to end on real motion and a real song: figures, resume, comparison, bad input."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.checkpoints.dance import load_music_to_dance
from kinestream.checkpoints.retrieval import load_retrieval
from kinestream.cli import main
from kinestream.conditioning.music import Beats, music_features
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.evaluation import EvaluationSettings, Place, Result, compare, evaluate, load_result, pieces
from kinestream.evaluation.dance.beats import heard_windows, shift_curves
from kinestream.evaluation.dance.clicks import click_track
from kinestream.evaluation.dance.plan import WINDOW_FRAMES, dance_plan, windows_of
from kinestream.evaluation.dance.tokens import token_figures
from kinestream.features import motion_from_motion272
from kinestream.io.audio import read_audio
from kinestream.metrics import mpjpe_mm
from kinestream.training.dance.retrieval import held_out_recall
from kinestream.training.dance.rvq_vae import reconstruct
from tests.evaluation.conftest import write_tiny_model
from tests.evaluation.dances import DANCES, FRAMES, write_dance_model, write_dances

SETTINGS = EvaluationSettings("dance", repeats=2, processes=1)
SONGS = 4


@contextlib.contextmanager
def quiet(what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    yield lambda done, total: None


@pytest.fixture(scope="module")
def place(reference_dir: Path, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("danced")
    features = torch.from_numpy(np.load(reference_dir / "motion272" / "sample.npz")["representation"]).float()
    song = shared_dir / "data" / "songs" / "waltz.mp3"
    heard = music_features(read_audio(song, start_s=20.0, end_s=20.0 + FRAMES / 30.0))
    data = write_dances(folder / "data", features, heard)
    return Place(write_dance_model(folder / "model", data), data, folder / "report")


@pytest.fixture(scope="module")
def result(place: Place) -> Result:
    return evaluate(place, SETTINGS, quiet)


def test_dance_figures_stand_beside_the_recordings_own(result: Result, place: Place) -> None:
    names = [figure.name for figure in result.figures]
    for score in ("beat_alignment", "step_alignment"):
        own, others, gain = (result.figure(f"{score}{part}") for part in ("", "_others", "_gain"))
        for side in ("generated", "real"):
            mine, theirs, both = (getattr(figure, side) for figure in (own, others, gain))
            assert both.value == pytest.approx(mine.value - theirs.value)
            assert both.low <= both.value <= both.high
            assert mine.count == SONGS
        assert result.figure(f"{score}_ratio").generated.value == pytest.approx(
            own.generated.value / own.real.value  # type: ignore[union-attr]
        )
        assert f"{score}_gain_by_window" in names
        assert 0.0 < result.figure(f"{score}_p").generated.value <= 1.0
    for name in ("fid_k_halves", "div_k", "div_g", "foot_skating_ratio", "jitter_mps3", "still_share"):
        assert result.figure(name).real is not None
    assert result.figure("fid_k").generated.value > 0
    assert result.figure("times_real_time").generated.value == pytest.approx(
        result.figure("frames_per_s").generated.value / 30.0
    )
    assert len(names) == len(set(names))
    page = (place.out / "report.html").read_text(encoding="utf-8")
    assert "Step alignment when songs are shifted" in page
    assert page.count('class="sample"') == 4
    assert "media-src blob:" in page  # else the players inside could not click on beats
    assert re.search(r"waltz \((one|two) 0 s\)|rumba \(three 0 s\)", page)


def test_samples_are_windows_of_eight_seconds_that_know_their_song(result: Result, place: Place) -> None:
    assert len(result.samples) == SONGS * (FRAMES // WINDOW_FRAMES)
    assert {sample.group for sample in result.samples} == {f"song of {name}" for name, *_ in DANCES[:SONGS]}
    assert {sample.prompt for sample in result.samples} == {"waltz", "rumba", "tango"}
    for sample in result.samples:
        assert sample.generated.keys() == sample.real.keys()
        assert sample.generated["jitter_mps3"] > 0
    assert load_result(place.out).samples[0].group == result.samples[0].group
    assert "1 recordings of the split have no song" in " ".join(result.notes)


def test_recall_of_recorded_dances_is_that_of_the_retrieval_network_s_own_recipe(result: Result, place: Place) -> None:
    assert place.model is not None
    retrieval = load_retrieval(place.model / "retrieval")
    expected = held_out_recall(retrieval, DanceClips.load([place.data], "test"))
    for direction, found in expected.items():
        for k, recall in found.recall.items():
            figure = result.figure(f"{direction}_recall_{k}")
            assert figure.real is not None
            assert figure.real.value == pytest.approx(recall)
            assert figure.real.count == found.windows
            assert result.figure(f"chance_recall_{k}").generated.value == pytest.approx(found.chance[k])


def test_the_tokenizer_s_error_begins_anew_every_eight_seconds(result: Result, place: Place) -> None:
    model = load_music_to_dance(place.model)
    errors = []
    for name, split, *_ in DANCES:
        if split == "test":
            clip = torch.from_numpy(np.load(place.data / "motion_data" / f"{name}.npy"))
            with torch.no_grad():
                _, given = reconstruct(model.tokenizer, model.statistics, clip)
            for part in (slice(0, 240), slice(240, FRAMES)):
                own, real = (motion_from_motion272(each[part]).joint_positions_m() for each in (given, clip))
                errors.append(float(mpjpe_mm(own, real)) * len(real))
    figure = result.figure("mpjpe_mm")
    assert figure.generated.value == pytest.approx(sum(errors) / (5 * FRAMES), rel=1e-4)
    assert figure.generated.count == 5


def test_codes_are_dead_when_no_dance_of_any_split_uses_them(result: Result, place: Place, tmp_path: Path) -> None:
    model = load_music_to_dance(place.model)
    used = [set[int](), set[int]()]
    for name, *_ in DANCES:
        clip = torch.from_numpy(np.load(place.data / "motion_data" / f"{name}.npy"))
        codes = model.encode(clip[None])[0]
        for level in (0, 1):
            used[level] |= set(codes[:, level].tolist())
    dead = 1.0 - (len(used[0]) + len(used[1])) / 32
    assert result.figure("dead_codes").generated.value == pytest.approx(dead)
    items = dance_plan(place.data, "test", None).items
    for _ in range(2):  # the second time from what was kept
        figures = {one.name: one for one in token_figures(model, items, place.data, tmp_path, "x", quiet)}
        assert figures["dead_codes"].generated.value == pytest.approx(dead)
    assert len(list(tmp_path.glob("codes-*.safetensors"))) == 1


def test_a_dance_in_time_peaks_where_its_song_is_not_shifted(place: Place) -> None:
    items = dance_plan(place.data, "test", None).items[:1]
    beats = torch.from_numpy(items[0].music().beats.times_s)
    time = torch.arange(FRAMES) / 30.0
    since = time[:, None] - beats
    caught = torch.sigmoid((since + 0.1) / 0.03).sum(dim=1)  # feet that are fastest 0.1 s before a beat
    joints = torch.zeros(FRAMES, 22, 3)
    joints[:, [7, 8, 10, 11], 2] = 0.4 * caught[:, None].float()
    curve, _ = shift_curves([joints], [joints], items)
    best = curve.x[max(range(len(curve.y)), key=lambda k: curve.y[k])]
    assert abs(best) < 0.06


def test_clicks_are_heard_on_the_beats_of_the_window_and_higher_where_bars_begin(tmp_path: Path) -> None:
    beats = Beats(np.array([0.5, 1.0, 1.5, 2.0]), np.array([1.5]), 120.0)
    sound = read_audio(click_track(beats, 0.75, 1.0, tmp_path / "clicks.wav").path)
    assert sound.duration_s == pytest.approx(1.0)
    loud = np.flatnonzero(np.abs(sound.samples) > 0.1) / sound.rate_hz
    assert set(np.round(loud, 1)) <= {0.2, 0.3, 0.8}
    first, second = (sound.samples[round(at * sound.rate_hz) :][:1000] for at in (0.25, 0.75))
    assert np.abs(np.fft.rfft(second)).argmax() > np.abs(np.fft.rfft(first)).argmax() > 0


def test_windows_without_a_beat_count_for_no_alignment(place: Place) -> None:
    items = dance_plan(place.data, "test", None).items
    silenced = [replace(items[0], music_path=place.data / "quiet.npz"), *items[1:]]
    music = items[0].music()
    none = np.zeros(0)
    np.savez(silenced[0].music_path, features=music.values.numpy(), beats_s=none, downbeats_s=none, tempo_bpm=0.0)
    heard = heard_windows(silenced, windows_of(silenced))
    assert heard.places == (1, 2, 3)
    assert len(heard.music) == 3


def test_a_run_that_was_stopped_goes_on_and_gives_the_same(
    result: Result, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    shutil.copytree(place.out / "pieces", out / "pieces")
    kept = sorted(path for path in (out / "pieces").iterdir() if not path.name.startswith("codes"))
    assert len(kept) == SETTINGS.repeats * SONGS
    kept[0].unlink()
    made = []
    write = pieces.write_tensors
    monkeypatch.setattr(pieces, "write_tensors", lambda path, made_now: (made.append(path.name), write(path, made_now)))
    again = evaluate(replace(place, out=out), SETTINGS, quiet)
    assert made == [kept[0].name]
    timed = ("frames_per_s", "times_real_time")
    assert [f for f in again.figures if f.name not in timed] == [f for f in result.figures if f.name not in timed]
    assert again.samples == result.samples


def test_equal_dances_differ_within_noise_and_others_are_told_apart(
    result: Result, place: Place, tmp_path: Path
) -> None:
    report = json.loads((place.out / "report.json").read_text(encoding="utf-8"))
    shutil.copytree(place.out, tmp_path / "worse", ignore=shutil.ignore_patterns("pieces"))
    for part in (report["samples"], worse := json.loads(json.dumps(report))["samples"]):
        part += [dict(sample, name=f"{sample['name']} again", group=f"{sample['group']} again") for sample in part]
    (tmp_path / "better").mkdir()
    (tmp_path / "better" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    for sample in worse:
        sample["generated"]["jitter_mps3"] += 1e6
    (tmp_path / "worse" / "report.json").write_text(json.dumps(report | {"samples": worse}), encoding="utf-8")
    same = {one.name: one for one in compare(place.out, place.out)}
    assert same["fid_k"].verdict == same["div_k"].verdict == "within noise"
    assert same["frames_per_s"].verdict == "not known"
    found = {one.name: one for one in compare(tmp_path / "better", tmp_path / "worse")}
    assert found["jitter_mps3"].verdict == "a is better"
    assert found["step_alignment"].verdict == "within noise"


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("a model of texts", "music-to-dance"),
        ("no music", "nothing to measure in the split 'test'"),
        ("three songs", "at least 4 songs, two for each half of them, got 3"),
        ("music of another length", "288 frames of motion but 100 of music"),
        ("music without beats", "no array 'beats_s'"),
    ],
)
def test_bad_input_is_one_clear_error_before_anything_is_danced(
    place: Place, tmp_path: Path, case: str, says: str
) -> None:
    data, model, samples = tmp_path / "data", place.model, None
    shutil.copytree(place.data, data)
    music = dict(np.load(data / "music" / "one.npz"))
    if case == "a model of texts":
        model = write_tiny_model(tmp_path / "model")
    elif case == "no music":
        shutil.rmtree(data / "music")
    elif case == "three songs":
        samples = 3
    else:
        for path in (data / "music").iterdir():
            path.unlink()
        if case == "music without beats":
            del music["beats_s"]
        else:
            music["features"] = music["features"][:100]
        np.savez(data / "music" / "one.npz", **music)
    with pytest.raises(BadInputError, match=says):
        evaluate(Place(model, data, tmp_path / "report"), replace(SETTINGS, samples=samples), quiet)
    assert not list((tmp_path / "report").rglob("*.safetensors"))


def test_the_command_line_measures_a_model_without_a_library_and_without_recall(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_dance_model(tmp_path / "model", place.data, library=False)
    given = ["evaluate", str(model), str(place.data), "--protocol", "dance", "--repeats", "1", "--processes", "1"]
    assert main([*given, "-o", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert "Step alignment: gain" in printed
    assert "Dead codes" in printed
    assert printed.rstrip().endswith("report.html")
    found = load_result(tmp_path / "report")
    assert not [figure.name for figure in found.figures if "recall" in figure.name]
    assert "recall is not measured" in " ".join(found.notes)
    assert np.isnan(found.figure("fid_k").generated.low)
