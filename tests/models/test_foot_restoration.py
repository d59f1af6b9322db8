"""The foot denoiser keeps the upper body, its loss is the paper's equations, and guidance does what it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.features import HUMANML259, Statistics, humanml259_from_motion
from kinestream.features.humanml import positions_from_humanml
from kinestream.features.humanml_legs import ANKLES, leg_columns
from kinestream.models.foot_restoration import (
    ContactThresholds,
    FootRestoration,
    FootRestorationConfig,
    Guidance,
    feet_in_contact,
    foot_restoration_loss,
    restore_features,
)
from kinestream.models.foot_restoration.integration import anchored_sum
from kinestream.models.foot_restoration.loss import FEET
from kinestream.models.foot_restoration.sampling import Windows
from tests.io.walking import walking

TINY = FootRestorationConfig(
    hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, dropout=0.0, noise_steps=50, window_frames=24
)


@pytest.fixture(scope="module")
def walk() -> Tensor:
    return humanml259_from_motion(walking(81))


@pytest.fixture(scope="module")
def statistics(walk: Tensor) -> Statistics:
    return Statistics.of([walk], HUMANML259)


class Knowing(FootRestoration):
    """Answers with what it was told, whatever it sees: then only guidance is at work."""

    def __init__(self, answer: Tensor, config: FootRestorationConfig = TINY) -> None:
        super().__init__(config)
        self.answer = answer
        self.windows = Windows(len(answer), config.window_frames)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return torch.where(leg_columns(), self.answer[self.windows.index], x)


@torch.no_grad()
def test_only_root_knees_and_feet_change() -> None:
    model = FootRestoration(TINY).eval()
    x = torch.randn(2, 24, 259)
    out = model(x, torch.tensor([0, 49]))
    assert torch.equal(out[..., ~leg_columns()], x[..., ~leg_columns()])
    assert (out[..., leg_columns()] != x[..., leg_columns()]).float().mean() > 0.99


def test_the_noise_level_matters_once_trained() -> None:
    model = FootRestoration(TINY).eval()
    x = torch.randn(1, 24, 259)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert not torch.allclose(model(x, torch.tensor([0])), model(x, torch.tensor([49])))


def test_a_perfect_estimate_costs_nothing(walk: Tensor, statistics: Statistics) -> None:
    clean = statistics.normalize(walk)[None]
    terms = foot_restoration_loss(clean, clean, statistics.mean, statistics.std)
    assert float(terms.reconstruction) == float(terms.root) == float(terms.rotation_position) == 0.0
    assert float(terms.velocity_position) < 1e-8
    # Standing feet of the recording itself move by less than a millimetre a frame, by the definition of standing.
    assert float(terms.foot) < 4e-6


def test_equation_1_counts_the_squared_steps_of_standing_feet_only() -> None:
    still = walking(2)
    frame = humanml259_from_motion(still)[:1]
    for name in ("yaw_velocity", "root_velocity", "velocities"):
        frame[:, HUMANML259.slices[name]] = 0.0
    clean = frame.repeat(11, 1)
    heights = positions_from_humanml(clean, HUMANML259)[0, :, 1]
    low = [joint for joint in FEET if heights[joint] < (0.08 if joint in ANKLES else 0.05)]
    assert low
    slid = clean.clone()
    slid[:, HUMANML259.slices["root_velocity"].start] = 0.01
    unit = Statistics(torch.zeros(259), torch.ones(259))
    terms = foot_restoration_loss(slid[None], clean[None], unit.mean, unit.std)
    assert float(terms.foot) == pytest.approx(len(low) * 0.01**2, rel=1e-3)


def test_equation_2_asks_for_slow_and_low() -> None:
    feet, steps = torch.zeros(3, 4, 3), torch.zeros(3, 4, 3)
    feet[..., :2, 1], feet[..., 2:, 1] = 0.07, 0.04
    steps[1, :, 0] = 0.002
    feet[2, 0, 1], feet[2, 2, 1] = 0.09, 0.06
    contact = feet_in_contact(feet, steps, ContactThresholds())
    assert contact.tolist() == [[True] * 4, [False] * 4, [False, True, False, True]]


def test_equation_3_is_insensitive_up_to_epsilon(walk: Tensor, statistics: Statistics) -> None:
    clean = statistics.normalize(walk)[None]
    moved = walk.clone()
    knee = HUMANML259.slices["positions"].start + 3 * 3
    moved[:, knee] += 0.2
    estimate = statistics.normalize(moved)[None]
    for epsilon, expected in ((0.1, 0.0), (0.01, 0.03)):
        terms = foot_restoration_loss(estimate, clean, statistics.mean, statistics.std, epsilon_m2=epsilon)
        assert float(terms.rotation_position) == pytest.approx(expected, abs=1e-4)


def test_summed_velocities_drift_without_an_anchor_and_not_with_one() -> None:
    steps, places = torch.full((200, 1, 3), 0.01), torch.zeros(200, 1, 3)
    plain = anchored_sum(steps, places, 0.0)
    assert torch.allclose(plain, torch.arange(200.0)[:, None, None].expand(-1, -1, 3) * 0.01, atol=1e-4)
    assert float(anchored_sum(steps, places, 0.02).abs().max()) < 0.1


def test_the_anchored_sum_solves_its_normal_equations() -> None:
    steps, places = 0.01 * torch.randn(30, 2, 3), torch.randn(30, 2, 3)
    weights = 1.0 + torch.rand(30, 2)
    solved = anchored_sum(steps, places, 0.1, weights).requires_grad_()
    misfit = weights[:-1, :, None] * (solved.diff(dim=0) - steps[:-1]).square()
    (misfit.sum() + 0.1 * (solved - places).square().sum()).backward()
    assert float(solved.grad.abs().max()) < 1e-5


def test_windows_cover_every_frame_and_join_what_is_equal() -> None:
    for frames in (5, 24, 25, 100):
        windows = Windows(frames, 24)
        assert set(windows.index.flatten().tolist()) == set(range(frames))
        x = torch.randn(frames, 259)
        joined = windows.joined(lambda parts, level: parts, x, 0)  # type: ignore[arg-type]
        assert torch.allclose(joined, x, atol=1e-6)


def test_restoring_keeps_all_that_is_not_asked_for(walk: Tensor, statistics: Statistics) -> None:
    model = FootRestoration(TINY).eval()
    inside = torch.zeros(len(walk), dtype=torch.bool)
    inside[20:50] = True
    made, stands = restore_features(model, statistics, walk, Guidance(), torch.Generator().manual_seed(1), inside)
    assert leg_columns()[HUMANML259.slices["yaw_velocity"]].all()
    kept = ~leg_columns()
    kept[HUMANML259.slices["yaw_velocity"]] = True
    assert torch.equal(made[:, kept], walk[:, kept])
    assert torch.equal(made[~inside], walk[~inside])
    assert not torch.equal(made[inside], walk[inside])
    assert stands.shape == (len(walk), 4)
    again, _ = restore_features(model, statistics, walk, Guidance(), torch.Generator().manual_seed(1), inside)
    assert torch.equal(made, again)


@pytest.mark.parametrize("reading", ["algorithm", "text"])
def test_what_is_right_already_stays_right(walk: Tensor, statistics: Statistics, reading: str) -> None:
    model = Knowing(statistics.normalize(walk))
    made, _ = restore_features(model, statistics, walk, Guidance(reading=reading), torch.Generator().manual_seed(0))
    moved = positions_from_humanml(made, HUMANML259) - positions_from_humanml(walk, HUMANML259)
    assert float(moved.abs().max()) < 0.01


def test_standing_feet_come_to_rest_by_the_algorithm(statistics: Statistics) -> None:
    frame = humanml259_from_motion(walking(2))[:1]
    for name in ("yaw_velocity", "root_velocity", "velocities"):
        frame[:, HUMANML259.slices[name]] = 0.0
    frame[:, HUMANML259.slices["root_height"]] -= 0.02
    still = frame.repeat(60, 1)
    sliding = still.clone()
    steps = sliding[:, HUMANML259.slices["velocities"]].unflatten(1, (22, 3))
    steps[..., 0] += 0.0008
    sliding[:, HUMANML259.slices["root_velocity"].start] = 0.0008
    model = Knowing(statistics.normalize(sliding))
    slid = {}
    for reading in ("algorithm", "text"):
        made, stands = restore_features(
            model, statistics, sliding, Guidance(reading=reading), torch.Generator().manual_seed(0)
        )
        places = positions_from_humanml(made, HUMANML259)[:, FEET]
        held = stands.all(dim=0)
        assert held.any()
        slid[reading] = float((places[50] - places[10])[held].norm(dim=-1).mean())
    assert slid["algorithm"] < 0.5 * slid["text"]


def test_a_network_is_built_without_memory_first_thing_in_a_process() -> None:
    leg_columns.cache_clear()
    with torch.device("meta"):
        model = FootRestoration(TINY)
    assert model.columns.tolist() == leg_columns().nonzero()[:, 0].tolist()


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"steps": 0}, {"threshold": 1.5}, {"reading": "mine"}, {"anchor": -1.0}):
        with pytest.raises(BadInputError):
            Guidance(**wrong)  # type: ignore[arg-type]
    for wrong_size in ({"hidden_dim": 30, "num_heads": 4}, {"window_frames": 2}, {"dropout": 1.0}):
        with pytest.raises(BadInputError):
            FootRestorationConfig(**wrong_size)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="259"):
        FootRestoration(FootRestorationConfig(feature_dim=12))
