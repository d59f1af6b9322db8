"""Evaluations from end to end on a few real recordings: figures, resume, comparison, bad input."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinestream.cli import main
from kinestream.errors import BadInputError, KinestreamError
from kinestream.evaluation import EvaluationSettings, Place, Result, compare, evaluate, load_result
from kinestream.evaluation.text import generation
from kinestream.evaluation.text.plan import clip_wishes, text_plan
from kinestream.evaluation.text.protocol import matching_hits
from kinestream.metrics import r_precision
from tests.evaluation.conftest import CAPTIONS, write_tiny_model

SETTINGS = EvaluationSettings("text", repeats=2, batch=4, processes=1)


@contextlib.contextmanager
def quiet(what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    yield lambda done, total: None


@pytest.fixture(scope="module")
def place(real_data: Path, tiny_evaluator: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("evaluated")
    return Place(write_tiny_model(folder / "tiny"), real_data, folder / "report", tiny_evaluator)


@pytest.fixture(scope="module")
def text_result(place: Place) -> Result:
    return evaluate(place, SETTINGS, quiet)


def values(result: Result, name: str) -> list[float]:
    return [sample.generated[name] for sample in result.samples]


def test_text_figures_stand_beside_the_recordings_own(text_result: Result, place: Place) -> None:
    names = [figure.name for figure in text_result.figures]
    assert names[:5] == ["fid", "fid_halves", "r_precision_1", "r_precision_2", "r_precision_3"]
    assert {"mm_distance", "multimodality", "foot_skating_ratio", "jitter_mps3", "length_s"} <= set(names)
    for figure in text_result.figures:
        assert figure.name in ("fid", "multimodality") or figure.real is not None, figure.name
        assert not figure.generated.low > figure.generated.value + 1e-9, figure.name
    assert 1.5 < text_result.figure("length_s").real.value <= 2.0  # type: ignore[union-attr]
    halves = text_result.figure("fid_halves")
    assert halves.generated.value > halves.real.value  # type: ignore[union-attr]
    assert len(text_result.samples) == len(CAPTIONS)
    assert text_result.figure("mm_distance").generated.value == pytest.approx(
        np.mean(values(text_result, "mm_distance")), rel=1e-5
    )
    assert len(text_result.repeats["fid"]) == 2
    assert load_result(place.out) == load_result(place.out / "report.json")
    assert [s.name for s in load_result(place.out).samples] == [s.name for s in text_result.samples]


def test_a_report_says_what_was_run(text_result: Result, place: Place) -> None:
    document = json.loads((place.out / "report.json").read_text(encoding="utf-8"))
    assert (document["format"], document["version"]) == ("kinestream-report", 1)
    assert document["settings"]["repeats"] == 2
    assert document["model"]["name"] == "tiny"
    assert len(document["data"]["sha256"]) == len(document["evaluator"]["sha256"]) == 64
    assert document["data"]["measured"] == 8
    assert str(place.out.parent) not in json.dumps(document)
    for figure in document["figures"]:
        assert set(figure["generated"]) == {"value", "low", "high", "count"}


def test_a_run_that_was_stopped_goes_on_and_gives_the_same(
    text_result: Result, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    shutil.copytree(place.out / "pieces", out / "pieces")
    pieces = sorted((out / "pieces").iterdir())
    pieces[0].unlink()
    made: list[int] = []
    act = generation.act

    def counted(engine: Any, wishes: Any, options: Any) -> Any:
        made.append(len(wishes))
        return act(engine, wishes, options)

    monkeypatch.setattr(generation, "act", counted)
    again = evaluate(replace(place, out=out), SETTINGS, quiet)
    assert made == [8]
    assert again.figures == text_result.figures
    assert again.samples == text_result.samples


def test_matching_by_row_is_r_precision() -> None:
    text, motion = torch.randn(2, 70, 5)
    captions = [f"caption {k % 50}" for k in range(70)]
    rows = matching_hits(text, motion, captions, 16, torch.Generator().manual_seed(4))
    full = [row for row in rows if row]
    mean = [sum(row[f"r_precision_{k}"] for row in full) / len(full) for k in (1, 2, 3)]
    expected = r_precision(text, motion, 16, 3, torch.Generator().manual_seed(4), captions)
    assert mean == pytest.approx(expected.tolist())
    assert 0 < len(full) <= 70


def test_stream_protocol_measures_switches_and_latency(place: Place, tmp_path: Path) -> None:
    settings = EvaluationSettings("stream", repeats=1, processes=1)
    result = evaluate(replace(place, out=tmp_path / "report", evaluator=None), settings, quiet)
    peak = result.figure("peak_jerk_mps3")
    assert peak.generated.count == 8
    assert peak.real is not None
    assert peak.real.count == 8
    assert result.figure("first_frame_s").generated.value > 0
    assert {"generated", "real"} == {curve.label for curve in result.curves["transition"]}
    assert result.samples[0].prompt.count("→") == 1
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000


def test_reconstruction_protocol_measures_the_autoencoder(place: Place, tmp_path: Path) -> None:
    (place.data / "texts").rename(tmp_path / "texts")  # captions are not needed
    try:
        settings = EvaluationSettings("reconstruction", samples=6, processes=1)
        result = evaluate(replace(place, out=tmp_path / "report"), settings, quiet)
    finally:
        (tmp_path / "texts").rename(place.data / "texts")
    assert result.figure("mpjpe_mm").generated.value > 0
    assert result.figure("mpjpe_mm").generated.count == 6
    assert result.settings["repeats"] == 1
    assert result.figure("fid").generated.value > 0


def test_equal_models_differ_within_noise_and_others_are_told_apart(
    text_result: Result, place: Place, tmp_path: Path
) -> None:
    same = {one.name: one for one in compare(place.out, place.out)}
    assert {one.verdict for name, one in same.items() if name != "fid_halves"} == {"within noise"}
    assert same["fid"].difference is not None
    assert same["mm_distance"].difference is not None
    worse = json.loads((place.out / "report.json").read_text(encoding="utf-8"))
    for sample in worse["samples"]:
        sample["generated"]["mm_distance"] += 1.0
        sample["generated"]["jitter_mps3"] += 1e6
    shutil.copytree(place.out, tmp_path / "worse", ignore=shutil.ignore_patterns("pieces"))
    (tmp_path / "worse" / "report.json").write_text(json.dumps(worse), encoding="utf-8")
    found = {one.name: one for one in compare(place.out, tmp_path / "worse")}
    assert found["mm_distance"].verdict == "a is better"
    assert found["mm_distance"].difference is not None
    assert found["mm_distance"].difference.value == pytest.approx(-1.0, abs=1e-4)
    assert found["jitter_mps3"].verdict == "a is better"
    back = {one.name: one for one in compare(tmp_path / "worse", place.out)}
    assert back["mm_distance"].verdict == "b is better"
    assert found["fid"].verdict == "within noise"


def test_reports_of_other_data_are_not_compared(text_result: Result, place: Place, tmp_path: Path) -> None:
    other = replace(text_result, data={**text_result.data, "sha256": "0" * 64})
    other.save(tmp_path)
    with pytest.raises(BadInputError, match="can't be paired: recordings and captions"):
        compare(place.out, tmp_path)
    replace(text_result, protocol="stream").save(tmp_path)
    with pytest.raises(BadInputError, match="protocol text and stream"):
        compare(place.out, tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "newer"])
def test_what_is_no_report_is_refused(text_result: Result, place: Place, tmp_path: Path, damage: str) -> None:
    text = (place.out / "report.json").read_text(encoding="utf-8")
    if damage != "missing":
        changed = {
            "cut": text[:-50],
            "foreign": "{}",
            "newer": text.replace('"version": 1', '"version": 9', 1),
        }[damage]
        (tmp_path / "report.json").write_text(changed, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"expected (a report|kinestream-report of version 1)"):
        load_result(tmp_path)


def test_too_few_samples_are_refused_before_anything_is_generated(place: Place, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"batches of 32 .* --batch"):
        evaluate(replace(place, out=tmp_path / "report"), replace(SETTINGS, batch=32), quiet)
    assert not list((tmp_path / "report").rglob("*.safetensors"))


def test_captions_and_seeds_are_the_same_in_every_run(place: Place) -> None:
    plan = text_plan(place.data, "test", 0, 4)
    assert plan == text_plan(place.data, "test", 0, 4)
    assert len(plan.items) == 4
    first, second = (clip_wishes(plan.items, 0, repeat) for repeat in (0, 1))
    assert len({wish.seed for wish in (*first, *second)}) == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "DATA"], "nowhere is no folder; expected a model folder"),
        (["default", "nowhere"], "nowhere is no folder; expected a data set folder"),
        (["DATA", "DATA"], "expected a model folder, but it has no model.json"),
        (["MODEL", "EMPTY"], "test.txt: there is no such file"),
        (["MODEL", "DATA", "--split", "train"], "train.txt: there is no such file"),
        (["MODEL", "UNCAPTIONED"], "nothing usable in the split 'test'"),
        (["MODEL", "DATA", "--protocol", "stream", "--split", "test"], "switches come in the splits train, val"),
        (["MODEL", "DATA", "-o", "DATA"], "holds other files"),
    ],
)
def test_bad_input_is_one_clear_line(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    uncaptioned = tmp_path / "uncaptioned"
    shutil.copytree(place.data, uncaptioned, ignore=shutil.ignore_patterns("texts"))
    folders = {
        "DATA": str(place.data),
        "MODEL": str(place.model),
        "EMPTY": str(tmp_path / "empty"),
        "UNCAPTIONED": str(uncaptioned),
    }
    given = [folders.get(argument, argument) for argument in arguments]
    defaults = ["--protocol", "text"] if "--protocol" not in given else []
    defaults += ["-o", str(tmp_path / "report")] if "-o" not in given else []
    assert main(["evaluate", *given, *defaults, "--evaluator", str(place.evaluator), "--repeats", "1"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_the_command_line_prints_figures_and_compares(
    place: Place, text_result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["evaluate", str(place.model), str(place.data), "--protocol", "reconstruction", "--samples", "4"]
    given += ["-o", str(tmp_path / "report"), "--evaluator", str(place.evaluator), "--processes", "1"]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert "MPJPE (mm)" in printed
    assert printed.rstrip().endswith("report.html")
    assert main(["compare", str(place.out), str(place.out)]) == 0
    assert "within noise" in capsys.readouterr().out


def test_too_few_recordings_for_two_halves_are_refused(place: Place, tmp_path: Path) -> None:
    settings = EvaluationSettings("reconstruction", samples=3, processes=1)
    with pytest.raises(BadInputError, match="FID needs at least 4 recordings"):
        evaluate(replace(place, out=tmp_path / "report"), settings, quiet)


def test_a_generating_process_that_dies_ends_the_run_with_an_error(place: Place, tmp_path: Path) -> None:
    wishes = clip_wishes(text_plan(place.data, "test", 0, 4).items, 0, 0)
    with (
        generation.Studio(tmp_path / "no model", tmp_path, 2) as studio,
        pytest.raises(KinestreamError, match="a generating process died"),
    ):
        studio.act(wishes, lambda done, total: None)
