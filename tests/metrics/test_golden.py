"""Agreement with the authors' published code on fixed inputs, to one part in ten thousand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinestream.metrics import (
    batches,
    beat_alignment,
    diversity,
    feature_scores,
    frechet_distance,
    geometric_features,
    kinetic_features,
    mean_pairwise_distance,
    motion_beats,
    multimodal_distance,
    multimodality,
    published_pose,
    r_precision,
    standardized,
)

FPS = 30.0
Arrays = dict[str, Tensor]


def arrays(path: Path) -> Arrays:
    if not path.is_file():
        pytest.skip(f"needs the authors' numbers: {path.name} is missing")
    with np.load(path) as found:
        return {name: torch.from_numpy(np.asarray(found[name])) for name in found.files}


@pytest.fixture(scope="module")
def motionstreamer(golden_dir: Path) -> Arrays:
    return arrays(golden_dir / "metrics_motionstreamer.npz")


@pytest.fixture(scope="module")
def infinitedance(golden_dir: Path) -> Arrays:
    return arrays(golden_dir / "metrics_infinitedance.npz")


def agrees(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-4, atol=1e-6)


def test_fid_matching_and_diversity_agree_with_motionstreamer(motionstreamer: Arrays) -> None:
    text, real, generated = (motionstreamer[name] for name in ("text", "gt", "pred"))
    agrees(frechet_distance(generated, real), motionstreamer["fid"])
    agrees(r_precision(text, generated), motionstreamer["r_precision_pred"])
    agrees(r_precision(text, real), motionstreamer["r_precision_gt"])
    agrees(multimodal_distance(text, generated), motionstreamer["matching_pred"])
    agrees(multimodal_distance(text, real), motionstreamer["matching_gt"])
    pairs = motionstreamer["div_first_idx"], motionstreamer["div_second_idx"]
    agrees(diversity(generated, pairs), motionstreamer["diversity_pred"])
    pairs = motionstreamer["mm_first_idx"], motionstreamer["mm_second_idx"]
    agrees(multimodality(motionstreamer["mm_act"], pairs), motionstreamer["multimodality"])


def test_tmr_metrics_are_the_same_functions_on_unit_vectors_in_shuffled_batches(motionstreamer: Arrays) -> None:
    order = motionstreamer["tmr_perm"]
    text, real, generated = (
        torch.nn.functional.normalize(motionstreamer[name], dim=-1)[order] for name in ("text", "gt", "pred")
    )
    for rows, prefix in ((generated, "tmr_TMR_"), (real, "tmr_TMR_gt_")):
        theirs = torch.stack([motionstreamer[f"{prefix}R_precision_top_{k}"] for k in (1, 2, 3)])
        agrees(r_precision(text, rows), theirs)
        agrees(multimodal_distance(text, rows), motionstreamer[f"{prefix}Matching_score"])


def test_consecutive_batches_agree_with_motionstreamers_distances(motionstreamer: Arrays) -> None:
    rows = batches(320)[0]
    distances = torch.cdist(motionstreamer["text"][rows], motionstreamer["pred"][rows])
    agrees(distances, motionstreamer["dist_matrix_first32"])


@pytest.mark.parametrize("number", range(3))
def test_dance_features_agree_with_infinitedance(number: int, infinitedance: Arrays) -> None:
    joints = infinitedance[f"joints24_{number}"]
    for count in (22, 24):
        body = joints[:, :count]
        agrees(kinetic_features(body, FPS, compat=True), infinitedance[f"kinetic{count}_raw_{number}"])
        agrees(geometric_features(body, FPS, compat=True), infinitedance[f"manual{count}_raw_{number}"])
    prepared = published_pose(joints[:, :22])
    agrees(kinetic_features(prepared, FPS, compat=True), infinitedance[f"kinetic_pipeline_{number}"])
    agrees(geometric_features(prepared, FPS, compat=True), infinitedance[f"manual_pipeline_{number}"])


@pytest.mark.parametrize("number", range(3))
def test_beats_agree_with_infinitedance(number: int, infinitedance: Arrays) -> None:
    body = motion_beats(infinitedance[f"joints24_{number}"][:, :22], FPS, compat=True)
    assert (body * FPS).round().long().tolist() == infinitedance[f"motion_beats_{number}"].tolist()
    agrees(beat_alignment(body, infinitedance[f"music_beats_{number}"] / FPS), infinitedance[f"ba_{number}"])


def test_the_score_of_a_folder_agrees_with_infinitedance(infinitedance: Arrays) -> None:
    scores = []
    for number in range(3):
        joints = infinitedance[f"joints24_{number}"][:, :22]
        music = infinitedance[f"song_beat_frames_{number}"]
        music = music[music < len(joints) - 1] / FPS
        scores.append(beat_alignment(motion_beats(joints, FPS, compat=True), music))
    agrees(torch.stack(scores).mean(), infinitedance["ba_score_dir"])


@pytest.mark.parametrize("compat", [False, True])
def test_fid_and_diversity_of_dances_agree_with_infinitedance(compat: bool, infinitedance: Arrays) -> None:
    for kind in ("k", "m"):
        generated, real = infinitedance[f"pred_{kind}"], infinitedance[f"gt_{kind}"]
        scores = feature_scores(generated, real, compat=compat)
        agrees(scores.fid, infinitedance[f"fid_{kind}"])
        agrees(scores.diversity, infinitedance[f"div_{kind}"])
    agrees(frechet_distance(infinitedance["pred_m"], infinitedance["gt_m"]), infinitedance["fid_unnormalised_m"])
    assert standardized(infinitedance["gt_k"], infinitedance["gt_k"]).mean().abs() < 1e-6
    agrees(mean_pairwise_distance(infinitedance["pred_m"][:40]), infinitedance["diversity_calc"])
