"""How far an estimated motion is from the true one in its path through the world, and in which way is up."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def path_error(predicted_m: Float[Tensor, "t 3"], target_m: Float[Tensor, "t 3"]) -> tuple[float, float]:
    """Mean distance of two roots' paths after the best turn and shift of the whole, and the distance travelled (m).

    Their ratio is the root translation error of WHAM (Shin et al., 2024) and GVHMR.
    """
    aligned = rigidly_aligned(predicted_m.double(), target_m.double())
    travelled = target_m.double().diff(dim=0).norm(dim=-1).sum()
    return float((aligned - target_m).norm(dim=-1).mean()), float(travelled)


def gravity_error_rad(predicted_m: Float[Tensor, "t j 3"], target_m: Float[Tensor, "t j 3"]) -> float:
    """The angle between two motions' ideas of up (+Y): how far the one turn that fits all poses of the first, joints
    from the root (joint 0), to those of the second tilts the vertical.
    """
    poses = [(joints - joints[:, :1]).double().flatten(0, 1) for joints in (predicted_m, target_m)]
    left, _, right = torch.linalg.svd(poses[1].T @ poses[0])
    sign = torch.ones(3).double()
    sign[2] = torch.sign(torch.linalg.det(left @ right))
    turn = (left * sign) @ right
    return float(torch.acos(turn[1, 1].clamp(-1.0, 1.0)))


def rigidly_aligned(source: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Points turned and shifted as a whole to be nearest to their targets by least squares (Kabsch, 1976)."""
    a, b = source - source.mean(dim=0), target - target.mean(dim=0)
    left, _, right = torch.linalg.svd(b.T @ a)
    sign = torch.ones(3).to(a)
    sign[2] = torch.sign(torch.linalg.det(left @ right))
    aligned: Tensor = a @ ((left * sign) @ right).T + target.mean(dim=0)
    return aligned
