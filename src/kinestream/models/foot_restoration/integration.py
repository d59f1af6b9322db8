"""Velocities summed to places without drifting away from where the places are known to be."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def anchored_sum(
    steps: Float[Tensor, "t k 3"],
    places: Float[Tensor, "t k 3"],
    anchor: float,
    weights: Float[Tensor, "t k"] | None = None,
) -> Float[Tensor, "t k 3"]:
    """Places p that go by the steps and stay near the given places: the least sum of squares of both misfits.

    argmin over p of sum_i w_i |p_{i+1} - p_i - v_i|² + anchor |p_i - q_i|²; the last step is not used. anchor 0 is the
    plain cumulative sum from the first place, which drifts with every step's error; larger ones let errors fade within
    1 / sqrt(anchor) frames. weights: how firmly each step holds (1).
    """
    if anchor <= 0.0 or len(steps) < 2:
        summed = torch.cat((places[:1], places[:1] + steps[:-1].cumsum(dim=0)))
        return summed.to(places)
    # The normal equations are tridiagonal: solved forwards and backwards (Thomas), all joints and axes at once.
    v, q = steps[:-1].double().numpy(), places.double().numpy()
    w = np.ones(v.shape[:2]) if weights is None else weights[:-1].double().numpy()
    w = w[..., None]
    edge = np.zeros((1, *w.shape[1:]))
    before, after = np.concatenate((edge, w)), np.concatenate((w, edge))
    pull = np.concatenate((np.zeros((1, *v.shape[1:])), w * v)) - np.concatenate((w * v, np.zeros((1, *v.shape[1:]))))
    diagonal, right = anchor + before + after, anchor * q + pull
    ratio, solved = np.zeros_like(diagonal), np.zeros_like(right)
    for i in range(len(q)):
        last = i - 1 if i else 0
        pivot = diagonal[i] - before[i] * ratio[last]
        ratio[i] = after[i] / pivot
        solved[i] = (right[i] + before[i] * solved[last]) / pivot
    for i in range(len(q) - 2, -1, -1):
        solved[i] += ratio[i] * solved[i + 1]
    return torch.from_numpy(solved).to(places)
