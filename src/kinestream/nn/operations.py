"""The operations in which networks are described, and what they are on torch's tensors.

A description is a function of operations, of the trained modules for their weights, and of inputs. It is written once
and runs as the trained module (`EagerOperations`), recorded and compiled by a runtime (`inference.graph.Graph`), and
captured on a device (`inference.cuda.programs`). What a value is, how precise it is, and how weights are laid
out is the implementation's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Value = Any
"""A tensor, or what stands for one in a graph."""


class Affine(NamedTuple):
    """x @ weight.T + bias: weight [out, in], bias [out] or None."""

    weight: Tensor
    bias: Tensor | None = None


Layer = Affine | nn.Linear


class Operations(ABC):
    """What descriptions are made of. Weights come as tensors of the modules."""

    @abstractmethod
    def linear(self, x: Value, layers: Sequence[Layer]) -> Value:
        """x @ weight.T + bias; the outputs of several layers stand side by side."""

    @abstractmethod
    def add(self, a: Value, b: Value) -> Value:
        """Sum, with broadcasting."""

    @abstractmethod
    def multiply(self, a: Value, b: Value) -> Value:
        """Product, with broadcasting."""

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a b + c, as precise as c."""
        return self.add(self.multiply(a, b), c)

    @abstractmethod
    def scale(self, x: Value, factor: float) -> Value:
        """x times a number."""

    @abstractmethod
    def relu(self, x: Value) -> Value:
        """max(x, 0)."""

    @abstractmethod
    def silu(self, x: Value) -> Value:
        """x sigmoid(x)."""

    @abstractmethod
    def layer_norm(self, x: Value, eps: float, gain: Tensor | None = None, bias: Tensor | None = None) -> Value:
        """Mean 0 and variance 1 over the last dimension, then gain and bias."""

    @abstractmethod
    def rms_norm(self, x: Value, gain: Tensor, eps: float) -> Value:
        """x / sqrt(mean of squares + eps) * gain over the last dimension."""

    @abstractmethod
    def unit_norm(self, x: Value) -> Value:
        """x divided by its Euclidean length over the last dimension."""

    @abstractmethod
    def rotate(self, x: Value, angles: Any) -> Value:
        """The two halves of the last dimension turned: (first cos - second sin, first sin + second cos)."""

    @abstractmethod
    def paired(self, layer: Layer, groups: int, size: int) -> Layer:
        """A layer whose first `groups` groups of `size` outputs are queries or keys that `rotate_pairs` will turn."""

    @abstractmethod
    def rotate_pairs(self, x: Value, angles: Any) -> Value:
        """Pairs of the last dimension turned. What `paired` layers give is in pairs: neighbours, unless it was told
        otherwise; queries and keys are in the same order, so products of the two are what they were."""

    @abstractmethod
    def reshape(self, x: Value, *shape: int) -> Value:
        """0 keeps a size, -1 takes what is left."""

    @abstractmethod
    def transpose(self, x: Value, *order: int) -> Value:
        """Dimensions in this order."""

    @abstractmethod
    def split(self, x: Value, sizes: Sequence[int], axis: int) -> Sequence[Value]:
        """Parts of these sizes along an axis."""


class EagerOperations(Operations):
    """Operations on tensors, at once: with gradients, on any device, in the inputs' precision or under autocast."""

    def linear(self, x: Tensor, layers: Sequence[Layer]) -> Tensor:
        """Matrix products; what is smaller is put side by side, weights or outputs."""
        if len(layers) > 1 and x.numel() <= x.shape[-1] ** 2:
            return torch.cat([functional.linear(x, layer.weight, layer.bias) for layer in layers], dim=-1)
        layer = joined(layers)
        return functional.linear(x, layer.weight, layer.bias)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum."""
        return a + b

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """Product."""
        return a * b

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """x times a number."""
        return x * factor

    def relu(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        return functional.relu(x)

    def silu(self, x: Tensor) -> Tensor:
        """x sigmoid(x)."""
        return functional.silu(x)

    def layer_norm(self, x: Tensor, eps: float, gain: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Mean 0 and variance 1, then gain and bias."""
        return functional.layer_norm(x, x.shape[-1:], gain, bias, eps)

    def rms_norm(self, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """Unit mean square, then a gain."""
        return functional.rms_norm(x, gain.shape, gain.to(x.dtype), eps)

    def unit_norm(self, x: Tensor) -> Tensor:
        """Unit length."""
        return functional.normalize(x, dim=-1)

    def rotate(self, x: Tensor, angles: Any) -> Tensor:
        """Halves turned by (cosines, sines)."""
        cos, sin = (part.to(x.dtype) for part in angles)
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

    def paired(self, layer: Layer, groups: int, size: int) -> Layer:
        """The layer as it is: pairs are neighbours."""
        return layer

    def rotate_pairs(self, x: Tensor, angles: Any) -> Tensor:
        """Neighbours turned by (cosines, sines)."""
        cos, sin = (part.to(x.dtype) for part in angles)
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """New sizes."""
        return x.reshape([size or x.shape[axis] for axis, size in enumerate(shape)])

    def transpose(self, x: Tensor, *order: int) -> Tensor:
        """New order of dimensions."""
        return x.permute(order)

    def split(self, x: Tensor, sizes: Sequence[int], axis: int) -> Sequence[Tensor]:
        """Parts, which are views."""
        return torch.split(x, list(sizes), axis)


EAGER = EagerOperations()


def joined(layers: Sequence[Layer]) -> Layer:
    """Layers with the same input as one."""
    if len(layers) == 1:
        return layers[0]
    weights = [layer.weight for layer in layers]
    biases = [layer.bias for layer in layers]
    if all(bias is None for bias in biases):
        return Affine(torch.cat(weights))
    parts = [
        weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in zip(weights, biases, strict=True)
    ]
    return Affine(torch.cat(weights), torch.cat(parts))


def swiglu(ops: Operations, x: Value, gate: Layer, up: Layer, down: Layer) -> Value:
    """down(silu(gate(x)) * up(x))."""
    opened, inner = ops.split(ops.linear(x, [gate, up]), [len(gate.weight), len(up.weight)], -1)
    return ops.linear(ops.multiply(ops.silu(opened), inner), [down])
