"""Metrics of many clips at once against their definitions, written as one reads them: one value after another."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.metrics_speed import clips
from kinestream.metrics import batches, jitter_mps3, kinetic_features, mean_pairwise_distance, r_precision

FPS = 30.0
Array = NDArray[np.float64]


def plain_kinetic(clip: Array) -> list[float]:
    """Kinetic features of one clip, written as their definition reads."""
    frames, joints, _ = clip.shape
    found = []
    for joint in range(joints):
        flat = upward = spent = 0.0
        for i in range(1, frames):
            steps = [clip[k, joint] - clip[k - 1, joint] for k in range(i - 2, i + 3) if 1 <= k < frames]
            velocity = np.mean(steps, axis=0) * FPS
            flat += velocity[0] ** 2 + velocity[2] ** 2
            upward += velocity[1] ** 2
            turns = [
                clip[k + 1, joint] - 2 * clip[k, joint] + clip[k - 1, joint]
                for k in range(i - 2, i + 3)
                if 1 <= k < frames - 1
            ]
            spent += float(np.linalg.norm(np.mean(turns, axis=0) * FPS**2))
        found += [flat / (frames - 1), upward / (frames - 1), spent / (frames - 1)]
    return found


def plain_jitter(clip: Array) -> float:
    """Jitter of one clip, frame by frame and joint by joint."""
    jerks = [
        np.linalg.norm(clip[t + 3, j] - 3 * clip[t + 2, j] + 3 * clip[t + 1, j] - clip[t, j]) * FPS**3
        for t in range(len(clip) - 3)
        for j in range(clip.shape[1])
    ]
    return float(np.mean(jerks))


def plain_pairwise(rows: Array) -> float:
    """Mean distance over pairs, one pair after another."""
    return float(np.mean([np.linalg.norm(a - b) for k, a in enumerate(rows) for b in rows[k + 1 :]]))


def plain_precision(text: Array, motion: Array) -> float:
    """R-Precision top 1, one pair after another."""
    hits = []
    for rows in batches(len(text)).tolist():
        for row in rows:
            nearest = min(rows, key=lambda other: float(np.linalg.norm(text[row] - motion[other])))
            hits.append(nearest == row)
    return float(np.mean(hits))


def test_dance_features_and_jitter_are_the_means_that_their_definitions_say() -> None:
    joints = clips(2, 34).double()
    torch.testing.assert_close(
        torch.tensor([plain_kinetic(clip.numpy()) for clip in joints]).double(), kinetic_features(joints, FPS)
    )
    torch.testing.assert_close(
        torch.tensor([plain_jitter(clip.numpy()) for clip in joints]).double(), jitter_mps3(joints, FPS)
    )


def test_distances_and_ranks_are_those_of_one_pair_after_another() -> None:
    text, noise = torch.randn(2, 48, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    motion = text + noise
    assert abs(plain_precision(text.numpy(), motion.numpy()) - float(r_precision(text, motion)[0])) < 1e-9
    torch.testing.assert_close(
        torch.tensor(plain_pairwise(motion.numpy())).double(), mean_pairwise_distance(motion), rtol=1e-5, atol=1e-5
    )
