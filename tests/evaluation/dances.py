"""A small dance set of real motion and real songs, and an untrained dance model with its library, made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kinestream.checkpoints import save_music_to_dance
from kinestream.checkpoints.retrieval import MusicDanceRetrieval
from kinestream.conditioning.music import MusicFeatures, music_features
from kinestream.data.dance.windows import DanceClips
from kinestream.data.manifest import Clip, Manifest
from kinestream.features import MOTION272, Statistics
from kinestream.models.retrieval import RetrievalConfig, RetrievalModel
from kinestream.streaming.dance.references import build_library, save_library
from tests.support.tiny_dance import click_track, tiny_dance_model

FRAMES = 288
# Name, split, genre, tempo of its drum (None: no music).
DANCES: Sequence[tuple[str, str, str, float | None]] = (
    ("one", "test", "waltz", 87.0),
    ("two", "test", "waltz", 120.0),
    ("three", "test", "rumba", 101.0),
    ("four", "test", "tango", 140.0),
    ("silent", "test", "waltz", None),
    ("learned", "train", "waltz", 110.0),
    ("kept", "val", "rumba", 95.0),
)


def write_dances(root: Path, features: torch.Tensor, first_song: MusicFeatures) -> Path:
    """Parts of `features` [T, 272] as dances, each to its own drum, the first to `first_song`."""
    for folder in ("motion_data", "music", "split", "mean_std"):
        (root / folder).mkdir(parents=True)
    clips, splits = [], dict[str, list[str]]()
    hop = (len(features) - FRAMES) // (len(DANCES) - 1)
    for number, (name, split, genre, tempo) in enumerate(DANCES):
        np.save(root / "motion_data" / f"{name}.npy", features[number * hop :][:FRAMES].numpy())
        splits.setdefault(split, []).append(name)
        if tempo is not None:
            heard = first_song if number == 0 else music_features(click_track(FRAMES / 30.0, tempo))
            np.savez(
                root / "music" / f"{name}.npz",
                features=heard.values[:FRAMES].numpy(),
                beats_s=heard.beats.times_s,
                downbeats_s=heard.beats.downbeats_s,
                tempo_bpm=heard.beats.tempo_bpm,
            )
        song = f"song of {name}" if tempo is not None else ""
        clips.append(Clip(name, "drums", genre, "", genre, "", name, name, split, FRAMES, 0, False, "0" * 64, song,
                          tempo is not None))  # fmt: skip
    for split, names in splits.items():
        (root / "split" / f"{split}.txt").write_text("\n".join(names))
    statistics = Statistics.of([features], MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    Manifest({"drums": {"licence": "made up", "citation": "nobody"}}, {}, tuple(clips)).save(root)
    return root


def write_dance_model(folder: Path, data: Path, *, library: bool = True) -> Path:
    """A tiny random model that moves about a standing pose, with the training dance as its library."""
    model = tiny_dance_model()
    save_music_to_dance(folder, model)
    if library:
        config = RetrievalConfig(
            music_dim=44, dance_dim=272, max_frames=48, embedding_dim=8, num_heads=2, mlp_dim=8, num_layers=1
        )
        torch.manual_seed(1)
        network = RetrievalModel(config).eval()
        retrieval = MusicDanceRetrieval(network, model.statistics, Statistics(torch.zeros(44), torch.ones(44)), 48)
        save_library(folder, retrieval, build_library(model, retrieval, DanceClips.load([data], "train")))
    return folder
