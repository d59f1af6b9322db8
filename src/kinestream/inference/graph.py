"""What a runtime is: it records the operations of a network's description and compiles them to a program on arrays.

Our own kernels (`cpu.runtime`) and OpenVINO (`openvino`) are runtimes; `runtimes.load_runtime` chooses one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.nn.operations import Affine, Layer, Operations

Array = npt.NDArray[np.float32]
Node = Any
Precision = Literal["float32", "int8"]


class Program(Protocol):
    """A compiled graph. Many threads may call it; they take turns."""

    def __call__(self, *inputs: Array | Sequence[Array]) -> tuple[Array, ...]:
        """Run on inputs in the order in which they were made; the outputs are the caller's.

        An input may come in parts, one after the other along its first dimension.
        """
        ...


class Graph(Operations):
    """Operations that are recorded, and compiled in the end, with some that only programs need.

    Sizes given as -1 may differ from call to call. Weights have the graph's precision; all else is float32.
    """

    @abstractmethod
    def input(self, *shape: int) -> Node:
        """The next input, float32."""

    @abstractmethod
    def constant(self, values: Tensor | Array | float) -> Node:
        """Fixed values in full precision."""

    @abstractmethod
    def matmul(self, a: Node, b: Node, *, transpose_b: bool = False) -> Node:
        """Matrix product of the last two dimensions."""

    @abstractmethod
    def softmax(self, x: Node) -> Node:
        """Softmax over the last dimension."""

    @abstractmethod
    def standardize(self, x: Node, eps: float) -> Node:
        """Mean 0 and variance 1 over the last dimension."""

    @abstractmethod
    def concatenate(self, parts: Sequence[Node], axis: int) -> Node:
        """Join along an axis."""

    @abstractmethod
    def slice(self, x: Node, axis: int, start: int, stop: int | None) -> Node:
        """A range along an axis; negative indices count from the end, None is the end."""

    @abstractmethod
    def divide(self, x: Node, axis: int, other: Node, other_axis: int) -> tuple[Node, Node]:
        """Two parts along an axis, the first as long as `other` is along its own: a size known only when it runs."""

    @abstractmethod
    def compile(self, *outputs: Node) -> Program:
        """The program that gives these nodes."""

    def scale(self, x: Node, factor: float) -> Node:
        """x times a constant."""
        return self.multiply(x, self.constant(factor))

    def layer_norm(self, x: Node, eps: float, gain: Tensor | None = None, bias: Tensor | None = None) -> Node:
        """Standardised, then gain and bias."""
        x = self.standardize(x, eps)
        x = x if gain is None else self.multiply(x, self.constant(gain))
        return x if bias is None else self.add(x, self.constant(bias))

    def paired(self, layer: Layer, groups: int, size: int) -> Layer:
        """The layer with its first `groups` groups in halves: first their even outputs, then the odd ones."""
        order = torch.arange(len(layer.weight))
        order[: groups * size] = order[: groups * size].view(groups, -1, 2).transpose(1, 2).flatten()
        return Affine(layer.weight.detach()[order], None if layer.bias is None else layer.bias.detach()[order])

    def rotate_pairs(self, x: Node, angles: tuple[Node, Node]) -> Node:
        """Halves turned: what is in pairs lies so here."""
        return self.rotate(x, angles)

    def split(self, x: Node, sizes: Sequence[int], axis: int) -> list[Node]:
        """Slices."""
        ends = np.cumsum(sizes).tolist()
        return [self.slice(x, axis, end - size, end) for size, end in zip(sizes, ends, strict=True)]


class Runtime(Protocol):
    """Makes graphs. `name` is for people; `notes` says what the machine lacks and what is done instead."""

    name: str
    notes: tuple[str, ...]

    def graph(self, precision: Precision) -> Graph:
        """An empty graph whose large weights are stored in this precision."""
        ...


class PastAttention(NamedTuple):
    """Attention over what is new and what a cache holds, layer after layer.

    masks: what is added to the products with cached keys [R, 1, 1, P] and with new ones [1, 1, T, T]. caches: each
    layer's keys and values [R, shared heads, P, size]. added: filled with each layer's new keys and values.
    """

    graph: Graph
    masks: tuple[Node, Node]
    caches: Sequence[Node]
    added: list[Node]

    def __call__(self, q: Node, k: Node, v: Node) -> Node:
        """softmax(q k) v in the next layer; the cache is read where it lies, never joined with what is new."""
        graph, masks = self.graph, self.masks
        keys, values = self.caches[len(self.added) : len(self.added) + 2]
        self.added.extend([k, v])
        behind = graph.add(graph.matmul(q, keys, transpose_b=True), masks[0])
        here = graph.add(graph.matmul(q, k, transpose_b=True), masks[1])
        shares = graph.softmax(graph.concatenate([here, behind], 3))
        here, behind = graph.divide(shares, 3, k, 2)
        return graph.add(graph.matmul(here, v), graph.matmul(behind, values))


def array(values: Tensor | Array) -> Array:
    """A float32 array on the processor (shared memory where it is one already)."""
    out: Array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
    return out


def weights_of(layers: Sequence[Layer]) -> tuple[list[Array], Array | None]:
    """The weights of the layers, and their biases one after the other: None where no layer has one."""
    weights = [array(layer.weight) for layer in layers]
    if all(layer.bias is None for layer in layers):
        return weights, None
    biases = [
        np.zeros(len(weight), np.float32) if layer.bias is None else array(layer.bias)
        for weight, layer in zip(weights, layers, strict=True)
    ]
    return weights, np.concatenate(biases)


def quantised(weights: Sequence[Array]) -> tuple[npt.NDArray[np.int8], Array]:
    """Weights as int8 [sum of outs, in] and the scale of each output [sum of outs, 1]."""
    values, scales = [], []
    for weight in weights:
        largest = np.abs(weight).max(axis=1, keepdims=True)
        scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
        values.append(np.rint(weight / scale).astype(np.int8))
        scales.append(scale)
    if len(values) == 1:
        return values[0], scales[0]
    return np.concatenate(values), np.concatenate(scales)
