"""How far an estimated motion is from the true one: in its poses, its path through the world, and which way is up."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_MM = 1000.0


def pa_mpjpe_mm(predicted_m: Float[Tensor, "t j 3"], target_m: Float[Tensor, "t j 3"]) -> Float[Tensor, "t"]:
    """Mean distance of joints in each frame after the best turn, shift and scale of that frame, in millimetres.

    Procrustes-aligned MPJPE, as in GVHMR (Shen et al., 2024, Table 1).
    """
    aligned = similarity_aligned(predicted_m.double(), target_m.double(), scale=True)
    distance: Tensor = (aligned - target_m).norm(dim=-1).mean(dim=-1) * _MM
    return distance.to(predicted_m)


def root_aligned_mpjpe_mm(
    predicted_m: Float[Tensor, "t j 3"],
    target_m: Float[Tensor, "t j 3"],
    predicted_root_m: Float[Tensor, "t 3"],
    target_root_m: Float[Tensor, "t 3"],
) -> Float[Tensor, "t"]:
    """Mean distance of joints in each frame with the two roots put into one place, in millimetres."""
    a, b = predicted_m - predicted_root_m[:, None], target_m - target_root_m[:, None]
    distance: Tensor = (a - b).norm(dim=-1).mean(dim=-1) * _MM
    return distance


def path_error(predicted_m: Float[Tensor, "t 3"], target_m: Float[Tensor, "t 3"]) -> tuple[float, float]:
    """Mean distance of two roots' paths after the best turn and shift of the whole, and the distance travelled (m).

    Their ratio is the root translation error of WHAM (Shin et al., 2024) and GVHMR.
    """
    aligned = similarity_aligned(predicted_m.double()[None], target_m.double()[None], scale=False)[0]
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


def similarity_aligned(
    source: Float[Tensor, "b n 3"], target: Float[Tensor, "b n 3"], *, scale: bool
) -> Float[Tensor, "b n 3"]:
    """Each set of points turned, shifted (and scaled) to be nearest to its target by least squares (Umeyama, 1991)."""
    a_mean, b_mean = source.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    a, b = source - a_mean, target - b_mean
    left, values, right = torch.linalg.svd(torch.einsum("bni,bnj->bij", b, a))
    sign = torch.ones_like(values)
    sign[:, 2] = torch.sign(torch.linalg.det(left @ right))
    turned = torch.einsum("bij,bnj->bni", (left * sign[:, None]) @ right, a)
    size = (values * sign).sum(-1) / a.square().sum(dim=(1, 2)).clamp_min(1e-12) if scale else torch.ones(len(a)).to(a)
    aligned: Tensor = size[:, None, None] * turned + b_mean
    return aligned
