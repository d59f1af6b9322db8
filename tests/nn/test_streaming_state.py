"""States are trees of tensors: rows can be picked, joined, saved and checked without knowing their module."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.nn.streaming import (
    join_rows,
    map_state,
    state_from_tensors,
    state_to_tensors,
    take_rows,
    zero_inactive,
)


class Inner(NamedTuple):
    keys: Tensor
    unused: None


class Outer(NamedTuple):
    layers: tuple[Inner, ...]
    length: Tensor


def state(rows: int, seed: int = 0) -> Outer:
    generator = torch.Generator().manual_seed(seed)
    layers = tuple(Inner(torch.randn(rows, 2, 3, generator=generator), None) for _ in range(2))
    return Outer(layers, torch.arange(rows))


def test_rows_taken_apart_and_joined_are_the_state_again() -> None:
    whole = state(3)
    again = join_rows([take_rows(whole, [row]) for row in range(3)])
    assert isinstance(again, Outer)
    assert isinstance(again.layers[0], Inner)
    for got, expected in zip(state_to_tensors(again).values(), state_to_tensors(whole).values(), strict=True):
        assert torch.equal(got, expected)
    with pytest.raises(BadInputError):
        join_rows([])


def test_saved_tensors_have_speaking_names_and_share_no_memory() -> None:
    whole = state(2)
    tensors = state_to_tensors(whole)
    assert list(tensors) == ["layers.0.keys", "layers.1.keys", "length"]
    tensors["length"].fill_(9)
    assert whole.length.tolist() == [0, 1]
    assert list(state_to_tensors(torch.zeros(1))) == ["state"]


@pytest.mark.parametrize("wrong", ["missing", "extra", "shape", "dtype"])
def test_a_state_of_another_model_is_refused(wrong: str) -> None:
    tensors = state_to_tensors(state(2))
    if wrong == "missing":
        del tensors["length"]
    elif wrong == "extra":
        tensors["layers.2.keys"] = torch.zeros(2, 2, 3)
    elif wrong == "shape":
        tensors["layers.0.keys"] = torch.zeros(2, 2, 4)
    else:
        tensors["length"] = torch.zeros(2)
    with pytest.raises(BadInputError, match="doesn't belong to this model"):
        state_from_tensors(state(2), tensors)


def test_states_of_different_structure_do_not_mix() -> None:
    with pytest.raises(ValueError, match="zip"):
        map_state(torch.add, state(2).layers, (state(2).layers[0],))


def test_rows_that_did_not_move_give_zeros() -> None:
    out = zero_inactive(torch.tensor([True, False]), torch.full((2, 3), torch.nan))
    assert out[0].isnan().all()
    assert not out[1].any()
