"""The reverse chain for one latent on a CPU: the same numbers as the head's own loop in about half the time.

One latent takes 50 steps of products of two rows with a matrix. With small matrices the time goes into call overhead,
and BLAS as NumPy ships it reads a matrix about three times as fast as the product of the tensor library; large ones are
read as fast as memory allows by a product of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.nn.row_linear import LARGE_MATRIX

Array = npt.NDArray[np.float32]

_NORM_EPS = np.float32(1e-6)
_ONE = np.float32(1.0)


class Affine(NamedTuple):
    """x @ weight.T + bias, weight [out, in]."""

    weight: Array
    bias: Array


class BlockWeights(NamedTuple):
    """One residual block of the head."""

    norm_gain: Array
    norm_bias: Array
    up: Affine
    down: Affine


class HeadWeights(NamedTuple):
    """What the chain needs of the head."""

    input: Affine
    blocks: Sequence[BlockWeights]
    output: Affine


class StepCoefficients(NamedTuple):
    """One reverse step: x <- of_noisy x - of_noise noise_estimate + std fresh_noise."""

    of_noisy: float
    of_noise: float
    std: float


def reverse_chain(
    weights: HeadWeights,
    modulations: Sequence[Sequence[Array]],
    coefficients: Sequence[StepCoefficients],
    x: Array,
    fresh_noise: Array,
    guidance_scale: Array | None,
) -> Array:
    """Run steps from x [B, C].

    modulations: per block (shift, 1 + scale, gate) and last (shift, 1 + scale), each [S, G, B, W]; G is 2 with guidance
    (conditioned, unconditioned) and 1 without. fresh_noise: [S, B, C]. guidance_scale: [B, 1].
    """
    mean_of_width = np.full(weights.input.bias.shape, 1.0 / len(weights.input.bias), dtype=np.float32)
    rows = [[part.reshape(len(part), -1, part.shape[-1]) for part in layer] for layer in modulations]
    copies = modulations[0][0].shape[1]
    large = weights.blocks[0].up.weight.size >= LARGE_MATRIX
    for step, (of_noisy, of_noise, std) in enumerate(coefficients):
        hidden = np.tile(_affine(weights.input, x), (copies, 1))
        for block, (shift, gain, gate) in zip(weights.blocks, rows[:-1], strict=True):
            if large:
                _run_large(block, hidden, shift[step], gain[step], gate[step])
                continue
            inner = _normalised(hidden, mean_of_width)
            inner *= block.norm_gain
            inner += block.norm_bias
            inner *= gain[step]
            inner += shift[step]
            inner = _affine(block.down, _silu(_affine(block.up, inner)))
            inner *= gate[step]
            hidden += inner
        shift, gain = rows[-1]
        estimate = _affine(weights.output, _normalised(hidden, mean_of_width) * gain[step] + shift[step])
        if guidance_scale is not None:
            conditioned, unconditioned = np.split(estimate, 2)
            estimate = unconditioned + guidance_scale * (conditioned - unconditioned)
        x = np.float32(of_noisy) * x - np.float32(of_noise) * estimate + np.float32(std) * fresh_noise[step]
    return x


def _run_large(block: BlockWeights, hidden: Array, shift: Array, gain: Array, gate: Array) -> None:
    from kinestream.nn.row_product import add_gated_product, modulated_product

    inner = modulated_product(
        hidden, block.norm_gain * gain, block.norm_bias * gain + shift, block.up.weight, block.up.bias, _NORM_EPS
    )
    add_gated_product(hidden, gate, inner, block.down.weight, block.down.bias)


def _affine(layer: Affine, x: Array) -> Array:
    out: Array = x @ layer.weight.T
    out += layer.bias
    return out


def _silu(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and x / infinity is the right zero
        divisor = np.exp(-x)
    divisor += _ONE
    return np.divide(x, divisor, out=divisor)


def _normalised(x: Array, mean_of_width: Array) -> Array:
    """Each row with mean 0 and variance 1."""
    centred: Array = x - (x @ mean_of_width)[:, None]
    variance = np.einsum("ij,ij->i", centred, centred) * mean_of_width[0]
    centred *= (_ONE / np.sqrt(variance + _NORM_EPS))[:, None]
    return centred
