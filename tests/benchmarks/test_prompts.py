"""The bench of freely written prompts: its sentences, its verdicts, and the whole command on a small scale."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.prompts import __main__ as command
from benchmarks.prompts import recorded
from benchmarks.prompts.figures import metric_table, rows_of, worst
from benchmarks.prompts.judge import METRICS, as_asked, verdicts
from benchmarks.prompts.recorded import composed, label_ask
from benchmarks.prompts.seen import Seen, joined, observe
from benchmarks.prompts.sentences import Ask, Repeats, Turn, load_known_asks, load_unknown, wordless
from benchmarks.prompts.unknown import detection, refused, together
from benchmarks.quality.classifier import ClassifierConfig, cached_classifier
from benchmarks.quality.takes import Take
from kinestream.data.text.captions import contents, paraphrases, styles, training_captions
from kinestream.errors import BadInputError
from kinestream.features import motion272_from_motion
from tests.benchmarks.test_quality import acted, takes, write_data, write_model

PERSONS = re.compile(
    r"^(a|an|the|this|some)?\s*(person|someone|somebody|human|figure|character|man|woman|he|she|actor)\s"
)


def normalised(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", text.lower()).split())


def bare(text: str) -> str:
    """Without the person it is about."""
    return PERSONS.sub("", normalised(text))


def clip(content: str, style: str = "normal") -> Take:
    return Take(f"{content}_{style}", content, style, motion272_from_motion(acted(content, style, 0)))


def seen(content: str, style: str = "normal", **changes: object) -> Seen:
    one = Seen(clip("walk"), content, style)
    for name, value in changes.items():
        one.__dict__[name] = value  # cached properties live there
    return one


# Sentences.


def test_there_are_as_many_sentences_as_promised_and_their_fields_are_known_words() -> None:
    asks, strange = load_known_asks(), load_unknown()
    assert len(asks) >= 300
    assert len(strange) >= 60
    assert len({normalised(ask.text) for ask in asks}) >= len(asks) - 1, "no two alike but for punctuation"
    for ask in asks:
        assert set(ask.content) | set(ask.then) <= set(contents()), ask.text
        assert ask.style is None or ask.style in styles(), ask.text
        assert ask.hand in (None, "left", "right", "both"), ask.text
        assert ask.travel in (None, "forward", "backward", "left", "right", "none"), ask.text
        assert ask.speed in (None, "slow", "fast"), ask.text
        assert verdicts(ask, seen("walk"), dict.fromkeys(contents(), 1.0)), f"{ask.text}: nothing of it is judged"
    assert {ask.group for ask in strange} >= {"objects", "sport", "nonsense", "languages"}
    assert refused(wordless()) == {"prompts": len(wordless()), "refused": len(wordless())}


def test_no_sentence_comes_from_the_grammar_that_writes_training_captions() -> None:
    asks = load_known_asks()
    mine = {bare(ask.text): ask.text for ask in asks}
    plain = {bare(text) for content in contents() for text in training_captions(content, "normal")}
    held_out = {bare(text) for content in contents() for style in styles() for text in paraphrases(content, style)}
    assert not {text for key, text in mine.items() if key in plain | held_out}
    for ask in asks:
        if ask.style is not None:
            styled = {bare(text) for content in ask.content for text in training_captions(content, ask.style)}
            assert bare(ask.text) not in styled, ask.text


def test_a_sentence_with_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadInputError, match="sped"):
        Ask.from_json({"text": "walks", "group": "walk", "sped": "slow"})


# Verdicts.


def test_each_verdict_tells_right_from_wrong() -> None:
    usual = {"walk": 1.0}
    cases = [
        (Ask("", "", content=("walk",)), "content", seen("walk"), seen("bow")),
        (Ask("", "", style="tired"), "style", seen("walk", "tired"), seen("walk")),
        (Ask("", "", hand="left"), "hand", seen("", hand=0.9), seen("", hand=-0.9)),
        (Ask("", "", hand="both"), "hand", seen("", hand=0.1), seen("", hand=0.9)),
        (Ask("", "", content=("punch",), hand="right"), "hand", seen("", striking_hand=-1.0), seen("", hand=-1.0)),
        (Ask("", "", foot="right"), "foot", seen("", foot=-0.9), seen("", foot=0.9)),
        (Ask("", "", travel="backward"), "travel", seen("", travel=torch.tensor((-3.0, 0.2))), seen("")),
        (Ask("", "", travel="none"), "travel", seen("", travel=torch.zeros(2)), seen("")),
        (Ask("", "", turn=Turn("left")), "turn", seen("", turned_deg=80.0), seen("", turned_deg=-80.0)),
        (Ask("", "", turn=Turn("none")), "turn", seen("", turned_deg=4.0), seen("", turned_deg=40.0)),
        (Ask("", "", turn=Turn("right", 90)), "turn_angle", seen("", turned_deg=-99.0), seen("", turned_deg=-170.0)),
        (Ask("", "", steps=4), "steps", seen("", steps=4), seen("", steps=5)),
        (Ask("", "", steps=4), "steps_about", seen("", steps=5), seen("", steps=7)),
        (Ask("", "", content=("walk",), speed="slow"), "speed", seen("", speed_mps=0.7), seen("", speed_mps=1.3)),
        (Ask("", "", seconds=2.0), "seconds", seen(""), replace(seen(""), take=joined([clip("walk")] * 3))),
        (Ask("", "", still=True), "still", seen("", still_share=1.0, travel=torch.zeros(2)), seen("")),
    ]
    for ask, name, right, wrong in cases:
        assert verdicts(ask, right, usual)[name], name
        assert not verdicts(ask, wrong, usual)[name], name
    order = Ask("", "", content=("walk",), then=("bow",))
    assert verdicts(order, replace(seen("walk"), parts=(("bow", "bow"), ("walk", "bow"))), usual) == {"order": True}
    assert verdicts(order, replace(seen("walk"), parts=(("bow", "walk"),)), usual) == {"order": False}
    assert verdicts(Ask("", "", repeats=Repeats("bow", 0)), seen(""), usual) == {"repeats": True}
    assert as_asked({"content": True, "steps": False, "steps_about": True})
    assert not as_asked({"content": True, "hand": False})


def test_what_cannot_be_judged_is_not() -> None:
    ask = Ask("waits", "stand", content=("stand",), not_judged={"content": "no recording"})
    assert verdicts(ask, seen("walk"), {}) == {}


# Figures.


def test_clips_handed_to_other_sentences_score_at_chance_and_recordings_score_high(tmp_path: Path) -> None:
    classifier = cached_classifier(
        takes(range(8)), takes((8, 9)), ClassifierConfig(width=16, epochs=5, draws=160, batch_size=8), tmp_path
    )
    real = takes((10, 11))
    pairs = [(label_ask(take), take) for take in real] + composed(real, 0)
    found = observe(classifier, [take for _, take in pairs], [bool(ask.then) for ask, _ in pairs])
    rows = rows_of([ask for ask, _ in pairs], found, {"walk": 1.0})
    figures = metric_table(rows, rows, {"walk": 1.0}, 0)
    assert set(figures) == set(METRICS)
    assert figures["content"]["generated"]["value"] >= 0.9
    assert figures["content"]["real"]["value"] >= 0.9
    assert figures["content"]["shuffled"] < 0.6
    assert figures["order"]["generated"]["value"] > figures["order"]["shuffled"]
    assert figures["steps"]["real"] is None
    assert "no_recordings" in figures["steps"]
    listed = worst(rows)
    assert [one["right"] for one in listed] == sorted(one["right"] for one in listed)


def test_a_signal_that_tells_known_from_unknown_reaches_its_target_and_noise_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    known, unknown = torch.randn(200, generator=generator) + 4.0, torch.randn(100, generator=generator)
    good = detection(known, unknown)
    assert good["auc"] > 0.98
    assert good["unknown_said"]["value"] >= 0.9
    assert good["known_said"]["value"] <= 0.1
    noise = detection(torch.randn(200, generator=generator), unknown)
    assert 0.35 < noise["auc"] < 0.65
    mixed = together((known, torch.randn(200, generator=generator)), (unknown, torch.randn(100, generator=generator)))
    assert detection(*mixed)["auc"] > 0.97


@pytest.mark.slow
def test_the_whole_bench_runs_twice_with_equal_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ClassifierConfig", lambda: ClassifierConfig(width=8, epochs=1, draws=12))
    monkeypatch.setattr(recorded, "PAIRS", 4)
    monkeypatch.setattr(recorded, "CHAINS", 4)
    # An untrained model never ends a prompt by itself.
    monkeypatch.setattr(command, "OPTIONS", replace(command.OPTIONS, max_prompt_s=1.5))
    data, model, out = write_data(tmp_path / "data"), write_model(tmp_path / "model"), tmp_path / "results" / "p.json"
    given = ["--data", str(data), "--model", str(model), "-o", str(out), "--sentences", "4", "--repeats", "2"]
    given += ["--processes", "1", "--cache", str(tmp_path / "cache")]
    assert command.main(given) == 0
    first = out.read_bytes()
    assert command.main(given) == 0
    assert out.read_bytes() == first
    results = json.loads(first)
    assert str(tmp_path) not in first.decode()
    assert results["metrics"]["content"]["generated"]["n"] > 0
    assert len(results["by_repeat"]) == 2
    assert results["knows"]["text"]["unknown_said"]["n"] == 2
    assert "worst sentences" in capsys.readouterr().out


def test_bad_arguments_are_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--data", str(tmp_path), "-o", str(tmp_path / "p.json"), "--repeats", "0"]) == 2
    assert command.main(["--data", str(tmp_path), "-o", str(tmp_path / "p.json")]) == 2
    assert "manifest" in capsys.readouterr().err
    assert not (tmp_path / "p.json").exists()
