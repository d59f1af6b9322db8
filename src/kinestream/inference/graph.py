"""The backend interface: a graph of some twenty operations that a runtime compiles to a program on arrays.

A runtime is a class with the methods of `Graph`. Nothing else of this project knows which one is used: our own
(`cpu.runtime`) where the processor has AVX-512 VNNI, elsewhere OpenVINO (`openvino`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kinestream.errors import MissingExtraError
from kinestream.inference.cpu.features import instructions

Array = npt.NDArray[np.float32]
Node = Any
Precision = Literal["float32", "int8"]


class Affine(NamedTuple):
    """weight [out, in], bias [out] or None."""

    weight: Array
    bias: Array | None = None


class Program(Protocol):
    """A compiled graph. Many threads may call it; they take turns."""

    def __call__(self, *inputs: Array | Sequence[Array]) -> tuple[Array, ...]:
        """Run on inputs in the order in which they were made; the outputs are the caller's.

        An input may come in parts, one after the other along its first dimension.
        """
        ...


class Graph(Protocol):
    """Records operations, then compiles them. Sizes given as -1 may differ from call to call."""

    def input(self, *shape: int) -> Node:
        """The next input, float32."""
        ...

    def constant(self, values: Array | float) -> Node:
        """Fixed numbers in full precision."""
        ...

    def linear(self, x: Node, layers: Sequence[Affine]) -> Node:
        """x @ weight.T + bias; the outputs of several layers stand side by side. Weights have the graph's precision."""
        ...

    def add(self, a: Node, b: Node) -> Node:
        """Sum, with broadcasting."""
        ...

    def multiply(self, a: Node, b: Node) -> Node:
        """Product, with broadcasting."""
        ...

    def matmul(self, a: Node, b: Node, *, transpose_b: bool = False) -> Node:
        """Matrix product of the last two dimensions."""
        ...

    def relu(self, x: Node) -> Node:
        """max(x, 0)."""
        ...

    def silu(self, x: Node) -> Node:
        """x sigmoid(x)."""
        ...

    def softmax(self, x: Node) -> Node:
        """Softmax over the last dimension."""
        ...

    def layer_norm(self, x: Node, eps: float) -> Node:
        """Mean 0 and variance 1 over the last dimension; no gains."""
        ...

    def rms_norm(self, x: Node, gain: Array, eps: float) -> Node:
        """x / sqrt(mean of squares + eps) * gain over the last dimension."""
        ...

    def unit_norm(self, x: Node) -> Node:
        """x divided by its Euclidean length over the last dimension."""
        ...

    def rotate(self, x: Node, cos: Node, sin: Node) -> Node:
        """The two halves of the last dimension turned: (first cos - second sin, first sin + second cos)."""
        ...

    def reshape(self, x: Node, *shape: int) -> Node:
        """0 keeps a size, -1 takes what is left."""
        ...

    def transpose(self, x: Node, *order: int) -> Node:
        """Dimensions in this order."""
        ...

    def concatenate(self, parts: Sequence[Node], axis: int) -> Node:
        """Join along an axis."""
        ...

    def split(self, x: Node, parts: int, axis: int) -> list[Node]:
        """Equal parts along an axis."""
        ...

    def slice(self, x: Node, axis: int, start: int, stop: int | None) -> Node:
        """A range along an axis; negative numbers count from the end, None is the end."""
        ...

    def divide(self, x: Node, axis: int, other: Node, other_axis: int) -> tuple[Node, Node]:
        """Two parts along an axis, the first as long as `other` is along its own: a size known only when it runs."""
        ...

    def compile(self, *outputs: Node) -> Program:
        """The program that gives these nodes."""
        ...


class Runtime(Protocol):
    """Makes graphs. `name` is for people; `notes` says what the machine lacks and what is done instead."""

    name: str
    notes: tuple[str, ...]

    def graph(self, precision: Precision) -> Graph:
        """An empty graph whose large weights are stored in this precision."""
        ...


def load_runtime(threads: int | None = None) -> Runtime:
    """The fastest runtime for this processor; `threads` is how many it may use, None for as many as torch.

    Raises:
        MissingExtraError: it is the extra's, and that is not installed.
    """
    if has_int8_rows():
        from kinestream.inference.cpu.runtime import RowsRuntime

        return RowsRuntime(threads)
    try:
        from kinestream.inference.openvino import OpenVINORuntime
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != "openvino":
            raise
        raise MissingExtraError("Fast mode on this processor", "fast") from error
    return OpenVINORuntime(threads)


def has_int8_rows() -> bool:
    """Whether our kernels can run on this processor."""
    return instructions() is not None


def quantised(layers: Sequence[Affine]) -> tuple[npt.NDArray[np.int8], Array]:
    """Weights as int8 [sum of outs, in] and the scale of each output [sum of outs, 1]."""
    values, scales = [], []
    for weight, _ in layers:
        largest = np.abs(weight).max(axis=1, keepdims=True)
        scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
        values.append(np.rint(weight / scale).astype(np.int8))
        scales.append(scale)
    if len(values) == 1:
        return values[0], scales[0]
    return np.concatenate(values), np.concatenate(scales)


def joined_bias(layers: Sequence[Affine]) -> Array | None:
    """The biases of the layers one after the other; None where no layer has one."""
    if all(bias is None for _, bias in layers):
        return None
    zeros = [np.zeros(len(weight), np.float32) if bias is None else bias for weight, bias in layers]
    return np.concatenate(zeros)
