"""The smoothness terms see what the mean squared error hardly sees."""

from __future__ import annotations

import torch

from kinestream.models.causal_tae.loss import motion_smoothness_loss


def test_alternating_error_costs_more_than_a_drift_of_the_same_size() -> None:
    target = torch.randn(2, 32, 22, 3, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.01
    size = 0.003
    alternating = target + size * torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)[:, None, None]
    drifting = target + size
    rough = motion_smoothness_loss(alternating, target, [10, 11])
    even = motion_smoothness_loss(drifting, target, [10, 11])
    assert rough.jerk - even.jerk > 3.0
    assert rough.velocity - even.velocity > 3.0


def test_gradient_pulls_the_difference_down() -> None:
    target = torch.zeros(1, 16, 22, 3)
    joints = (0.01 * torch.randn(1, 16, 22, 3, generator=torch.Generator().manual_seed(1))).requires_grad_()
    sum(motion_smoothness_loss(joints, target, [10, 11])).backward()  # type: ignore[union-attr]
    assert joints.grad is not None
    moved = joints.detach() - 1e-2 * joints.grad
    assert moved.diff(n=3, dim=1).square().sum() < joints.detach().diff(n=3, dim=1).square().sum()
