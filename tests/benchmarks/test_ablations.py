"""Ablations run end to end on small data and go on where they were; the page of results says what they found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.ablations import studies
from benchmarks.ablations.__main__ import main
from benchmarks.ablations.bench import Bench, Options
from benchmarks.ablations.document import table_json, text_table, update
from benchmarks.ablations.recipes import CAUSAL_TAE, COMPRESSORS, DANCE, TEXT, Variant
from benchmarks.ablations.store import Measured, Store
from benchmarks.ablations.studies import STUDIES
from kinestream.checkpoints import save_model
from kinestream.checkpoints.folder import RVQ_VAE
from kinestream.checkpoints.retrieval import MusicDanceRetrieval, save_retrieval
from kinestream.data.dance.windows import DanceClips
from kinestream.features import MOTION272, Statistics, motion272_from_motion
from kinestream.models.retrieval import RetrievalConfig, RetrievalModel
from kinestream.models.rvq_vae import RVQVAE, RVQVAEConfig
from kinestream.motion import face_forward, ground
from scripts.write_results import PAGE, RESULTS, ablations, estimate, page
from tests.evaluation.conftest import real_data  # noqa: F401
from tests.test_motion import swaying

BY_NAME = {study.name: study for study in STUDIES}
FRAMES = 960


@pytest.fixture(scope="module")
def text_data(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The eight real recordings in all three splits."""
    root = tmp_path_factory.mktemp("text_data")
    for folder in ("motion_data", "texts", "mean_std"):
        (root / folder).symlink_to(real_data / folder, target_is_directory=True)
    (root / "split").mkdir()
    for split in ("train", "val", "test"):
        (root / "split" / f"{split}.txt").write_text((real_data / "split" / "test.txt").read_text())
    return root


@pytest.fixture(scope="module")
def dance_options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Swaying bodies with beats at their own tempo, an untrained tokenizer and an untrained retrieval network."""
    root = tmp_path_factory.mktemp("ablation_dances")
    for folder in ("motion_data", "music", "split", "mean_std"):
        (root / folder).mkdir()
    clips, generator = [], np.random.default_rng(0)
    for split, names in {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}.items():
        (root / "split" / f"{split}.txt").write_text("\n".join(names))
        for number, name in enumerate(names):
            clip = motion272_from_motion(face_forward(ground(swaying(frames=FRAMES if split == "test" else 300))))
            clips.append(clip + 0.01 * torch.from_numpy(generator.standard_normal(clip.shape, dtype=np.float32)))
            np.save(root / "motion_data" / f"{name}.npy", clips[-1].numpy())
            music = generator.standard_normal((len(clip), 3)).astype(np.float32)
            beats = np.arange(0.1, len(clip) / 30.0, 0.5 + 0.1 * number)
            np.savez(root / "music" / f"{name}.npz", features=music, beats_s=beats)
    statistics = Statistics.of(clips, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    torch.manual_seed(1)
    tokenizer = RVQVAE(RVQVAEConfig(hidden_dim=8, code_dim=4, num_codes=8, num_codebooks=2, depth=1)).eval()
    tokenizer.quantizer.codebooks.normal_()
    save_model(
        root / "tokenizer", tokenizer, kind=RVQ_VAE, config=tokenizer.config, statistics=statistics,
        layout=MOTION272.name, provenance={},
    )  # fmt: skip
    train = DanceClips.load([root], "train")
    network = RetrievalModel(
        RetrievalConfig(music_dim=3, dance_dim=272, embedding_dim=8, num_heads=2, mlp_dim=8, num_layers=1, dropout=0.0)
    ).eval()
    save_retrieval(root / "retrieval", MusicDanceRetrieval(network, train.statistics, train.music_statistics(), 48))
    return Options(
        root / "runs", dance_data=root, tokenizer=root / "tokenizer", retrieval=root / "retrieval", steps=1, repeats=1
    )


def small(monkeypatch: pytest.MonkeyPatch, name: str, recipe: Any, *more: str) -> None:
    """A recipe with tiny networks."""
    tiny = dataclasses.replace(recipe, overrides=(*recipe.overrides, *more))
    monkeypatch.setattr(f"benchmarks.ablations.bench.{name}", tiny)


@pytest.mark.slow
def test_text_tables_come_with_budget_and_intervals_and_are_not_run_twice(
    text_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(monkeypatch, "TEXT", TEXT, "model.hidden_dim=16", "model.head_width=16", "model.num_layers=1")
    for name in ("COMPRESSORS", "GENERATED_ON"):
        monkeypatch.setattr(studies, name, (COMPRESSORS[0], CAUSAL_TAE))
    monkeypatch.setattr(studies, "AR_DESIGN", studies.AR_DESIGN[1:5])
    arguments = [
        "compressors", "latents", "ar-design", "--data", str(text_data), "-o", str(tmp_path / "runs"), "--json",
        str(tmp_path / "out.json"), "--steps", "1", "--samples", "4", "--recordings", "8",
    ]  # fmt: skip
    assert main(arguments) == 0
    first = json.loads((tmp_path / "out.json").read_text())
    compressors, latents, design = first["tables"]
    assert compressors["budget"]["steps"] == 1
    assert [row["name"] for row in compressors["rows"]] == ["Real motion", COMPRESSORS[0].says, CAUSAL_TAE.says]
    error = compressors["rows"][1]["figures"]["mpjpe_mm"]
    assert error["low"] <= error["value"] <= error["high"]
    assert set(compressors["rows"][1]["difference_to_base"]) == {"mpjpe_mm", "reconstruction_jitter_mps3"}
    assert "mm_distance" in latents["rows"][1]["difference_to_base"]
    assert len(design["rows"]) == 5
    assert ["noise_error" in row["figures"] for row in design["rows"]] == [False, True, False, True, True]
    assert all(row["figures"]["r_precision_3"]["value"] >= 0 for row in design["rows"])
    monkeypatch.setattr("benchmarks.ablations.training.run", pytest.fail)
    monkeypatch.setattr("benchmarks.ablations.compressors.run", pytest.fail)
    assert main(arguments) == 0
    again = json.loads((tmp_path / "out.json").read_text())
    assert [table["rows"] for table in again["tables"]] == [table["rows"] for table in first["tables"]]
    assert "Table 4" in capsys.readouterr().out


@pytest.mark.slow
def test_dance_tables_train_measure_and_compare(dance_options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    small(
        monkeypatch, "DANCE", DANCE, "model.hidden_dim=16", "model.head_dim=4", "model.mlp_dim=16",
        "model.genre_dim=4", "model.num_references=2", "loop.batch_size=2",
    )  # fmt: skip
    monkeypatch.setattr(studies, "DANCE_COMPONENTS", studies.DANCE_COMPONENTS[:1])
    monkeypatch.setattr(studies, "RANKS", (5,))
    monkeypatch.setattr(studies.dances, "LONG_WINDOWS", ((0, 240), (480, 720)))
    rows = [f"{kind}, {seconds}" for seconds in ("0 to 16 s", "16 to 32 s") for kind in ("generated", "real")]
    monkeypatch.setattr(studies.dances, "LONG_ROWS", rows)
    bench = Bench(dance_options)
    tables = {
        name: table_json(BY_NAME[name], BY_NAME[name].measure(bench))
        for name in ("dance-components", "ranks", "copying", "long-dances")
    }
    assert tables["dance-components"]["rows"][0]["name"] == "Real dances"
    assert {"code_loss", "fid_k", "bas", "bas_gain", "foot_skating_ratio"} <= set(
        tables["dance-components"]["rows"][1]["figures"]
    )
    assert [row["name"] for row in tables["ranks"]["rows"]][1:] == ["ranks 6 to 7", "no references"]
    apart = {row["name"]: row["figures"]["kinetic"]["value"] for row in tables["copying"]["rows"]}
    assert apart["generated to all real"] > 0
    assert len(tables["long-dances"]["rows"]) == 4
    assert tables["ranks"]["budget"]["test_windows"] == 2 * FRAMES // 240


def test_first_frame_waits_for_all_latents_only_without_a_causal_decoder(tmp_path: Path) -> None:
    bench = Bench(Options(tmp_path, lengths=(8, 32)))
    table = BY_NAME["latency"].measure(bench)
    short, long = (row for _, row in table.rows)
    assert min(long.sets["whole_s"]) > 2.0 * min(long.sets["causal_s"])
    assert min(long.sets["whole_s"]) > min(short.sets["whole_s"])


def test_a_finished_variant_is_not_run_again_and_other_settings_begin_anew(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), list[Path]()

    def measure(folder: Path) -> Measured:
        calls.append(folder)
        (folder / "weights").touch()
        return Measured({"error": [1.0, 2.0]}, {"fid": [3.0]})

    first = store.measured("one", {"steps": 1}, measure)
    assert store.measured("one", {"steps": 1}, measure) == first
    assert len(calls) == 1
    (tmp_path / "one" / "weights").rename(tmp_path / "one" / "old")
    store.measured("one", {"steps": 2}, measure)
    assert len(calls) == 2
    assert not (tmp_path / "one" / "old").exists()


def test_differences_are_paired_and_only_those_beyond_noise_are_marked(tmp_path: Path) -> None:
    base = Measured({"mpjpe_mm": [10.0, 20.0, 30.0, 40.0]}, {"reconstruction_fid": [1.0]})
    worse = Measured({"mpjpe_mm": [11.0, 21.1, 31.0, 41.2]}, {"reconstruction_fid": [2.0]})
    alike = Measured({"mpjpe_mm": [10.1, 19.9, 30.1, 39.9]})
    rows = [("base", base), ("worse", worse), ("alike", alike)]
    table = studies.Table(rows, ("mpjpe_mm", "reconstruction_fid"), "base", {"steps": 3}, {})
    found = table_json(BY_NAME["root-loss"], table)
    assert [row["difference_to_base"].get("mpjpe_mm", {}).get("beyond_noise") for row in found["rows"]] == [
        None, True, False,
    ]  # fmt: skip
    assert found["rows"][1]["figures"]["reconstruction_fid"] == {"value": 2.0, "low": None, "high": None, "count": 1}
    text = text_table(found)
    assert [line.count("*") for line in text.splitlines()] == [0, 0, 0, 1, 0]
    update(tmp_path / "out.json", [found], list(BY_NAME))
    update(tmp_path / "out.json", [found | {"name": "compressors"}], list(BY_NAME))
    document = json.loads((tmp_path / "out.json").read_text())
    assert [one["name"] for one in document["tables"]] == ["compressors", "root-loss"]
    section = ablations(document, "out.json")
    assert "**base**" in section
    assert section.count("\\*") == 2
    assert "steps 3" in section


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tables"], "no table tables"),
        ([], "nothing to run"),
        (["compressors"], "--data"),
        (["ranks"], "--tokenizer"),
        (["latency", "--repeats", "0"], "--repeats"),
        (["latency", "--steps", "0"], "--steps"),
    ],
)
def test_what_is_missing_is_named(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "-o", str(tmp_path / "runs"), "--json", str(tmp_path / "out.json")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_every_variant_can_be_configured() -> None:
    for recipe, variants in (
        (TEXT, studies.AR_DESIGN),
        (DANCE, (*studies.DANCE_COMPONENTS, *studies.BANDS)),
        *((studies.compressors.recipe_of(one), (one,)) for one in (*studies.COMPRESSORS, *studies.ROOT_WEIGHTS)),
    ):
        for variant in variants:
            assert recipe.load(("somewhere",), variant, None, 3).loop.steps == recipe.steps
    assert TEXT.load(("a",), Variant("x", "y", ("loop.seed=7",)), 5, 3).loop.seed == 7


def test_figures_read_as_they_were_measured() -> None:
    assert estimate({"value": 19.34, "low": 18.55, "high": 20.2}, "mm") == "19.3 ± 0.8 mm"
    assert estimate({"value": 93.4, "low": 53.4, "high": 133.4}) == "93.4 ± 40"
    assert estimate({"value": 0.5, "low": None, "high": None}) == "0.5"
    assert estimate(None) == "-"


def test_the_page_of_results_and_its_files_agree() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS), "run python -m scripts.write_results"
