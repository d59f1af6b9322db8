"""A few rows times a large matrix on the processor, as fast as the matrix can be read.

General matrix products are made for many rows. With one to eight, all that counts is to read the weights once, in
order: a step of the paper's transformer takes half the time. Compiled by numba when they are first needed.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.nn.jit import jit

Array = npt.NDArray[np.float32]

# Numba's pool of threads may only be entered by one thread at a time.
POOL_LOCK = threading.Lock()
_POOL = numba.get_num_threads()


def row_product(x: Array, weight: Array, bias: Array) -> Array:
    """x [R, in] @ weight [out, in].T + bias [out], all float32 and contiguous, on as many threads as torch has."""
    out = np.empty((len(x), len(weight)), np.float32)
    with POOL_LOCK:
        use_threads(torch.get_num_threads())
        _product(x, weight, bias, out)
    return out


def modulated_product(hidden: Array, gain: Array, shift: Array, weight: Array, bias: Array, eps: np.float32) -> Array:
    """silu((norm(hidden) * gain + shift) @ weight.T + bias), where norm gives each row mean 0 and variance 1."""
    out = np.empty((len(hidden), len(weight)), np.float32)
    with POOL_LOCK:
        use_threads(torch.get_num_threads())
        _modulated(hidden, gain, shift, weight, bias, eps, np.empty_like(hidden), out)
    return out


def add_gated_product(hidden: Array, gate: Array, x: Array, weight: Array, bias: Array) -> None:
    """hidden += gate * (x @ weight.T + bias), in place."""
    with POOL_LOCK:
        use_threads(torch.get_num_threads())
        _gated(x, weight, bias, gate, hidden)


def product_of_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` for a few rows; float32, on the processor, no gradients."""
    rows = x.detach().reshape(-1, x.shape[-1]).contiguous().numpy()
    offsets = np.zeros(len(weight), np.float32) if bias is None else bias.detach().numpy()
    out = row_product(rows, weight.detach().contiguous().numpy(), offsets)
    return torch.from_numpy(out).view(*x.shape[:-1], len(weight))


def use_threads(count: int) -> None:
    """How many threads the next products take, at most as many as there are; for the holder of `POOL_LOCK`."""
    numba.set_num_threads(min(count, _POOL))


# The sums are written out three times: as functions of their own they are a tenth slower.
def _product_loop(x, weight, bias, out):  # type: ignore[no-untyped-def]
    rows = x.shape[0]
    for column in numba.prange(weight.shape[0]):
        numbers = weight[column]
        for row in range(0, rows - 1, 2):
            first = np.float32(0.0)
            second = np.float32(0.0)
            for index in range(numbers.shape[0]):
                first += numbers[index] * x[row, index]
                second += numbers[index] * x[row + 1, index]
            out[row, column] = first + bias[column]
            out[row + 1, column] = second + bias[column]
        if rows % 2:
            last = np.float32(0.0)
            for index in range(numbers.shape[0]):
                last += numbers[index] * x[rows - 1, index]
            out[rows - 1, column] = last + bias[column]


def _modulated_loop(hidden, gain, shift, weight, bias, eps, normed, out):  # type: ignore[no-untyped-def]
    rows, width = hidden.shape
    for row in range(rows):
        mean = np.float32(0.0)
        for index in range(width):
            mean += hidden[row, index]
        mean /= np.float32(width)
        variance = np.float32(0.0)
        for index in range(width):
            variance += (hidden[row, index] - mean) * (hidden[row, index] - mean)
        scale = np.float32(1.0) / np.sqrt(variance / np.float32(width) + eps)
        for index in range(width):
            normed[row, index] = (hidden[row, index] - mean) * scale * gain[row, index] + shift[row, index]
    for column in numba.prange(weight.shape[0]):
        numbers = weight[column]
        for row in range(0, rows - 1, 2):
            first = np.float32(0.0)
            second = np.float32(0.0)
            for index in range(numbers.shape[0]):
                first += numbers[index] * normed[row, index]
                second += numbers[index] * normed[row + 1, index]
            first += bias[column]
            second += bias[column]
            out[row, column] = first / (np.float32(1.0) + np.exp(-first))
            out[row + 1, column] = second / (np.float32(1.0) + np.exp(-second))
        if rows % 2:
            last = bias[column]
            for index in range(numbers.shape[0]):
                last += numbers[index] * normed[rows - 1, index]
            out[rows - 1, column] = last / (np.float32(1.0) + np.exp(-last))


def _gated_loop(x, weight, bias, gate, hidden):  # type: ignore[no-untyped-def]
    rows = x.shape[0]
    for column in numba.prange(weight.shape[0]):
        numbers = weight[column]
        for row in range(0, rows - 1, 2):
            first = np.float32(0.0)
            second = np.float32(0.0)
            for index in range(numbers.shape[0]):
                first += numbers[index] * x[row, index]
                second += numbers[index] * x[row + 1, index]
            hidden[row, column] += gate[row, column] * (first + bias[column])
            hidden[row + 1, column] += gate[row + 1, column] * (second + bias[column])
        if rows % 2:
            last = np.float32(0.0)
            for index in range(numbers.shape[0]):
                last += numbers[index] * x[rows - 1, index]
            hidden[rows - 1, column] += gate[rows - 1, column] * (last + bias[column])


_ROWS, _STRIDED, _VECTOR = "f4[:, ::1]", "f4[:, :]", "f4[::1]"
_compiled = partial(jit, fastmath=True, parallel=True)
_product: Any = _compiled(f"void({_ROWS}, {_ROWS}, {_VECTOR}, {_ROWS})")(_product_loop)
_modulated: Any = _compiled(f"void({_ROWS}, {_STRIDED}, {_STRIDED}, {_ROWS}, {_VECTOR}, f4, {_ROWS}, {_ROWS})")(
    _modulated_loop
)
_gated: Any = _compiled(f"void({_ROWS}, {_ROWS}, {_VECTOR}, {_STRIDED}, {_ROWS})")(_gated_loop)
