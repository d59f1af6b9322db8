"""A product of few rows with a large matrix is the library's product."""

from __future__ import annotations

import numpy as np
import pytest

from kinestream.nn.row_product import row_product


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_few_rows_times_a_matrix_equals_the_librarys_product(rows: int) -> None:
    random = np.random.default_rng(rows)
    x, weight = random.standard_normal((rows, 65), np.float32), random.standard_normal((33, 65), np.float32)
    bias = random.standard_normal(33, np.float32)
    np.testing.assert_allclose(row_product(x, weight, bias), x @ weight.T + bias, rtol=1e-5, atol=1e-5)
