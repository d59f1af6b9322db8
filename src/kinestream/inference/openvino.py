"""Graphs compiled by OpenVINO for the processor: int8 weights, one scale an output, sums of int8 products."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from torch import Tensor

from kinestream.inference.graph import Array, Graph, Node, Precision, Program, array, quantised, weights_of
from kinestream.inference.paged import PagedMemory
from kinestream.nn.operations import Layer

# Smaller matrices stay in float32: reading them costs nothing, and rounding them would.
_SMALL_WEIGHTS = 64 * 1024
_GROUPS = (256, 128, 64, 32)


class OpenVINORuntime:
    """Holds the settings of all programs.

    Activations of an int8 product are rounded to int8 as well, with one scale for up to 256 values that is found while
    it runs; all else is float32.
    """

    name = "OpenVINO"

    def __init__(self, threads: int | None = None) -> None:
        self._core = openvino.Core()
        self._threads = torch.get_num_threads() if threads is None else threads
        able: Sequence[str] = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.int8 = "INT8" in able
        self.notes: tuple[str, ...] = ()
        if not self.int8:
            self.notes = ("this processor has no fast int8 products; fast mode keeps float32 weights",)

    def graph(self, precision: Precision) -> OpenVINOGraph:
        """An empty graph; float32 where the processor has no int8 products."""
        return OpenVINOGraph(self, precision if self.int8 else "float32")

    def compiled(self, model: openvino.Model, group: int) -> openvino.CompiledModel:
        """Compile for one caller who waits for each answer; `group` values of a row share a scale, 0 for none."""
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self._threads,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
        }
        return self._core.compile_model(model, "CPU", settings)


class OpenVINOGraph(Graph):
    """One graph; see `kinestream.inference.graph.Graph`."""

    def __init__(self, runtime: OpenVINORuntime, precision: Precision) -> None:
        self._runtime = runtime
        self._precision = precision
        self._inputs: list[Node] = []
        self._common_width = 0
        self._paged = PagedMemory()

    def input(self, *shape: int) -> Node:
        """The next input."""
        node = ops.parameter(list(shape), np.float32)
        self._inputs.append(node)
        return node

    def constant(self, values: Tensor | Array | float) -> Node:
        """Fixed values."""
        plain = array(values) if isinstance(values, Tensor) else values
        return ops.constant(np.ascontiguousarray(plain, dtype=np.float32))

    def linear(self, x: Node, layers: Sequence[Layer]) -> Node:
        """Matrix products with the layers' weights."""
        weights, bias = weights_of(layers)
        if self._precision == "int8" and sum(weight.size for weight in weights) > _SMALL_WEIGHTS:
            values, scales = quantised(weights)
            self._common_width = math.gcd(self._common_width, values.shape[1])
            # The compiled program packs the weights anew when it first runs, and never releases these.
            stored = ops.constant(self._paged.store(values), shared_memory=True)
            weight = ops.multiply(ops.convert(stored, "f32"), ops.constant(scales))
        else:
            weight = self.constant(np.concatenate(weights))
        product = ops.matmul(x, weight, False, True)
        return product if bias is None else ops.add(product, self.constant(bias))

    def add(self, a: Node, b: Node) -> Node:
        """Sum."""
        return ops.add(a, b)

    def multiply(self, a: Node, b: Node) -> Node:
        """Product."""
        return ops.multiply(a, b)

    def matmul(self, a: Node, b: Node, *, transpose_b: bool = False) -> Node:
        """Matrix product."""
        return ops.matmul(a, b, False, transpose_b)

    def relu(self, x: Node) -> Node:
        """max(x, 0)."""
        return ops.relu(x)

    def silu(self, x: Node) -> Node:
        """x sigmoid(x)."""
        return ops.swish(x)

    def softmax(self, x: Node) -> Node:
        """Softmax over the last dimension."""
        return ops.softmax(x, -1)

    def standardize(self, x: Node, eps: float) -> Node:
        """Mean 0, variance 1."""
        return ops.mvn(x, _index(-1), True, eps, "inside_sqrt")

    def rms_norm(self, x: Node, gain: Tensor, eps: float) -> Node:
        """Unit mean square, then a gain."""
        mean = ops.reduce_mean(ops.multiply(x, x), _index(-1), True)
        root = ops.sqrt(ops.add(mean, self.constant(eps)))
        return ops.multiply(ops.divide(x, root), self.constant(gain))

    def unit_norm(self, x: Node) -> Node:
        """Unit length."""
        square = ops.reduce_sum(ops.multiply(x, x), _index(-1), True)
        return ops.divide(x, ops.sqrt(ops.maximum(square, self.constant(1e-24))))

    def rotate(self, x: Node, angles: tuple[Node, Node]) -> Node:
        """Halves turned."""
        (cos, sin), parts = angles, ops.split(x, ops.constant(np.int64(-1)), 2)
        first, second = parts.output(0), parts.output(1)
        turned_first = ops.subtract(ops.multiply(first, cos), ops.multiply(second, sin))
        turned_second = ops.add(ops.multiply(first, sin), ops.multiply(second, cos))
        return self.concatenate([turned_first, turned_second], -1)

    def reshape(self, x: Node, *shape: int) -> Node:
        """New sizes."""
        return ops.reshape(x, ops.constant(np.array(shape, np.int64)), True)

    def transpose(self, x: Node, *order: int) -> Node:
        """New order of dimensions."""
        return ops.transpose(x, ops.constant(np.array(order, np.int64)))

    def concatenate(self, parts: Sequence[Node], axis: int) -> Node:
        """Join."""
        return ops.concat(list(parts), axis)

    def slice(self, x: Node, axis: int, start: int, stop: int | None) -> Node:
        """A range."""
        end = np.iinfo(np.int64).max if stop is None else stop
        return ops.slice(x, _index(start), _index(end), _index(1), _index(axis))

    def divide(self, x: Node, axis: int, other: Node, other_axis: int) -> tuple[Node, Node]:
        """Two parts, the first as long as another node."""
        length = ops.gather(ops.shape_of(other), _index(other_axis), ops.constant(np.int64(0)))
        end, one = _index(np.iinfo(np.int64).max), _index(1)
        return ops.slice(x, _index(0), length, one, _index(axis)), ops.slice(x, length, end, one, _index(axis))

    def compile(self, *outputs: Node) -> Program:
        """Compile; the recorded graph and its weights are released."""
        model = openvino.Model(list(outputs), self._inputs, "kinestream")
        # Larger groups are faster; a group has to divide the width of every matrix.
        group = next((size for size in _GROUPS if self._common_width and self._common_width % size == 0), 0)
        program = _OpenVINOProgram(self._runtime.compiled(model, group), self._paged)
        self._paged.release()
        self._inputs, self._paged = [], PagedMemory()
        return program


class _OpenVINOProgram:
    """Runs one compiled graph."""

    def __init__(self, compiled: openvino.CompiledModel, weights: PagedMemory) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        self._weights = weights
        self._packed = False
        self._lock = threading.Lock()

    def __call__(self, *inputs: Array | Sequence[Array]) -> tuple[Array, ...]:
        """Run; whole inputs are read in place, outputs are copies."""
        whole = [part if isinstance(part, np.ndarray) else np.concatenate(part) for part in inputs]
        with self._lock:
            found = self._request.infer(
                [np.ascontiguousarray(part) for part in whole], share_inputs=True, share_outputs=True
            )
            if not self._packed:
                self._weights.release()
                self._packed = True
            return tuple(found[index].copy() for index in range(self._outputs))


def _index(value: int) -> Node:
    return ops.constant(np.array([value], np.int64))
