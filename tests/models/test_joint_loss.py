"""The joints' own terms see what the mean squared error hardly sees."""

from __future__ import annotations

import torch

from kinestream.models.causal_tae.loss import joint_loss


def test_alternating_error_costs_more_than_a_drift_of_the_same_size() -> None:
    target = torch.randn(2, 32, 22, 3, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.01
    size = 0.003
    alternating = target + size * torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)[:, None, None]
    drifting = target + size
    rough = joint_loss(alternating, target, [10, 11])
    even = joint_loss(drifting, target, [10, 11])
    assert rough.jerk - even.jerk > 3.0
    assert rough.velocity - even.velocity > 3.0


def test_gradient_pulls_the_difference_down() -> None:
    target = torch.zeros(1, 16, 22, 3)
    joints = (0.01 * torch.randn(1, 16, 22, 3, generator=torch.Generator().manual_seed(1))).requires_grad_()
    sum(joint_loss(joints, target, [10, 11])).backward()  # type: ignore[union-attr]
    assert joints.grad is not None
    moved = joints.detach() - 1e-4 * joints.grad
    assert moved.diff(n=3, dim=1).square().sum() < joints.detach().diff(n=3, dim=1).square().sum()


def test_a_body_that_stands_too_low_is_seen_by_the_height_of_its_feet_alone() -> None:
    target = torch.randn(2, 32, 22, 3, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.01
    sunk = target - torch.tensor([0.0, 0.02, 0.0])
    loss, right = joint_loss(sunk, target, [10, 11]), joint_loss(target, target, [10, 11])
    assert loss.height - right.height > 3.0
    assert loss.pose - right.pose < 0.1
