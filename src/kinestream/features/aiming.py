"""Rotations from joint positions: rigid fits where bones branch, the least twist along single bones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.rotations import quat_between, quat_conjugate, quat_from_matrix, quat_multiply, quat_rotate
from kinestream.skeleton import Skeleton


def fitted_rotation(rest: Float[Tensor, "n 3"], seen: Float[Tensor, "t n 3"]) -> Float[Tensor, "t 4"]:
    """The rotation (wxyz) that turns the rest vectors nearest to those seen, in the least-squares sense, per frame.

    With two vectors or more, not all on a line (Kabsch's method).
    """
    covariance = torch.einsum("tni,nj->tij", seen.double(), rest.double())
    left, _, right = torch.linalg.svd(covariance)
    sign = torch.ones(len(seen), 3, dtype=torch.float64)
    sign[:, 2] = torch.sign(torch.linalg.det(left @ right))
    return quat_from_matrix((left * sign[:, None]) @ right).to(seen)


def rotations_from_positions(skeleton: Skeleton, positions_m: Float[Tensor, "t j 3"]) -> Float[Tensor, "t j 4"]:
    """Local rotations whose bones point as the positions do; the skeleton's own bone lengths stay.

    The root and other branching joints are fitted to all their children; a joint with one child swings its bone there
    from its parent's orientation without twisting; leaves stay as their parents are. What twist a body had cannot be
    seen in positions.
    """
    offsets = skeleton.offsets_m.to(positions_m)
    local = positions_m.new_zeros(len(positions_m), skeleton.num_joints, 4)
    local[..., 0] = 1.0
    world = local.clone()
    for joint, parent in enumerate(skeleton.parents):
        above = world[:, parent] if parent >= 0 else local[:, 0].clone()
        children = list(skeleton.children(joint))
        own = above
        if len(children) > 1:
            own = fitted_rotation(offsets[children], positions_m[:, children] - positions_m[:, joint : joint + 1])
        elif children:
            bone = quat_rotate(above, offsets[children[0]])
            swing = quat_between(bone, positions_m[:, children[0]] - positions_m[:, joint])
            own = quat_multiply(swing, above)
        world[:, joint] = own
        local[:, joint] = quat_multiply(quat_conjugate(above), own)
    return local
