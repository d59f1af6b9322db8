"""The retrieval recipe learns, reports recall beside chance, and leaves a network with an index that belongs to it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.retrieval_recall import main
from kinestream.checkpoints.infinitedance import import_infinitedance_retrieval
from kinestream.checkpoints.retrieval import load_retrieval, save_retrieval
from kinestream.checkpoints.retrieval_inputs import RetrievalInputs
from kinestream.conditioning.music import MUSIC_SLICES, MUSIC_WIDTH
from kinestream.data.dance.reference_index import ReferenceIndex
from kinestream.data.dance.windows import DanceClips
from kinestream.data.manifest import Clip, Manifest
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics
from kinestream.training.dance.retrieval import (
    INDEX_NAME,
    RetrievalTask,
    RetrievalTaskConfig,
    held_out_recall,
    train_retrieval,
)

pytest.importorskip("faiss", reason="needs the extra `dance`: faiss-cpu")


def write_dances(root: Path) -> Path:
    """Twelve "dances" whose features follow those of their music."""
    for folder in ("motion_data", "music", "split", "mean_std"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((6, MOTION272.width)).astype(np.float32)
    names = {"train": [f"t{k}" for k in range(9)], "val": ["v0", "v1", "v2"]}
    for split, members in names.items():
        (root / "split" / f"{split}.txt").write_text("\n".join(members))
        for name in members:
            steady = rng.standard_normal((1, 6)) + 0.2 * rng.standard_normal((90, 6))
            music = steady.astype(np.float32)
            np.savez(root / "music" / f"{name}.npz", features=music)
            np.save(root / "motion_data" / f"{name}.npy", music @ mixing)
    frames = [torch.from_numpy(np.load(root / "motion_data" / f"{name}.npy")) for name in names["train"]]
    statistics = Statistics.of(frames, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    return root


@pytest.fixture(scope="module")
def dances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dances(tmp_path_factory.mktemp("dances") / "set")


def config_text(data: Path, steps: int = 40) -> str:
    return (
        f'data = ["{data}"]\n[model]\nmax_frames = 40\nembedding_dim = 16\nnum_heads = 2\nmlp_dim = 32\n'
        "num_layers = 1\ndropout = 0.0\n[task]\nwindow_frames = 30\nshortest_share = 0.5\nnoise = 0.05\n"
        f"reference_hop = 15\n[loop]\nsteps = {steps}\nbatch_size = 16\nlearning_rate = 5e-3\nwarmup_steps = 3\n"
        'log_every = 5\nvalidate_every = 100\nema_decay = 0.8\nprecision = "fp32"\n'
    )


@pytest.fixture(scope="module")
def trained(dances: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    (folder / "c.toml").write_text(config_text(dances))
    train_retrieval(folder / "c.toml", folder / "out")
    return folder / "out"


def test_it_learns_and_reports_recall_beside_chance(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    losses = [line["total"] for line in lines if "total" in line]
    assert losses[-1] < 0.6 * losses[0]
    (report,) = [line for line in lines if "val/chance@1" in line]
    assert report["val/chance@1"] == pytest.approx(1 / 9, abs=1e-4)
    assert report["val/music_to_dance_recall@5"] > report["val/chance@5"]
    provenance = load_retrieval(trained / "model").provenance
    assert provenance["recall_val"]["dance_to_music"]["windows"] == 9


def test_the_index_belongs_to_its_network_and_finds_dances_of_the_music(trained: Path, dances: Path) -> None:
    retrieval = load_retrieval(trained / "model")
    index = ReferenceIndex.load(trained / INDEX_NAME, retrieval.fingerprint)
    clips = DanceClips.load([dances], "train")
    assert len(index) == 9 * 5
    music = [clips.music(place, 10, 40) for place in range(9)]
    own = [clip.recording for clip in clips.clips]
    hits = [m[0].window.recording for m in retrieval.search(index, music, 3)]
    assert sum(hit == recording for hit, recording in zip(hits, own, strict=True)) >= 5
    for recording, matches in zip(own, retrieval.search(index, music, 3, without=own), strict=True):
        assert recording not in {match.window.recording for match in matches}


def test_a_stale_index_is_refused(trained: Path, dances: Path) -> None:
    retrieval = load_retrieval(trained / "model")
    index = ReferenceIndex.load(trained / INDEX_NAME)
    with torch.no_grad():
        retrieval.model.music_encoder.input.weight[0, 0] += 1e-3
    music = DanceClips.load([dances], "train").music(0, 0, 30)
    with pytest.raises(BadInputError, match="build it again"):
        retrieval.search(index, [music], 1)


def test_a_saved_network_gives_the_same_embeddings(trained: Path, dances: Path, tmp_path: Path) -> None:
    retrieval = load_retrieval(trained / "model")
    save_retrieval(tmp_path / "copy", retrieval)
    copy = load_retrieval(tmp_path / "copy")
    clips = DanceClips.load([dances], "val")
    windows = [clips.dance(0, 0, 30), clips.dance(1, 5, 20)]
    assert torch.equal(copy.embed_dance(windows), retrieval.embed_dance(windows))
    assert copy.fingerprint == retrieval.fingerprint
    assert held_out_recall(copy, clips) == held_out_recall(retrieval, clips)


def test_the_released_network_is_imported(golden_dir: Path, tmp_path: Path) -> None:
    tensors = load_file(golden_dir / "retrieval_tiny.safetensors")
    # Beside the weights stand settings, objects of a library that need not be here.
    lightning = {
        "state_dict": {f"model.{name}": value for name, value in tensors.items()},
        "epoch": 3,
        "hyper_parameters": argparse.Namespace(width=64),
    }
    torch.save(lightning, tmp_path / "last.ckpt")
    import_infinitedance_retrieval(tmp_path / "last.ckpt", tmp_path / "model")
    retrieval = load_retrieval(tmp_path / "model")
    assert (retrieval.layout, retrieval.window_frames) == ("humanml264", 64)
    with np.load(golden_dir / "retrieval_tiny.npz") as arrays:
        golden = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for got, expected in (
        (retrieval.embed_music(list(golden["music55"])), golden["music_emb"]),
        (retrieval.embed_dance(list(golden["motion264"])), golden["motion_emb"]),
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_an_incomplete_release_is_refused(golden_dir: Path, tmp_path: Path) -> None:
    tensors = load_file(golden_dir / "retrieval_tiny.safetensors")
    del tensors["cond_encoder.proj_out.bias"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(BadInputError, match=r"1 missing \(such as cond_encoder.proj_out.bias\)"):
        import_infinitedance_retrieval(tmp_path / "cut.safetensors", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_has_no_music_is_listed_and_its_absence_named(dances: Path, tmp_path: Path) -> None:
    root = write_dances(tmp_path / "set")
    (root / "music" / "v1.npz").unlink()
    np.savez(root / "music" / "v2.npz", features=np.zeros((40, 6), np.float32))
    clips = DanceClips.load([root], "val")
    assert [clip.name for clip in clips.clips] == ["v0"]
    assert [(r.name, r.reason) for r in clips.rejects] == [
        ("v1", "it has no music"),
        ("v2", "90 frames of motion but 40 of music"),
    ]
    with pytest.raises(BadInputError, match="no dance with music of at least 500 frames"):
        DanceClips.load([dances], "val", min_frames=500)


def test_bad_windows_are_refused(trained: Path) -> None:
    retrieval = load_retrieval(trained / "model")
    with pytest.raises(BadInputError, match=r"window 1: expected music features \[1 to 40 frames, 6\]"):
        retrieval.embed_music([torch.zeros(10, 6), torch.zeros(41, 6)])
    with pytest.raises(BadInputError, match="NaN"):
        retrieval.embed_dance([torch.full((10, 272), float("nan"))])


def test_settings_that_make_no_sense_are_refused(dances: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(config_text(dances))
    with pytest.raises(BadInputError, match="more than \\[model\\] max_frames 40"):
        train_retrieval(tmp_path / "c.toml", tmp_path / "out", overrides=["task.window_frames=60"])
    with pytest.raises(BadInputError, match="own_recording"):
        train_retrieval(tmp_path / "c.toml", tmp_path / "out", overrides=["task.own_recording=maybe"])


def pulse_overrides(data: Path) -> list[str]:
    return [
        f'data=["{data}"]', "loop.steps=3", "loop.save_every=3", "task.window_frames=60", "model.max_frames=60",
        'task.music=["downbeat", "onset_strength", "loudness"]', "task.dance=pulse", "task.own_recording=negative",
        "task.stretch=0.3", "task.gain=0.2", "task.feature_drop=0.2", "model.frames_per_token=3",
        "model.local_layers=1", "model.timeline_dim=4", "model.summary_share=0.3",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def mirrored_dances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings with their mirror images and kinestream's 44 music features."""
    root = tmp_path_factory.mktemp("mirrored") / "set"
    for folder in ("motion_data", "music", "split", "mean_std"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(1)
    names = [f"{side}{k}" for k in range(4) for side in ("", "M_")]
    for name in names:
        np.save(root / "motion_data" / f"{name}.npy", rng.standard_normal((130, 272)).astype(np.float32))
        music = np.random.default_rng(int(name[-1])).standard_normal((132, MUSIC_WIDTH)).astype(np.float32)
        np.savez(root / "music" / f"{name}.npz", features=music)
    (root / "split" / "train.txt").write_text("\n".join(names[:4]))
    (root / "split" / "val.txt").write_text("\n".join(names[4:]))
    np.save(root / "mean_std" / "Mean.npy", np.zeros(272, np.float32))
    np.save(root / "mean_std" / "Std.npy", np.ones(272, np.float32))
    clips = tuple(
        Clip(
            name=name,
            source="made",
            content="waltz",
            style="standard",
            source_content="waltz",
            source_style="standard",
            recording=f"rec{name[-1]}",
            recording_id=name[-1],
            split="train" if place < 4 else "val",
            frames=130,
            captions=0,
            mirrored=name.startswith("M_"),
            sha256="",
        )
        for place, name in enumerate(names)
    )
    Manifest({}, {}, clips).save(root)
    return root


@pytest.fixture(scope="module")
def pulse_network(mirrored_dances: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pulse")
    (folder / "c.toml").write_text(config_text(mirrored_dances))
    train_retrieval(folder / "c.toml", folder / "out", overrides=pulse_overrides(mirrored_dances))
    return folder / "out"


def test_a_network_of_rhythm_alone_takes_whole_features(pulse_network: Path, mirrored_dances: Path) -> None:
    retrieval = load_retrieval(pulse_network / "model")
    assert retrieval.inputs == RetrievalInputs(("downbeat", "onset_strength", "loudness"), "pulse")
    clips = DanceClips.load([mirrored_dances], "val")
    music, dance = clips.music(0, 0, 50), clips.dance(0, 0, 50)
    (embedding,) = retrieval.embed_music([music])
    changed = music.clone()
    changed[:, MUSIC_SLICES["chroma"]] = 5.0
    assert torch.equal(retrieval.embed_music([changed])[0], embedding)
    assert embedding.shape == retrieval.embed_dance([dance])[0].shape == (retrieval.model.config.embedding_width,)
    with pytest.raises(BadInputError, match=r"window 0: expected music features \[1 to 60 frames, 44\]"):
        retrieval.embed_music([music[:, :3]])
    index = ReferenceIndex.load(pulse_network / INDEX_NAME, retrieval.fingerprint)
    assert len(retrieval.search(index, [music], 2)[0]) == 2


def test_mirror_images_are_no_further_answers(pulse_network: Path, mirrored_dances: Path) -> None:
    retrieval = load_retrieval(pulse_network / "model")
    found = held_out_recall(retrieval, DanceClips.load([mirrored_dances], "val"))
    assert found["music_to_dance"].windows == 4
    assert found["music_to_dance"].chance[1] == pytest.approx(1 / 4)


def test_stretched_windows_show_music_and_dance_of_the_same_frames(mirrored_dances: Path) -> None:
    config = RetrievalTaskConfig(window_frames=60, stretch=0.3)
    task = RetrievalTask({"max_frames": 60}, config, [str(mirrored_dances)], seed=0)
    task._music = [torch.arange(130.0)[:, None] for _ in task._music]
    task._pulse = task._music
    batch = task.batch(32, np.random.default_rng(0))
    assert torch.equal(batch["music"], batch["dance"])
    speeds = (batch["music"][:, -1, 0] - batch["music"][:, 0, 0]) / 59
    assert 0.75 < float(speeds.min()) < 0.9
    assert 1.1 < float(speeds.max()) < 1.31


def test_the_benchmark_prints_recall_beside_chance(
    trained: Path, dances: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trained / "model"), str(dances), "--split", "val"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["songs"] == 3
    assert found["music_to_dance"]["chance"]["1"] == pytest.approx(1 / 9)
    assert main([str(trained / "model"), str(dances), "--split", "val", "--frames", "15"]) == 0
    assert json.loads(capsys.readouterr().out)["music_to_dance"]["windows"] == 18
    assert main([str(trained / "model"), str(dances / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
