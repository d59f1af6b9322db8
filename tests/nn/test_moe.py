"""Bands sum to the whole, the best reference is the heaviest."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.nn.moe import CadenceGate, rank_weights, split_bands, weighted_references


@pytest.mark.parametrize("length", [1, 2, 7, 32, 33])
@pytest.mark.parametrize("bands", [1, 2, 4])
def test_bands_sum_to_the_whole(length: int, bands: int) -> None:
    x = torch.randn(2, length, 3)
    parts = split_bands(x, bands)
    assert parts.shape == (2, bands, length, 3)
    torch.testing.assert_close(parts.sum(dim=1), x)


def test_slow_and_fast_waves_go_to_their_bands() -> None:
    time = torch.arange(64.0)
    slow, fast = torch.sin(2 * torch.pi * time * 4 / 64), torch.sin(2 * torch.pi * time * 25 / 64)
    low, high = split_bands((slow + fast)[None, :, None], 2)[0, :, :, 0]
    torch.testing.assert_close(low, slow, atol=1e-5, rtol=0)
    torch.testing.assert_close(high, fast, atol=1e-5, rtol=0)


def test_the_best_reference_is_the_heaviest() -> None:
    torch.testing.assert_close(rank_weights(4), torch.tensor([4.0, 3.0, 2.0, 1.0]) / 10)
    with pytest.raises(BadInputError):
        rank_weights(0)


def test_missing_references_leave_their_weight_to_the_others() -> None:
    references = torch.randn(3, 3, 5, 2)
    present = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    summed = weighted_references(references, present)
    torch.testing.assert_close(summed[0], weighted_references(references)[0])
    torch.testing.assert_close(summed[1], references[1, 0])
    assert not summed[2].any()


def test_gates_sum_to_one() -> None:
    gates = CadenceGate(4, 3)(torch.randn(2, 5, 4))
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(2, 5))
