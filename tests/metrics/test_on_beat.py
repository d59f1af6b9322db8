"""Late steps come to their beats, slowly and within bounds."""

from __future__ import annotations

import pytest
import torch

from kinestream.metrics.beats import step_beats
from kinestream.metrics.on_beat import on_beat_times

FPS = 30.0


def stepping(frames: int, period: int) -> torch.Tensor:
    """Joints [T, 22, 3] that all go forward in steps, one every `period` frames."""
    phase = 2 * torch.pi * torch.arange(frames) / period
    forward = (phase - torch.sin(phase)) * 0.1
    joints = torch.zeros(frames, 22, 3)
    joints[..., 2] = forward[:, None]
    return joints


def read_at(joints: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    where = read * FPS
    low = where.floor().long().clamp(max=len(joints) - 2)
    share = (where - low)[:, None, None]
    return joints[low] * (1 - share) + joints[low + 1] * share


def test_late_steps_come_onto_the_beat() -> None:
    joints = stepping(450, 20)
    beats = step_beats(joints, FPS) - 0.1 + 0.04 * torch.sin(torch.arange(len(step_beats(joints, FPS))) / 4)
    read = on_beat_times(joints, FPS, beats)
    rates = read.diff() * FPS
    assert float(rates[5:-5].min()) > 0.79
    assert float(rates.max()) < 1.26
    moved = step_beats(read_at(joints, read), FPS)
    late = (moved[:, None] - beats).abs().amin(dim=1)
    assert float(late[1:-1].mean()) < 0.03


def test_without_beats_near_the_steps_the_clock_stays() -> None:
    joints = stepping(200, 40)
    still = torch.arange(200, dtype=torch.float64) / FPS
    assert torch.equal(on_beat_times(joints, FPS, torch.zeros(0)), still)
    assert torch.equal(on_beat_times(joints, FPS, step_beats(joints, FPS) + 0.6), still)


def test_pieces_keep_their_ends_and_their_pace() -> None:
    joints = stepping(120, 20)
    beats = step_beats(joints, FPS) - 0.1
    read = on_beat_times(joints, FPS, beats, ends_stay=True)
    assert float(read[0]) == 0.0
    assert float(read[-1]) == pytest.approx(119 / FPS, abs=1e-9)
    rates = read.diff() * FPS
    assert float(rates.min()) > 0.799
    assert float(rates.max()) < 1.251
    moved = step_beats(read_at(joints, read), FPS)
    before, after = ((steps[:, None] - beats).abs().amin(dim=1).mean() for steps in (step_beats(joints, FPS), moved))
    assert float(after) < 0.6 * float(before)
    short = torch.arange(3, dtype=torch.float64) / FPS
    assert torch.equal(on_beat_times(joints[:3], FPS, beats, ends_stay=True), short)
