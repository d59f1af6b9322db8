"""Which way, how far, how often, and by which limb: on made-up bodies whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.metrics import (
    acting_side,
    count_repeats,
    count_steps,
    facing,
    reaching_side,
    travel_angle_rad,
    travelled_m,
    turned_rad,
)
from kinestream.metrics.counting import Repeated
from kinestream.skeleton import forward_kinematics, smpl22
from tests.metrics.clips import walkers

FPS = 30.0
LEFT_WRIST, RIGHT_WRIST, HEAD = 20, 21, 15


def standing(frames: int = 90) -> Tensor:
    """A body that stands and faces +Z, arms out, [T, 22, 3]."""
    rest, _ = forward_kinematics(smpl22(), torch.tensor((1.0, 0, 0, 0)).expand(22, 4), torch.zeros(3))
    rest = rest - rest.amin(dim=0) * torch.tensor((0.0, 1.0, 0.0))
    return rest.expand(frames, 22, 3).clone()


def turned(joints: Tensor, angle: Tensor) -> Tensor:
    """Every frame turned about +Y by its own angle, positive to the body's left."""
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = joints.unbind(dim=-1)
    return torch.stack((c * x + s * z, y, -s * x + c * z), dim=-1)


def moved(joints: Tensor, step: tuple[float, float]) -> Tensor:
    """Carried by (x, z) metres a frame."""
    path = torch.arange(len(joints), dtype=torch.float32)[:, None] * torch.tensor((step[0], 0.0, step[1]))
    return joints + path[:, None]


def bumps(times: int, frames: int, size: float) -> Tensor:
    """`times` smooth excursions up to `size`."""
    t = torch.linspace(0.0, 1.0, frames)
    return size * 0.5 * (1.0 - torch.cos(2.0 * math.pi * times * t))


def test_a_body_faces_where_it_looks_whatever_way_it_is_carried() -> None:
    assert torch.allclose(facing(standing()), torch.tensor((0.0, 1.0)).expand(90, 2), atol=0.02)
    quarter = turned(standing(), torch.full((90,), math.pi / 2))
    assert torch.allclose(facing(quarter), torch.tensor((1.0, 0.0)).expand(90, 2), atol=0.02), "left of +Z is +X"


@pytest.mark.parametrize("angle", [90.0, -90.0, 180.0, -360.0, 30.0, 720.0])
def test_a_turn_has_its_angle_and_its_side(angle: float) -> None:
    path = torch.cat(
        (torch.zeros(20), torch.linspace(0.0, math.radians(angle), 60), torch.full((20,), math.radians(angle)))
    )
    assert math.degrees(float(turned_rad(turned(standing(100), path)))) == pytest.approx(angle, abs=1.0)


@pytest.mark.parametrize(
    ("step", "heading", "direction"),
    [
        ((0.0, 0.03), 0.0, 0.0),
        ((0.0, -0.03), 0.0, 180.0),
        ((0.03, 0.0), 0.0, 90.0),
        ((-0.03, 0.0), 0.0, -90.0),
        ((0.03, 0.0), 90.0, 0.0),
        ((0.0, 0.03), 90.0, -90.0),
    ],
)
def test_travel_is_as_the_body_sees_it(step: tuple[float, float], heading: float, direction: float) -> None:
    joints = moved(turned(standing(), torch.full((90,), math.radians(heading))), step)
    travel = travelled_m(joints)
    assert float(travel.norm()) == pytest.approx(0.03 * 89, rel=1e-3)
    apart = abs(math.degrees(float(travel_angle_rad(travel))) - direction) % 360.0
    assert min(apart, 360.0 - apart) < 1.0


def test_who_walks_round_a_corner_has_gone_forward_all_the_way() -> None:
    angle = torch.linspace(0.0, math.pi / 2, 90)
    steps = 0.03 * torch.stack((angle.sin(), torch.zeros(90), angle.cos()), dim=-1)
    travel = travelled_m(turned(standing(), angle) + steps.cumsum(dim=0)[:, None])
    assert float(travel[0]) == pytest.approx(0.03 * 89, rel=0.01)
    assert abs(float(travel[1])) < 0.05


def test_the_hand_that_is_raised_acts() -> None:
    joints = standing()
    joints[:, LEFT_WRIST, 1] += bumps(1, 90, 0.6)
    assert float(acting_side(joints, "hand")) > 0.9
    mirrored = standing()
    mirrored[:, RIGHT_WRIST, 1] += bumps(1, 90, 0.6)
    assert float(acting_side(mirrored, "hand")) < -0.9
    joints[:, RIGHT_WRIST, 1] += bumps(1, 90, 0.6)
    assert abs(float(acting_side(joints, "hand"))) < 0.05
    assert float(acting_side(standing(), "hand")) == pytest.approx(0.0, abs=1e-3)


def test_the_foot_that_kicks_and_the_hand_that_strikes() -> None:
    joints = standing()
    joints[:, 8, 1] += bumps(1, 90, 0.8)
    assert float(acting_side(joints, "foot")) < -0.9
    joints[:, LEFT_WRIST, 0] += bumps(3, 90, 0.4)
    assert float(reaching_side(joints, FPS, "hand")) > 0.9
    carried = moved(joints, (0.0, 0.05))
    assert float(reaching_side(carried, FPS, "hand")) > 0.9, "walking is no strike"


def test_steps_of_walkers_are_counted() -> None:
    clips = walkers(12)
    for joints in clips.joints:
        # A made-up foot that stands does not move at all: it has landed where it begins to stand.
        stands = (joints[:, [7, 8], 2].diff(dim=0).abs() < 1e-4).int()
        landings = int((stands.diff(dim=0) == 1).sum())
        assert landings >= 3
        assert abs(count_steps(joints, clips.fps) - landings) <= 1
    assert count_steps(standing(), FPS) == 0
    assert count_steps(moved(standing(), (0.0, 0.04)), FPS) == 0, "a body that glides does not step"


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("what", ["jump", "bow", "raise", "punch", "kick"])
def test_repetitions_are_counted(what: Repeated, times: int) -> None:
    joints = standing(150)
    up = bumps(times, 150, 0.5)
    if what == "jump":
        joints[..., 1] += up[:, None]
    elif what == "bow":
        joints[:, HEAD, 1] -= up
    elif what == "raise":
        joints[:, RIGHT_WRIST, 1] += up
    elif what == "kick":
        joints[:, 7, 1] += up
    else:
        joints[:, LEFT_WRIST, 0] += up
    assert count_repeats(joints, FPS, what) == times
    noisy = joints + 0.004 * torch.randn(joints.shape, generator=torch.Generator().manual_seed(1))
    assert count_repeats(noisy, FPS, what) == times, "trembling counts for nothing"


def test_what_does_not_happen_is_not_counted() -> None:
    assert [count_repeats(standing(), FPS, what) for what in ("jump", "bow", "raise", "punch", "kick")] == [0] * 5
    with pytest.raises(BadInputError, match="expected one of"):
        count_repeats(standing(), FPS, "sneeze")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="joints"):
        acting_side(standing()[:, :5], "hand")
