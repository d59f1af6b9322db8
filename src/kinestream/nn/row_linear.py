"""Linear layers that know when they are given a few rows only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# From here on a matrix doesn't stay in a core's own cache, and reading it is all that counts.
LARGE_MATRIX = 1 << 19
FEW_ROWS = 8


def few_rows_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`; for up to eight rows and a large matrix on the processor a faster product."""
    few = x.numel() <= FEW_ROWS * x.shape[-1] and weight.numel() >= LARGE_MATRIX
    if few and not torch.is_grad_enabled() and x.numel():
        plain = x.device.type == "cpu" and x.dtype == torch.float32 == weight.dtype
        if plain and not torch.is_autocast_enabled("cpu"):
            from kinestream.nn.row_product import product_of_tensors

            return product_of_tensors(x, weight, bias)
    return functional.linear(x, weight, bias)
