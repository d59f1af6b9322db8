"""The benchmark of quality: perfect clips score 1, each fault is seen by its figure, and a stopped run goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.quality import __main__ as command
from benchmarks.quality.classifier import ClassifierConfig, cached_classifier
from benchmarks.quality.estimates import estimate, ratio
from benchmarks.quality.plan import clip_wishes, few_shot_wishes, pair_wishes
from benchmarks.quality.plausibility import measured, plausibility
from benchmarks.quality.recognition import few_shot, recognition
from benchmarks.quality.report import TARGETS, target_rows
from benchmarks.quality.takes import Take, evenly
from benchmarks.quality.transitions import matched_peaks, transitions, window_peaks
from kinestream.checkpoints import TextToMotionModel, load_text_to_motion, save_text_to_motion
from kinestream.data.manifest import Clip, Manifest
from kinestream.data.text.captions import training_captions
from kinestream.evaluation.text import generation
from kinestream.evaluation.text.generation import Acted, Studio, Wish, act
from kinestream.evaluation.text.reconstruct import reconstructed
from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig
from kinestream.motion import Motion, face_forward, ground
from kinestream.rotations import quat_from_rotvec
from kinestream.skeleton import smpl22
from kinestream.streaming import Engine
from tests.streaming.conftest import HashEncoder, tiny_model

SMALL = ClassifierConfig(width=16, epochs=5, draws=160, batch_size=8, learning_rate=5e-3)
CONTENTS = ("walk", "bow", "wave-left-hand")
STYLES = ("normal", "tired")


def acted(content: str, style: str, variant: int, frames: int = 64) -> Motion:
    """Each content swings other joints, each style at another pace; `variant` shifts phase and size a little."""
    pace = 3.0 if style == "tired" else 7.0
    t = torch.arange(frames) / MOTION272.fps
    swing = (0.5 + 0.02 * variant) * torch.sin(pace * t + 0.3 * variant)
    turns = torch.zeros(frames, 22, 3)
    joints = {"walk": (1, 2), "bow": (3, 6), "wave-left-hand": (16, 18)}[content]
    for side, joint in zip((1.0, -1.0), joints, strict=True):
        turns[:, joint, 0] = side * swing
    root = torch.stack((torch.zeros(frames), torch.full((frames,), 0.95), 0.8 * t * (content == "walk")), dim=-1)
    return face_forward(ground(Motion(smpl22(), quat_from_rotvec(turns), root, MOTION272.fps)))


def takes(variants: Sequence[int], contents: Sequence[str] = CONTENTS) -> list[Take]:
    return [
        Take(f"{content}_{style}_{k}", content, style, motion272_from_motion(acted(content, style, k)))
        for content in contents
        for style in STYLES
        for k in variants
    ]


def clips(split: str, numbers: Sequence[int], contents: Sequence[str] = CONTENTS, frames: int = 64) -> list[Clip]:
    return [
        Clip(f"{c}_{s}_{k}", "made-up", c, s, c, s, f"{c}_{s}_{k}", f"{c}/{k}", split, frames, 2, False, "00")
        for c in contents
        for s in STYLES
        for k in numbers
    ]


def swapped(take: Take, motion: Motion) -> Take:
    return Take(take.name, take.content, take.style, motion272_from_motion(motion))


# Estimates.


def test_intervals_hold_the_true_mean_and_shrink_with_more_clips() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)) + 3.0
    few, many = estimate(values[:20]), estimate(values)
    assert many["low"] < 3.0 < many["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]
    assert many == estimate(values)


def test_weights_count_as_repeats() -> None:
    values = torch.tensor([1.0, 2.0, 10.0])
    weighted = estimate(values, weights=torch.tensor([1.0, 1.0, 2.0]))["value"]
    assert weighted == pytest.approx(float(torch.tensor([1.0, 2.0, 10.0, 10.0]).mean()))
    assert estimate(values, "median", torch.tensor([0.1, 0.1, 5.0]))["value"] == 10.0


def test_ratio_to_nothing_is_not_measured_instead_of_infinite() -> None:
    assert ratio(torch.ones(4), torch.zeros(4))["value"] is None
    assert ratio(torch.full((4,), 3.0), torch.full((4,), 2.0)) == {"value": 1.5, "low": 1.5, "high": 1.5}


# Classifier and recognition.


def test_classifier_names_new_clips_and_comes_back_from_the_cache_bit_for_bit(tmp_path: Path) -> None:
    train, val, test = takes(range(8)), takes((8, 9)), takes((10, 11))
    calls: list[int] = []
    first = cached_classifier(train, val, SMALL, tmp_path, lambda done, total: calls.append(done))
    trained = len(calls)
    again = cached_classifier(train, val, SMALL, tmp_path, lambda done, total: calls.append(done))
    assert trained > 0
    assert len(calls) == trained, "the second one was not trained"
    for a, b in zip(first.logits(test), again.logits(test), strict=True):
        assert torch.equal(a, b)
    found = recognition(first, test, test)
    assert found["content"]["real"]["value"] >= 0.9
    assert found["content"]["ratio"]["value"] == found["style"]["ratio"]["value"] == 1.0
    wrong = [Take(take.name, "bow" if take.content == "walk" else "walk", take.style, take.features) for take in test]
    mixed = recognition(first, test, wrong)
    assert mixed["content"]["generated"]["value"] <= 0.2
    assert sum(pair["n"] for pair in mixed["content"]["confusions_generated"]) >= len(test) * 0.8


def test_classifier_does_not_depend_on_its_neighbours_in_a_batch(tmp_path: Path) -> None:
    classifier = cached_classifier(
        takes(range(2)), takes((2,)), ClassifierConfig(width=8, epochs=1, draws=12), tmp_path
    )
    long = Take("long", "walk", "normal", motion272_from_motion(acted("walk", "normal", 0, frames=150)))
    short = Take("short", "bow", "tired", motion272_from_motion(acted("bow", "tired", 0, frames=37)))
    alone, together = classifier.logits([short])[0], classifier.logits([short, long])[0][:1]
    torch.testing.assert_close(alone, together)


def test_other_data_are_another_classifier(tmp_path: Path) -> None:
    config = ClassifierConfig(width=8, epochs=1, draws=12)
    cached_classifier(takes((0,)), takes((2,)), config, tmp_path)
    cached_classifier(takes((1,)), takes((2,)), config, tmp_path)
    (tmp_path / "classifier-broken.safetensors").write_bytes(b"no weights")
    assert len(list(tmp_path.glob("classifier-*"))) == 3


def test_few_shot_contents_are_counted_apart(tmp_path: Path) -> None:
    classifier = cached_classifier(takes((0,)), takes((2,)), ClassifierConfig(width=8, epochs=1, draws=12), tmp_path)
    found = few_shot(classifier, takes((8,), ("bow",)), Counter({"bow": 2}))
    assert found["by_content"]["bow"]["recordings"] == 2
    assert found["by_content"]["bow"]["generated"] == 2
    assert found["by_content"]["bow"]["named"] + sum(found["by_content"]["bow"]["named_otherwise"].values()) == 2
    assert few_shot(classifier, [], Counter())["share_named"] is None


# Plan.


def test_prompts_have_the_labels_of_the_test_clips_and_never_stand_in_training_captions() -> None:
    test = clips("test", range(2))
    wishes = clip_wishes(test, seed=0)
    assert Counter((w.content, w.style) for w in wishes) == Counter((c.content, c.style) for c in test)
    known = {label: set(training_captions(*label)) for label in {(w.content, w.style) for w in wishes}}
    assert all(wish.prompt not in known[wish.content, wish.style] for wish in wishes)
    assert len({wish.seed for wish in wishes}) == len(wishes)
    assert wishes == clip_wishes(list(reversed(test)), seed=0)
    assert [w.prompt for w in wishes] != [w.prompt for w in clip_wishes(test, seed=1)]
    seen = clip_wishes(test, 0, training_captions)
    assert all(wish.prompt in known[wish.content, wish.style] for wish in seen)


def test_pairs_differ_in_content_and_come_in_both_kinds() -> None:
    pairs = pair_wishes(clips("test", range(2)), 20, seed=0)
    assert Counter(wish.kind for wish in pairs) == {"queued": 10, "interrupted": 10}
    assert all(wish.then and wish.content != wish.then_content for wish in pairs)


def test_few_shot_wishes_are_the_contents_without_test_recordings() -> None:
    both = [*clips("train", range(2)), *clips("train", (0,), ("backflip",)), *clips("test", (5,))]
    wishes = few_shot_wishes(both, 3, seed=0)
    assert [wish.content for wish in wishes] == ["backflip"] * 3


def test_a_smaller_measurement_keeps_the_shares_of_labels() -> None:
    chosen = evenly(clips("test", range(10)), 12)
    assert Counter(clip.content for clip in chosen) == dict.fromkeys(CONTENTS, 4)
    assert len(evenly(chosen, None)) == 12


# Physics.


def test_real_clips_in_the_place_of_generated_ones_give_ratios_of_one() -> None:
    real = takes(range(3))
    found = plausibility(real, real)
    for name in ("foot_skating_ratio", "jitter_mps3", "length_s"):
        value = found[name]["ratio"]["value"]
        assert value is None or value == 1.0
    assert found["worst_depth_m"]["generated"] < 1e-4


def test_a_sunk_a_shaking_and_a_short_clip_are_seen() -> None:
    take = takes((0,))[0]
    motion = acted(take.content, take.style, 0)
    sunk = Motion(smpl22(), motion.local_rotations, motion.root_position_m - torch.tensor([0.0, 0.03, 0.0]), 30.0)
    shake = motion.root_position_m + 0.01 * torch.randn(64, 3)
    shaking = Motion(smpl22(), motion.local_rotations, shake, 30.0)
    rows = measured([take, swapped(take, sunk), swapped(take, shaking), swapped(take, motion.slice(0, 30))])
    assert rows["worst_depth_m"][1] == pytest.approx(0.03, abs=1e-4)
    assert rows["share_below_floor_2cm"][1] > 0
    assert rows["jitter_mps3"][2] > 10 * rows["jitter_mps3"][0]
    assert rows["length_s"][3] == 1.0


def test_reconstruction_gives_as_many_frames_as_it_was_given() -> None:
    tae = CausalTAE(CausalTAEConfig(hidden_dim=8, latent_dim=4, depth=2)).eval()
    features = takes((0,))[0].features[:37]
    statistics = Statistics(torch.zeros(MOTION272.width), torch.ones(MOTION272.width))
    assert reconstructed(tae, statistics, features).shape == (37, MOTION272.width)


# Transitions.


def pair(name: str, switch_at: int) -> Wish:
    return Wish(name, "walk", "normal", "walks", 0, "bows", "bow", "normal", switch_at)


def test_unbroken_motion_at_a_switch_scores_one_and_a_jump_scores_high() -> None:
    real = [take for take in takes(range(4)) if take.style == "normal"]
    walks = [take for take in real if take.content == "walk"]
    wishes = [pair(str(k), k % 2) for k in range(len(walks))]
    smooth = transitions(real, wishes, walks, [30] * len(walks), seed=0)
    # Bowing joins in the reference; the walk alone is at most as quick.
    assert 0.3 < smooth["matched"]["all"]["median"]["value"] <= 1.2
    jumps = []
    for take in walks:
        motion = acted("walk", take.style, 0)
        root = motion.root_position_m.clone()
        root[30:] += torch.tensor([0.2, 0.0, 0.0])
        jumps.append(swapped(take, Motion(smpl22(), motion.local_rotations, root, 30.0)))
    rough = transitions(real, wishes, jumps, [30] * len(walks), seed=0)
    assert rough["matched"]["all"]["median"]["value"] > 10 * smooth["matched"]["all"]["median"]["value"]
    assert set(rough["matched"]) == {"all", "queued", "interrupted"}


def test_switches_without_a_full_window_are_left_out_and_counted() -> None:
    real = takes((0,))
    found = transitions(real, [pair("a", 0), pair("b", 0), pair("c", 0)], real[:3], [30, 5, 60], seed=0)
    assert found["pairs_left_out"] == 2
    assert found["peak_jerk_mps3"]["generated"]["all"]["median"]["n"] == 1


def test_windows_of_a_clip_and_matched_pieces_are_counted() -> None:
    take = takes((0,))[0]
    assert len(window_peaks(take.joints_m)) == 3
    assert window_peaks(take.joints_m[:29]) == []
    assert len(matched_peaks(takes((0,)), [(("walk", "normal"), ("bow", "tired"))], seed=3)) == 25


# Generation.


def wishes(count: int) -> list[Wish]:
    return [Wish(f"w{k}", "walk", "normal", "walks", k, "waves", "wave-left-hand", "normal", 5) for k in range(count)]


def test_streams_switch_where_they_should_and_stop_soon_after() -> None:
    engine = Engine(tiny_model(), HashEncoder())
    made = act(engine, wishes(3))
    assert [one.switch_frame for one in made] == [20] * 3
    assert all(len(one.features) == 40 for one in made)
    alone = act(engine, wishes(3)[1:2])[0]
    torch.testing.assert_close(made[1].features, alone.features, atol=1e-4, rtol=1e-4)


def test_a_prompt_that_never_ends_is_cut_at_its_limit_and_queued_prompts_follow() -> None:
    engine = Engine(tiny_model(), HashEncoder())
    queued = Wish("q", "walk", "normal", "walks", 0, "waves", "wave-left-hand")
    made = act(engine, [queued])[0]
    assert made.switch_frame == round(15.0 * 30.0 / 4.0) * 4
    assert len(made.features) == made.switch_frame + 20


def test_a_stopped_run_makes_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "PART_SIZE", 2)
    studio = Studio(tmp_path / "model", tmp_path, 1)
    made: list[int] = []

    def made_up(engine: Any, part: Sequence[Wish], options: Any) -> list[Acted]:
        made.append(len(part))
        return [Acted(torch.full((8, 272), float(wish.seed)), 4) for wish in part]

    monkeypatch.setattr(generation, "load_text_to_motion", lambda folder: None)
    monkeypatch.setattr(generation, "Engine", lambda model, mode: None)
    monkeypatch.setattr(generation, "act", made_up)
    first = studio.act(wishes(5), lambda done, total: None)
    assert [float(one.features[0, 0]) for one in first] == [0.0, 1.0, 2.0, 3.0, 4.0]
    sorted(tmp_path.iterdir())[0].write_bytes(b"cut short")
    made.clear()
    seen: list[int] = []
    again = studio.act(wishes(5), lambda done, total: seen.append(done))
    assert len(made) == 1, "only the damaged part was made again"
    assert seen[-1] == 5
    assert all(torch.equal(a.features, b.features) for a, b in zip(first, again, strict=True))


def test_another_model_mode_guidance_or_threshold_makes_clips_anew(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    studio = Studio(folder, tmp_path, 1)
    key = studio._key(wishes(2))
    assert Studio(folder, tmp_path, 1, replace(generation.OPTIONS, guidance=2.0))._key(wishes(2)) != key
    assert Studio(folder, tmp_path, 1, mode="fast")._key(wishes(2)) != key
    save_text_to_motion(folder, replace(load_text_to_motion(folder), stop_threshold=1.0))
    assert studio._key(wishes(2)) != key
    assert studio._key(wishes(3)) != studio._key(wishes(2))


# Targets.


def test_targets_are_met_at_their_bounds_and_missed_beyond() -> None:
    by_name = {target.name: target for target in TARGETS}
    assert by_name["content"].met(0.85)
    assert not by_name["content"].met(0.8499)
    assert by_name["length"].met(1.25)
    assert not by_name["length"].met(0.7)
    assert not by_name["reconstruction"].met(25.1)
    assert by_name["skating"].met(None) is None


# The whole.


def write_data(root: Path) -> Path:
    """A built data set of made-up recordings."""
    for folder in ("motion_data", "texts", "mean_std", "split"):
        (root / folder).mkdir(parents=True)
    everything = [
        *clips("train", range(3)),
        *clips("train", (0,), ("backflip",))[:1],
        *clips("val", (3,)),
        *clips("test", (4, 5)),
    ]
    features = []
    for clip in everything:
        content = clip.content if clip.content in CONTENTS else "bow"
        features.append(motion272_from_motion(acted(content, clip.style, int(clip.name[-1]))))
        np.save(root / "motion_data" / f"{clip.name}.npy", features[-1].numpy())
        (root / "texts" / f"{clip.name}.txt").write_text(f"a person {clip.content}s#a/DET#0.0#0.0\n")
    statistics = Statistics.of(features, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    source = {"licence": "CC0", "citation": "nobody", "recordings": len(everything), "hours": 0.01}
    Manifest({"made-up": source}, {}, tuple(everything)).save(root)
    return root


def write_model(folder: Path) -> Path:
    """An untrained model that reads the packaged sentence encoder."""
    tiny = tiny_model()
    torch.manual_seed(5)
    config = ARDiffusionConfig(
        latent_dim=4,
        text_dim=384,
        hidden_dim=16,
        num_layers=1,
        num_heads=2,
        context_latents=12,
        head_width=16,
        head_layers=1,
        diffusion_steps=2,
    )
    ar = ARDiffusion(config)
    ar.latent_std.fill_(0.01)
    model = TextToMotionModel(tiny.tae, ar, tiny.statistics, torch.full((4,), 9.0), 0.0, "all-MiniLM-L6-v2")
    save_text_to_motion(folder, model)
    return folder


@pytest.mark.slow
def test_the_whole_benchmark_runs_twice_with_equal_bytes_and_fills_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ClassifierConfig", lambda: ClassifierConfig(width=8, epochs=1, draws=12))
    data, model, out = write_data(tmp_path / "data"), write_model(tmp_path / "model"), tmp_path / "results" / "q.json"
    given = ["--data", str(data), "--model", str(model), "-o", str(out), "--pairs", "2", "--few-shot", "1"]
    given += ["--clips", "6", "--processes", "2", "--cache", str(tmp_path / "cache")]
    assert command.main(given) == 0
    first = out.read_bytes()
    assert command.main(given) == 0
    assert out.read_bytes() == first
    assert "MISSED" in capsys.readouterr().out
    results = json.loads(first)
    assert results["targets"] == target_rows(results)
    assert str(tmp_path) not in first.decode()
    assert results["prompts"]["also_training_captions"] == []
    assert results["recognition"]["content"]["real"]["n"] == 6
    assert list(results["few_shot"]["by_content"]) == ["backflip"]

    from scripts.pages import NO_CAUSE, missing_causes
    from scripts.write_model_card import TEMPLATE, card

    text = card(TEMPLATE.read_text(encoding="utf-8"), results, {})
    assert "{{" not in text
    assert text.count(NO_CAUSE) == len(missing_causes(results["targets"], {})) > 0


def test_bad_arguments_are_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "q.json"
    assert command.main(["--data", str(tmp_path), "-o", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert command.main(["--data", str(tmp_path), "-o", str(out), "--pairs", "0"]) == 2
    assert not out.exists()
