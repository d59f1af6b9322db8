"""Products of few rows with a large matrix are the library's products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from kinestream.nn.row_linear import few_rows_linear
from kinestream.nn.row_product import add_gated_product, modulated_product, product_of_tensors, row_product

ROWS = pytest.mark.parametrize("rows", [1, 2, 3, 8])


def tensors(rows: int) -> tuple[torch.Tensor, ...]:
    """x [R, 65], weight [33, 65], bias [33], two of [R, 65] and one of [R, 33]."""
    drawn = torch.Generator().manual_seed(rows)
    shapes = [(rows, 65), (33, 65), (33,), (rows, 65), (rows, 65), (rows, 33)]
    return tuple(torch.randn(shape, generator=drawn) for shape in shapes)


@ROWS
def test_few_rows_times_a_matrix_equals_the_librarys_product(rows: int) -> None:
    x, weight, bias, *_ = tensors(rows)
    expected = functional.linear(x, weight, bias)
    got = torch.from_numpy(row_product(x.numpy(), weight.numpy(), bias.numpy()))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    got = product_of_tensors(x[:, None], weight, None)
    torch.testing.assert_close(got, functional.linear(x[:, None], weight), rtol=1e-5, atol=1e-5)


@ROWS
def test_modulated_and_gated_products_equal_the_operations_one_by_one(rows: int) -> None:
    x, weight, bias, gain, shift, gate = tensors(rows)
    expected = functional.silu(
        functional.linear(functional.layer_norm(x, (65,), eps=1e-6) * gain + shift, weight, bias)
    )
    wide = np.concatenate([gain.numpy(), shift.numpy()], axis=1)  # parts of a wider array, as the modulations are
    got = modulated_product(x.numpy(), wide[:, :65], wide[:, 65:], weight.numpy(), bias.numpy(), np.float32(1e-6))
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-5)
    hidden = torch.ones(rows, 33)
    expected = hidden + gate * functional.linear(x, weight, bias)
    add_gated_product(hidden.numpy(), gate.numpy(), x.numpy(), weight.numpy(), bias.numpy())
    torch.testing.assert_close(hidden, expected, rtol=1e-5, atol=1e-5)


def test_large_layers_take_the_fast_product_only_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream.nn.row_linear.LARGE_MATRIX", 1)
    x, weight, bias, *_ = tensors(2)
    weight.requires_grad_()
    few_rows_linear(x, weight, bias).sum().backward()
    assert weight.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(
            few_rows_linear(x, weight, bias), functional.linear(x, weight, bias), rtol=1e-5, atol=1e-5
        )
        assert few_rows_linear(x.double(), weight.double(), None).dtype == torch.float64
