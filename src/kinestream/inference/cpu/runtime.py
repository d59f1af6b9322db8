"""Graphs carried out by our own kernels for small batches (GEMV): weights are read once, as fast as memory allows.

A program is a table of operations that is made once for every set of input sizes and carried out in one call; nothing
is decided while it runs. See `kernels` for the arithmetic.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinestream.inference.cpu import kernels
from kinestream.inference.cpu.plan import (
    BETWEEN,
    FIRST_INPUT,
    SCATTERED,
    SMALLEST_GROUP,
    Int8Matrix,
    Layout,
    Node,
    Plan,
    Planner,
    address_of,
    aligned,
)
from kinestream.inference.cpu.threads import helpers
from kinestream.inference.graph import Array, Graph, Precision, Program, array, weights_of
from kinestream.nn.operations import Layer

# Smaller matrices stay in float32: reading them costs nothing, and rounding them would.
_SMALL_WEIGHTS = 64 * 1024
_MAX_PLANS = 128
# More threads than this only wait for memory.
_MOST_THREADS = 8


class KernelRuntime:
    """Holds the settings of all programs.

    Rows of an int8 product are rounded to int8 as well, with one scale for up to 256 values that is found while it
    runs; all else is float32, small matrices and those whose sizes are no multiples of 16 too. A row's bits do not
    depend on the other rows.
    """

    name = "kernels"
    notes: tuple[str, ...] = ()

    def __init__(self, threads: int | None = None) -> None:
        self.threads = min(torch.get_num_threads() if threads is None else threads, _MOST_THREADS)

    def graph(self, precision: Precision) -> KernelGraph:
        """An empty graph."""
        return KernelGraph(self.threads, precision)


class KernelGraph(Graph):
    """One graph; see `kinestream.inference.graph.Graph`."""

    def __init__(self, threads: int, precision: Precision) -> None:
        self._threads = threads
        self._precision = precision
        self._nodes: list[Node] = []
        self._inputs: list[Node] = []

    def _add(self, kind: str, *inputs: Node, settings: tuple[Any, ...] = ()) -> Node:
        node = Node(kind, inputs, settings)
        self._nodes.append(node)
        return node

    def input(self, *shape: int) -> Node:
        """The next input."""
        node = Node("input")
        self._inputs.append(node)
        return node

    def constant(self, values: Tensor | Array | float) -> Node:
        """Fixed values."""
        plain = array(values) if isinstance(values, Tensor) else values
        return Node("constant", value=np.ascontiguousarray(plain, dtype=np.float32))

    def linear(self, x: Node, layers: Sequence[Layer]) -> Node:
        """Matrix products with the layers' weights."""
        weights, bias = weights_of(layers)
        outs, width = sum(len(weight) for weight in weights), weights[0].shape[1]
        bias = np.zeros(outs, np.float32) if bias is None else np.ascontiguousarray(bias, np.float32)
        fits = outs % kernels.TILE == 0 and width % SMALLEST_GROUP == 0
        if self._precision == "int8" and outs * width >= _SMALL_WEIGHTS and fits:
            return self._add("linear_int8", x, settings=(Int8Matrix(weights, bias),))
        weight = np.concatenate(weights)
        return self._add("linear", x, settings=(np.ascontiguousarray(weight), bias))

    def add(self, a: Node, b: Node) -> Node:
        """Sum."""
        return self._add("add", a, b)

    def multiply(self, a: Node, b: Node) -> Node:
        """Product."""
        return self._add("multiply", a, b)

    def matmul(self, a: Node, b: Node, *, transpose_b: bool = False) -> Node:
        """Matrix product."""
        return self._add("matmul", a, b, settings=(transpose_b,))

    def relu(self, x: Node) -> Node:
        """max(x, 0)."""
        return self._add("relu", x)

    def silu(self, x: Node) -> Node:
        """x sigmoid(x)."""
        return self._add("silu", x)

    def softmax(self, x: Node) -> Node:
        """Softmax over the last dimension."""
        return self._add("softmax", x)

    def standardize(self, x: Node, eps: float) -> Node:
        """Mean 0, variance 1."""
        return self._add("layer_norm", x, settings=(eps,))

    def rms_norm(self, x: Node, gain: Tensor, eps: float) -> Node:
        """Unit mean square, then a gain."""
        return self._add("rms_norm", x, self.constant(gain), settings=(eps,))

    def unit_norm(self, x: Node) -> Node:
        """Unit length."""
        return self._add("unit_norm", x, settings=(1e-24,))

    def rotate(self, x: Node, angles: tuple[Node, Node]) -> Node:
        """Halves turned."""
        return self._add("rotate", x, *angles)

    def reshape(self, x: Node, *shape: int) -> Node:
        """New sizes."""
        return self._add("reshape", x, settings=shape)

    def transpose(self, x: Node, *order: int) -> Node:
        """New order of dimensions."""
        return self._add("transpose", x, settings=order)

    def concatenate(self, parts: Sequence[Node], axis: int) -> Node:
        """Join."""
        return self._add("concatenate", *parts, settings=(axis,))

    def slice(self, x: Node, axis: int, start: int, stop: int | None) -> Node:
        """A range."""
        return self._add("slice", x, settings=(axis, start, stop))

    def divide(self, x: Node, axis: int, other: Node, other_axis: int) -> tuple[Node, Node]:
        """Two parts, the first as long as another node."""
        return (
            self._add("before", x, other, settings=(axis, other_axis)),
            self._add("after", x, other, settings=(axis, other_axis)),
        )

    def compile(self, *outputs: Node) -> Program:
        """The program."""
        return _KernelProgram(self._nodes, self._inputs, outputs, self._threads)


class _KernelProgram:
    """Carries out one graph."""

    def __init__(self, nodes: Sequence[Node], inputs: Sequence[Node], outputs: Sequence[Node], threads: int) -> None:
        self._planner = Planner(nodes, inputs, outputs, threads)
        self._plans: OrderedDict[tuple[Layout, ...], Plan] = OrderedDict()
        self._bases = np.zeros(FIRST_INPUT + len(inputs), np.int64)
        self._alone = np.zeros(kernels.SYNC_NUMBERS, np.int64)
        self._bases_address, self._alone_address = address_of(self._bases), address_of(self._alone)
        self._helpers = helpers(threads - 1)
        self._lock = threading.Lock()
        self._room = np.zeros(0, np.float32)

    def __call__(self, *inputs: Array | Sequence[Array]) -> tuple[Array, ...]:
        """Run; inputs are read where they lie, outputs are copies."""
        given = [_given(part) for part in inputs]
        with self._lock:
            plan = self._plan(tuple(part.layout for part in given))
            self._bases[FIRST_INPUT:] = [part.address for part in given]
            self._helpers.run(plan.address, len(plan.table), self._bases_address, self._alone_address)
            return tuple(self._room[first:stop].reshape(shape).copy() for first, stop, shape in plan.outputs)

    def _plan(self, layouts: tuple[Layout, ...]) -> Plan:
        plan = self._plans.get(layouts)
        if plan is None:
            plan = self._plans[layouts] = self._planner.plan(layouts)
            if len(self._plans) > _MAX_PLANS:
                self._plans.popitem(last=False)
            if plan.room > len(self._room):
                self._room = aligned(plan.room, np.dtype(np.float32))
                self._bases[BETWEEN] = address_of(self._room)
        else:
            self._plans.move_to_end(layouts)
        return plan


class _Given(NamedTuple):
    """An input: its layout, its address (of where its rows lie, if they are scattered), and what has to stay."""

    layout: Layout
    address: int
    kept: Any


def _given(values: Array | Sequence[Array]) -> _Given:
    if not isinstance(values, np.ndarray):
        if len(values) > 1:
            return _scattered(values)
        values = values[0]
    values = _readable(values)
    return _Given((values.shape, values.strides), address_of(values), values)


def _scattered(parts: Sequence[Array]) -> _Given:
    """Rows that lie in several arrays: a table of their addresses."""
    if any(part.shape[1:] != parts[0].shape[1:] or part.strides[1:] != parts[0].strides[1:] for part in parts):
        return _given(np.concatenate(parts))
    kept = [_readable(part) for part in parts]
    rows = np.array([address_of(part) + row * part.strides[0] for part in kept for row in range(len(part))], np.int64)
    layout = (len(rows), *kept[0].shape[1:]), (SCATTERED, *kept[0].strides[1:])
    return _Given(layout, address_of(rows), (rows, kept))


def _readable(values: Array) -> Array:
    """An array as it is, where its lines lie in one piece; a copy else."""
    if values.dtype == np.float32 and values.ndim and values.strides[-1] == 4 and min(values.strides) > 0:
        return values
    return np.ascontiguousarray(values, np.float32)
