"""Programs of our kernels as tables: what each operation reads and writes, for one set of input sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.inference.cpu import kernels
from kinestream.inference.graph import Array, quantised

# The fewest and the most values of a row that share a scale when they are rounded.
SMALLEST_GROUP, _LARGEST_GROUP = 16, 256
# Products of so many weights and rows, and other operations on so many values, are shared among threads.
_SHARED_PRODUCTS, _SHARED_VALUES = 1 << 20, 1 << 18
# The last dimension of an operation is no longer than this, so that there are lines to share.
_LONGEST_LINE = 4096
_LINE_BYTES = 64


@dataclass(eq=False)
class Node:
    """An operation on nodes; `settings` are its own (sizes, weights)."""

    kind: str
    inputs: tuple[Node, ...] = ()
    settings: tuple[Any, ...] = ()
    value: Array | None = None


class Int8Matrix:
    """Weights in tiles, see `kernels`; a scale and a bias an output."""

    def __init__(self, weights: Sequence[Array], bias: Array) -> None:
        values, scales = quantised(weights)
        outs, width = values.shape
        shape = (outs // kernels.TILE, kernels.TILE, width // 4, 4)
        tiles = aligned(values.size, np.dtype(np.uint8)).reshape(shape[0], shape[2], kernels.TILE, 4)
        np.bitwise_xor(values.view(np.uint8).reshape(shape).swapaxes(1, 2), 128, out=tiles)
        self.kept = (tiles, np.ascontiguousarray(scales[:, 0]), bias)
        self.addresses = [address_of(part) for part in self.kept]
        self.outs, self.size = outs, tiles.size
        # How many values of a row share a scale: the most that divide it.
        sizes = range(SMALLEST_GROUP, _LARGEST_GROUP + 1, SMALLEST_GROUP)
        self.group = max(size for size in sizes if width % size == 0)


def address_of(values: npt.NDArray[Any]) -> int:
    address: int = values.__array_interface__["data"][0]
    return address


def aligned(count: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """So many zeros that begin where a line of the processor's cache does."""
    whole = np.zeros(count + _LINE_BYTES // kind.itemsize, kind)
    first = -address_of(whole) % _LINE_BYTES // kind.itemsize
    return whole[first : first + count]


# Views are made by numpy itself, on an array that nobody reads or writes: only their places, sizes and strides count.
_SPACE: Array = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1 << 40,), (4,))
_ORIGIN = address_of(_SPACE)
# The bias of a matrix product that has none.
_NOTHING: Array = np.zeros(kernels.BLOCK, np.float32)
_ABSOLUTE, BETWEEN, FIRST_INPUT = 0, 1, 2
# Sizes and strides of an input; the first stride may say that rows are found by their addresses.
Layout = tuple[tuple[int, ...], tuple[int, ...]]
SCATTERED = -1
_VIEWS = ("reshape", "transpose", "slice", "before", "after")
_UNARY = {"copy": kernels.COPY, "relu": kernels.RELU, "silu": kernels.SILU}
_BINARY = {"add": kernels.ADD, "multiply": kernels.MULTIPLY}
_ELEMENTWISE = {**_UNARY, **_BINARY, "rotate": kernels.ROTATE}
_BY_ROWS = {
    "layer_norm": kernels.LAYER_NORM,
    "rms_norm": kernels.RMS_NORM,
    "unit_norm": kernels.UNIT_NORM,
    "softmax": kernels.SOFTMAX,
}


class _Place(NamedTuple):
    """Where values lie: a base (nowhere in particular, between, or an input), a view, and its bytes from the base.

    Where rows are scattered the base holds their addresses, and only a matrix product's second operand may be so.
    """

    base: int
    view: Array
    offset: int
    scattered: bool = False


def _placed(base: int, view: Array) -> _Place:
    return _Place(base, view, address_of(view) - (0 if base == _ABSOLUTE else _ORIGIN))


class _Room:
    """Gives out and takes back room between operations; counts floats."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []
        self.size = 0

    def take(self, count: int) -> tuple[int, int]:
        """(offset, size) of a piece."""
        line = _LINE_BYTES // 4
        count = -(-max(count, 1) // line) * line
        for index, (offset, size) in enumerate(self._free):
            if size >= count:
                if size > count:
                    self._free[index] = (offset + count, size - count)
                else:
                    del self._free[index]
                return offset, count
        offset = self.size
        self.size += count
        return offset, count

    def give(self, piece: tuple[int, int]) -> None:
        """Take a piece back, joined with what is free beside it."""
        pieces = sorted([*self._free, piece])
        joined = [pieces[0]]
        for offset, size in pieces[1:]:
            last = joined[-1]
            if last[0] + last[1] == offset:
                joined[-1] = (last[0], last[1] + size)
            else:
                joined.append((offset, size))
        self._free = joined


class Plan(NamedTuple):
    """The table for one set of input sizes and its address, the room it takes between operations, in floats, and where
    the outputs lie there: first, stop, sizes."""

    table: npt.NDArray[np.int64]
    address: int
    room: int
    outputs: list[tuple[int, int, tuple[int, ...]]]


def _sources(nodes: Sequence[Node]) -> dict[Node, Node]:
    """Of each view, what it is a view of."""
    found: dict[Node, Node] = {}
    for node in nodes:
        if node.kind in _VIEWS:
            found[node] = found.get(node.inputs[0], node.inputs[0])
    return found


def _last_uses(nodes: Sequence[Node], outputs: Sequence[Node], sources: dict[Node, Node]) -> dict[int, list[Node]]:
    """What is read for the last time by each operation; views count as their source."""
    last: dict[Node, int] = {}
    for number, node in enumerate(nodes):
        for one in (node, *node.inputs):
            last[sources.get(one, one)] = number
    for node in outputs:
        last[sources.get(node, node)] = len(nodes)
    ending: dict[int, list[Node]] = {}
    for node, number in last.items():
        ending.setdefault(number, []).append(node)
    return ending


class Planner:
    """Makes the tables of one graph, a set of input sizes at a time."""

    def __init__(self, nodes: Sequence[Node], inputs: Sequence[Node], outputs: Sequence[Node], threads: int) -> None:
        self._nodes, self._inputs, self._outputs, self._threads = nodes, inputs, outputs, threads
        self._sources = _sources(nodes)
        self._last_uses = _last_uses(nodes, outputs, self._sources)

    def plan(self, layouts: Sequence[Layout]) -> Plan:
        """Plan all operations in their order."""
        self._places: dict[Node, _Place] = {}
        self._pieces: dict[Node, list[tuple[int, int]]] = {}
        self._passing: list[tuple[int, int]] = []
        self._room = _Room()
        self._rows: list[list[int]] = []
        for number, (node, (shape, strides)) in enumerate(zip(self._inputs, layouts, strict=True)):
            scattered = strides[0] == SCATTERED
            view = np.lib.stride_tricks.as_strided(_SPACE, shape, (0, *strides[1:]) if scattered else strides)
            self._places[node] = _Place(FIRST_INPUT + number, view, 0, scattered)
        for number, node in enumerate(self._nodes):
            self._places[node] = self._view(node) if node.kind in _VIEWS else self._operation(node)
            for ended in self._last_uses.get(number, ()):
                self._passing += self._pieces.pop(ended, [])
            while self._passing:
                self._room.give(self._passing.pop())
        found = []
        for node in self._outputs:
            place = self._contiguous(self._of(node), keep=True)
            first = place.offset // 4
            found.append((first, first + place.view.size, place.view.shape))
        table = np.array(self._rows, np.int64)
        return Plan(table, address_of(table), self._room.size, found)

    def _of(self, node: Node) -> _Place:
        if node.kind == "constant":
            assert node.value is not None
            return _placed(_ABSOLUTE, node.value)
        return self._places[node]

    def _new(self, shape: tuple[int, ...], node: Node | None = None) -> _Place:
        """Room for a result; without a node only until the operation at hand is over."""
        size = math.prod(shape)
        piece = self._room.take(size)
        if node is None:
            self._passing.append(piece)
        else:
            self._pieces.setdefault(self._sources.get(node, node), []).append(piece)
        return _Place(BETWEEN, _SPACE[piece[0] : piece[0] + size].reshape(shape), 4 * piece[0])

    def _view(self, node: Node) -> _Place:
        place = self._of(node.inputs[0])
        base, view, offset, scattered = place
        assert not scattered, "rows in one array"
        if node.kind == "transpose":
            return _Place(base, view.transpose(node.settings), offset)
        if node.kind == "reshape":
            shape = [view.shape[index] if size == 0 else size for index, size in enumerate(node.settings)]
            if -1 in shape:
                shape[shape.index(-1)] = view.size // -math.prod(shape) if view.size else 0
            return self._reshaped(node, place, tuple(shape))
        axis = node.settings[0]
        if node.kind == "slice":
            chosen = slice(node.settings[1], node.settings[2])
        else:
            length = self._of(node.inputs[1]).view.shape[node.settings[1]]
            chosen = slice(None, length) if node.kind == "before" else slice(length, None)
        return _placed(base, view[(slice(None),) * (axis % view.ndim) + (chosen,)])

    def _reshaped(self, node: Node, place: _Place, shape: tuple[int, ...]) -> _Place:
        view = place.view.view()
        try:
            view.shape = shape
        except AttributeError:
            # The values don't lie so that they could be seen in these sizes: they move, to stay as long as the node.
            return self._lines("copy", self._new(place.view.shape, node), place, reshape=shape)
        return _Place(place.base, view, place.offset)

    def _operation(self, node: Node) -> _Place:
        kind, places = node.kind, [self._of(one) for one in node.inputs]
        assert not any(place.scattered for place in (places[:1] if kind == "matmul" else places)), "rows in one array"
        if kind in _UNARY:
            return self._lines(kind, self._new(places[0].view.shape, node), *places)
        if kind in _BINARY:
            first, second = (place.view.shape for place in places)
            shape = first if first == second else np.broadcast_shapes(first, second)
            return self._lines(kind, self._new(shape, node), *places)
        if kind == "concatenate":
            return self._concatenated(node, places)
        if kind == "matmul":
            return self._matmul(node, *places)
        if kind == "rotate":
            return self._rotated(node, *places)
        x = self._contiguous(places[0])
        width = x.view.shape[-1]
        rows = x.view.size // width if width else 0
        if kind in _BY_ROWS:
            out = self._new(x.view.shape, node)
            eps = np.float32(node.settings[0] if node.settings else 0.0).view(np.int32)
            shared = x.view.size >= _SHARED_VALUES
            return self._put(_BY_ROWS[kind], (out, x, places[-1]), [rows, width, int(eps)], shared)
        if kind == "linear":
            weight, bias = node.settings
            out = self._new((*x.view.shape[:-1], len(weight)), node)
            numbers = [rows, width, len(weight), address_of(weight), address_of(bias)]
            return self._put(kernels.LINEAR, (out, x), numbers, rows * weight.size >= _SHARED_PRODUCTS)
        return self._linear_int8(node, x, rows, width)

    def _linear_int8(self, node: Node, x: _Place, rows: int, width: int) -> _Place:
        matrix: Int8Matrix = node.settings[0]
        out = self._new((*x.view.shape[:-1], matrix.outs), node)
        groups, quads = width // matrix.group, matrix.group // 4
        rounded = -(-rows * width // 64) * 64
        scratch = self._new(((rounded + 8 * rows * groups) // 4 + 1,))
        numbers = [rows, groups, quads, matrix.outs // kernels.TILE, *matrix.addresses, rounded]
        return self._put(kernels.LINEAR_INT8, (out, x, scratch), numbers, rows * matrix.size >= _SHARED_PRODUCTS)

    def _concatenated(self, node: Node, places: Sequence[_Place]) -> _Place:
        axis = node.settings[0] % places[0].view.ndim
        shape = list(places[0].view.shape)
        shape[axis] = sum(place.view.shape[axis] for place in places)
        out = self._new(tuple(shape), node)
        begin = 0
        for place in places:
            end = begin + place.view.shape[axis]
            self._lines("copy", _placed(out.base, out.view[(slice(None),) * axis + (slice(begin, end),)]), place)
            begin = end
        return out

    def _matmul(self, node: Node, a: _Place, b: _Place) -> _Place:
        transposed = node.settings[0]
        a, b = (place if _steps(place.view)[-1] == 1 else self._contiguous(place) for place in (a, b))
        n, k = a.view.shape[-2:]
        m = b.view.shape[-2] if transposed else b.view.shape[-1]
        assert a.view.shape[:-2] == b.view.shape[:-2], "batches of matrices are equal"
        assert a.view.ndim <= 5, "at most three dimensions of matrices"
        batch = (1,) * (5 - a.view.ndim) + a.view.shape[:-2]
        out = self._new((*a.view.shape[:-2], n, m), node)
        steps_a, steps_b = ([0] * (5 - place.view.ndim) + _steps(place.view) for place in (a, b))
        rows = 5 - b.view.ndim if b.scattered else -1
        numbers = [*batch, n, m, k, *steps_a[:4], *steps_b[:4], int(transposed), rows, address_of(_NOTHING)]
        return self._put(kernels.MATMUL, (out, a, b), numbers, math.prod(batch) * n * m * k >= _SHARED_PRODUCTS)

    def _rotated(self, node: Node, x: _Place, cos: _Place, sin: _Place) -> _Place:
        out = self._new(x.view.shape, node)
        half = x.view.shape[-1] // 2
        first_in, first_out = (_Place(place.base, place.view[..., :half], place.offset) for place in (x, out))
        assert _steps(x.view)[-1] == 1, "halves lie in one piece"
        assert cos.view.strides == sin.view.strides, "cosines and sines lie alike"
        self._lines("rotate", first_out, first_in, cos, sin)
        return out

    def _contiguous(self, place: _Place, *, keep: bool = False) -> _Place:
        if place.view.flags.c_contiguous and not (keep and place.base != BETWEEN):
            return place
        copy = self._new(place.view.shape)
        if keep:
            self._passing.clear()
        return self._lines("copy", copy, place)

    def _lines(self, kind: str, out: _Place, *places: _Place, reshape: tuple[int, ...] | None = None) -> _Place:
        """An elementwise operation; operands are spread over the result's sizes."""
        first, second, third = (*places, places[-1], places[-1])[:3]
        numbers = _lines(*((place.view.shape, place.view.strides) for place in (out, first, second)))
        self._put(_ELEMENTWISE[kind], (out, first, second, third), numbers, out.view.size >= _SHARED_VALUES)
        return out if reshape is None else _Place(out.base, out.view.reshape(reshape), out.offset)

    def _put(self, code: int, places: Sequence[_Place], numbers: Sequence[int], shared: bool) -> _Place:
        """Add an operation; places are the result's and of up to three operands. Gives the result's."""
        row = [code, int(shared and self._threads > 1)] + [0] * (kernels.NUMBERS - 2)
        for number, place in enumerate(places):
            row[2 + 2 * number : 4 + 2 * number] = place.base, place.offset
        row += numbers
        self._rows.append(row + [0] * (kernels.COLUMNS - len(row)))
        return places[0]


def _steps(view: Array) -> list[int]:
    return [stride // 4 for stride in view.strides]


@lru_cache(maxsize=4096)
def _lines(out: Layout, a: Layout, b: Layout) -> tuple[int, ...]:
    """What an elementwise operation has to know: five sizes, and the strides of result and operands."""
    shape = out[0]
    sizes, (to, from_a, from_b) = _merged(shape, [_spread(layout, shape) for layout in (out, a, b)])
    assert to[4] == 1, "a line of a result lies in one piece"
    return (*sizes, *to[:4], *from_a, *from_b)


def _spread(layout: Layout, shape: tuple[int, ...]) -> list[int]:
    """The strides of an array in floats, seen in other sizes; 0 where it repeats."""
    own = [0 if size == 1 else stride // 4 for size, stride in zip(*layout, strict=True)]
    return [0] * (len(shape) - len(own)) + own


def _merged(shape: tuple[int, ...], steps: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """The same places in as few dimensions as they take, filled up to five."""
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in steps]
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            continue
        here = [one[axis] for one in steps]
        joins = bool(sizes) and all(step == one[0] * sizes[0] for step, one in zip(here, kept, strict=True))
        if joins and sizes[0] * shape[axis] <= _LONGEST_LINE:
            sizes[0] *= shape[axis]
        else:
            sizes.insert(0, shape[axis])
            for step, one in zip(here, kept, strict=True):
                one.insert(0, step)
    assert len(sizes) <= 5, "at most five dimensions"
    if not sizes:
        # One value: a line of one.
        return [1] * 5, [[0] * 4 + [1] for _ in steps]
    # A line begins where values lie side by side in the result.
    if kept[0][-1] != 1:
        sizes.append(1)
        for one in kept:
            one.append(1)
    missing = 5 - len(sizes)
    return [1] * missing + sizes, [[0] * missing + one for one in kept]
