"""Kernels of the row runtime: int8 products that read weights at the speed of memory, and the operations between them.

An int8 matrix lies in tiles of 16 outputs, [out / 16, in / 4, 16, 4], as unsigned numbers (128 more than the weight):
one instruction (AVX-512 VNNI) multiplies 64 of them with four numbers of a row and adds up; with AVX2 it takes four
widenings and four products of 16. Both give the same integers. Rows are rounded to int8
with one scale a group of 16 to 256; a group's sum of products is an exact integer. No float is added in an order that
depends on how many rows there are, so a row's numbers are the same bits in any company.

Compiled by numba when first imported and kept on disk; instructions and operations stand in one file, since what is
kept is made anew when its own file changes. Addresses are plain integers: weights, inputs and what lies between are
spread over many arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils as _untyped_cgutils
from numba.extending import intrinsic

from kinestream.inference.cpu.features import instructions
from kinestream.nn.jit import jit

TILE = 16
# 32 registers of 16 floats, or 16 of 8: sums that stay in registers are many or few.
_WIDE = instructions() == "avx512-vnni"
_BYTE, _SHORT, _INT, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_FLOAT, _POINTER = ir.FloatType(), ir.PointerType()
_INTS, _FLOATS = ir.VectorType(_INT, TILE), ir.VectorType(_FLOAT, TILE)
_SHORTS, _PAIRS = ir.VectorType(_SHORT, 16), ir.VectorType(_INT, 8)
_PREFETCH_BYTES = 2048
cgutils: Any = _untyped_cgutils
_intrinsic: Callable[[Any], Any] = intrinsic


def _spread(builder: Any, value: Any, kind: Any) -> Any:
    zeros = ir.Constant(_INTS, [0] * TILE)
    nothing = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, value, ir.Constant(_INT, 0)), nothing, zeros)


def _known(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _added_up(builder: Any, values: Any) -> Any:
    """The sum of 16 floats, halves first: always in the same order."""
    size = TILE
    while size > 1:
        size //= 2
        halves = [ir.Constant(ir.VectorType(_INT, size), list(range(first, first + size))) for first in (0, size)]
        values = builder.fadd(*(builder.shuffle_vector(values, values, half) for half in halves))
    return builder.extract_element(values, ir.Constant(_INT, 0))


class _Wide:
    """Products of a tile's 64 weights with four numbers of a row in one instruction (AVX-512 VNNI)."""

    def begin(self, builder: Any) -> list[Any]:
        """Sums of nothing."""
        total = cgutils.alloca_once(builder, _INTS)
        builder.store(ir.Constant(_INTS, [0] * TILE), total)
        return [total]

    def weights(self, builder: Any, loaded: Any) -> list[Any]:
        """64 unsigned bytes, loaded as 16 integers."""
        return [loaded]

    def add(self, builder: Any, totals: list[Any], weights: list[Any], four: Any) -> None:
        """Add the products with four signed bytes, loaded as one integer."""
        dot = _known(builder, "llvm.x86.avx512.vpdpbusd.512", _INTS, [_INTS] * 3)
        added = builder.call(dot, [builder.load(totals[0]), weights[0], _spread(builder, four, _INTS)])
        builder.store(added, totals[0])

    def total(self, builder: Any, totals: list[Any]) -> Any:
        """The 16 sums."""
        return builder.load(totals[0])


class _Narrow:
    """The same sums by AVX2: bytes widened to 16 bits, whose products go in pairs that are added up last."""

    def begin(self, builder: Any) -> list[Any]:
        """Sums of nothing."""
        totals = [cgutils.alloca_once(builder, _PAIRS) for _ in range(TILE // 4)]
        for total in totals:
            builder.store(ir.Constant(_PAIRS, [0] * 8), total)
        return totals

    def weights(self, builder: Any, loaded: Any) -> list[Any]:
        """64 unsigned bytes, four outputs apart."""
        raw = builder.bitcast(loaded, ir.VectorType(_BYTE, 4 * TILE))
        places = [ir.Constant(ir.VectorType(_INT, 16), list(range(first, first + 16))) for first in range(0, 64, 16)]
        return [builder.zext(builder.shuffle_vector(raw, raw, place), _SHORTS) for place in places]

    def add(self, builder: Any, totals: list[Any], weights: list[Any], four: Any) -> None:
        """Add the products with four signed bytes."""
        pairs = _known(builder, "llvm.x86.avx2.pmadd.wd", _PAIRS, [_SHORTS] * 2)
        wide = builder.bitcast(
            builder.sext(builder.bitcast(four, ir.VectorType(_BYTE, 4)), ir.VectorType(_SHORT, 4)), _LONG
        )
        nothing = ir.Constant(ir.VectorType(_LONG, 4), ir.Undefined)
        first = builder.insert_element(nothing, wide, ir.Constant(_INT, 0))
        spread = builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT, 4), [0] * 4))
        values = builder.bitcast(spread, _SHORTS)
        for total, own in zip(totals, weights, strict=True):
            builder.store(builder.add(builder.load(total), builder.call(pairs, [own, values])), total)

    def total(self, builder: Any, totals: list[Any]) -> Any:
        """The 16 sums."""

        def joined(a: Any, b: Any, size: int) -> Any:
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INT, 2 * size), list(range(2 * size))))

        first, second, third, fourth = (builder.load(total) for total in totals)
        whole = joined(joined(first, second, 8), joined(third, fourth, 8), 16)
        evens, odds = (ir.Constant(_INTS, list(range(start, 2 * TILE, 2))) for start in (0, 1))
        return builder.add(builder.shuffle_vector(whole, whole, evens), builder.shuffle_vector(whole, whole, odds))


def _tile_kernel(rows: int) -> Any:
    """One tile of outputs of `rows` rows, as instructions.

    (weights, x, scales, corrections, groups, quads a group, weight scales, biases, out, outs, ahead): addresses of the
    tile's weights, of int8 rows, of what belongs to each row's groups, of the tile's 16 scales and biases, and of the
    tile's place in the first row's outputs; how many bytes ahead memory is asked for.
    """
    # So many sums a row that one needn't wait for the one before; they divide the quads of every group.
    lanes = {1: 4, 2: 2}.get(rows, 1) if _WIDE else 1
    products = _Wide() if _WIDE else _Narrow()

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        w, x, scales, corrections, groups, quads, w_scales, biases, out, outs, ahead = args
        fma = _known(builder, "llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)
        prefetch = _known(builder, "llvm.prefetch.p0", ir.VoidType(), [_POINTER, _INT, _INT, _INT])

        def number(value: int) -> Any:
            return ir.Constant(_LONG, value)

        def load(address: Any, kind: Any) -> Any:
            return builder.load(builder.inttoptr(address, _POINTER), align=1, typ=kind)

        sums = [cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * TILE)) for _ in range(rows)]
        x_row = builder.mul(builder.mul(groups, quads), number(4))
        with cgutils.for_range(builder, groups) as group:
            whole = [[products.begin(builder) for _ in range(lanes)] for _ in range(rows)]
            begin = builder.mul(group.index, quads)
            with cgutils.for_range(builder, builder.sdiv(quads, number(lanes))) as step:
                for lane in range(lanes):
                    quad = builder.add(begin, builder.add(builder.mul(step.index, number(lanes)), number(lane)))
                    here = builder.add(w, builder.mul(quad, number(4 * TILE)))
                    weights = products.weights(builder, load(here, _INTS))
                    later = builder.inttoptr(builder.add(here, ahead), _POINTER)
                    builder.call(prefetch, [later, *(ir.Constant(_INT, value) for value in (0, 3, 1))])
                    for row in range(rows):
                        place = builder.add(
                            builder.add(x, builder.mul(quad, number(4))), builder.mul(x_row, number(row))
                        )
                        products.add(builder, whole[row][lane], weights, load(place, _INT))
            for row in range(rows):
                total = products.total(builder, whole[row][0])
                for lane in range(1, lanes):
                    total = builder.add(total, products.total(builder, whole[row][lane]))
                place = builder.add(builder.mul(groups, number(row)), group.index)
                place = builder.mul(place, number(4))
                correction = _spread(builder, load(builder.add(corrections, place), _INT), _INTS)
                exact = builder.sitofp(builder.sub(total, correction), _FLOATS)
                scale = _spread(builder, load(builder.add(scales, place), _FLOAT), _FLOATS)
                builder.store(builder.call(fma, [exact, scale, builder.load(sums[row])]), sums[row])
        for row in range(rows):
            value = builder.call(fma, [builder.load(sums[row]), load(w_scales, _FLOATS), load(biases, _FLOATS)])
            place = builder.add(out, builder.mul(outs, number(4 * row)))
            builder.store(value, builder.inttoptr(place, _POINTER), align=1)
        return context.get_dummy_value()

    @_intrinsic
    def tile(typingctx, w, x, scales, corrections, groups, quads, w_scales, biases, out, outs, ahead):  # type: ignore[no-untyped-def]
        return types.void(*[types.int64] * 11), codegen

    return tile


# Rows that are multiplied together: as many as there are registers for their sums.
_MOST_ROWS = 8 if _WIDE else 2
_tile1, _tile2, _tile4, _tile8 = (_tile_kernel(rows) for rows in (1, 2, 4, 8))


def _block_kernel(rows: int, outs: int, ahead: int = 0) -> Any:
    """Float products of `rows` rows with `outs` outputs of a matrix [out, in], as instructions.

    ahead: how many outputs further on weights are asked for; 0 leaves that to the processor.

    (weights, bytes of a row of weights, x, bytes of a row of x, in, what sums begin with, bytes of a row of that, out,
    bytes of a row of out). Each sum has 16 parts, added up in the same order for any block.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        w, w_row, x, x_row, width, begin, begin_row, out, out_row = args
        fma = _known(builder, "llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)
        one_fma = _known(builder, "llvm.fma.f32", _FLOAT, [_FLOAT] * 3)
        prefetch = _known(builder, "llvm.prefetch.p0", ir.VoidType(), [_POINTER, _INT, _INT, _INT])

        def number(value: int) -> Any:
            return ir.Constant(_LONG, value)

        def load(address: Any, kind: Any) -> Any:
            return builder.load(builder.inttoptr(address, _POINTER), align=4, typ=kind)

        def at(base: Any, row: Any, line: int, place: Any) -> Any:
            return builder.add(builder.add(base, builder.mul(row, number(line))), builder.mul(place, number(4)))

        pairs = [(row, column) for row in range(rows) for column in range(outs)]
        sums = {pair: cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * TILE)) for pair in pairs}
        whole = builder.sdiv(width, number(TILE))
        with cgutils.for_range(builder, whole) as step:
            place = builder.mul(step.index, number(TILE))
            xs = [load(at(x, x_row, row, place), _FLOATS) for row in range(rows)]
            for column in range(outs):
                here = at(w, w_row, column, place)
                weights = load(here, _FLOATS)
                if ahead:
                    later = builder.inttoptr(builder.add(here, builder.mul(w_row, number(ahead))), _POINTER)
                    builder.call(prefetch, [later, *(ir.Constant(_INT, value) for value in (0, 3, 1))])
                for row in range(rows):
                    total = sums[row, column]
                    builder.store(builder.call(fma, [weights, xs[row], builder.load(total)]), total)
        rest = {}
        for row, column in pairs:
            own = load(at(begin, begin_row, row, number(column)), _FLOAT)
            own = builder.fadd(own, _added_up(builder, builder.load(sums[row, column])))
            rest[row, column] = cgutils.alloca_once_value(builder, own)
        with cgutils.for_range(builder, width, start=builder.mul(whole, number(TILE))) as step:
            for row, column in pairs:
                parts = [load(at(w, w_row, column, step.index), _FLOAT), load(at(x, x_row, row, step.index), _FLOAT)]
                builder.store(builder.call(one_fma, [*parts, builder.load(rest[row, column])]), rest[row, column])
        for row, column in pairs:
            place = builder.add(builder.add(out, builder.mul(out_row, number(row))), number(4 * column))
            builder.store(builder.load(rest[row, column]), builder.inttoptr(place, _POINTER), align=4)
        return context.get_dummy_value()

    @_intrinsic
    def block(typingctx, w, w_row, x, x_row, width, begin, begin_row, out, out_row):  # type: ignore[no-untyped-def]
        return types.void(*[types.int64] * 9), codegen

    return block


# Outputs that are made together, by how many rows there are.
BLOCK = 8
_OUTS1, _OUTS2, _OUTS_MANY = (BLOCK, BLOCK, BLOCK // 2) if _WIDE else (BLOCK // 2, BLOCK // 2, BLOCK // 4)
# Sums go over so many numbers before the next outputs' turn: weights and rows of that length stay in the nearest cache.
_SPAN = 1 << 30 if _WIDE else 512
# Rows that are multiplied together where there are many.
_MANY = 4 if _WIDE else 3
_AHEAD = 0 if _WIDE else BLOCK // 2
_block1, _block2 = _block_kernel(1, _OUTS1, _AHEAD), _block_kernel(2, _OUTS2, _AHEAD)
_block_many = _block_kernel(_MANY, _OUTS_MANY)
_last1, _last2, _last_many = (_block_kernel(rows, 1) for rows in (1, 2, _MANY))


def _mix_kernel(rows: int, vectors: int) -> Any:
    """`rows` rows of shares times 16 `vectors` columns of a matrix [k, columns], as instructions.

    (shares, bytes of a row of shares, matrix, bytes of a row of the matrix, k, out, bytes of a row of out).
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shares, share_row, matrix, matrix_row, count, out, out_row = args
        fma = _known(builder, "llvm.fma.v16f32", _FLOATS, [_FLOATS] * 3)

        def number(value: int) -> Any:
            return ir.Constant(_LONG, value)

        def load(address: Any, kind: Any) -> Any:
            return builder.load(builder.inttoptr(address, _POINTER), align=4, typ=kind)

        pairs = [(row, vector) for row in range(rows) for vector in range(vectors)]
        sums = {pair: cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * TILE)) for pair in pairs}
        with cgutils.for_range(builder, count) as step:
            line = builder.add(matrix, builder.mul(step.index, matrix_row))
            values = [load(builder.add(line, number(4 * TILE * vector)), _FLOATS) for vector in range(vectors)]
            for row in range(rows):
                place = builder.add(builder.mul(share_row, number(row)), builder.mul(step.index, number(4)))
                share = _spread(builder, load(builder.add(shares, place), _FLOAT), _FLOATS)
                for vector in range(vectors):
                    total = sums[row, vector]
                    builder.store(builder.call(fma, [share, values[vector], builder.load(total)]), total)
        for row, vector in pairs:
            place = builder.add(builder.add(out, builder.mul(out_row, number(row))), number(4 * TILE * vector))
            builder.store(builder.load(sums[row, vector]), builder.inttoptr(place, _POINTER), align=4)
        return context.get_dummy_value()

    @_intrinsic
    def mix(typingctx, shares, share_row, matrix, matrix_row, count, out, out_row):  # type: ignore[no-untyped-def]
        return types.void(*[types.int64] * 7), codegen

    return mix


_mix1, _mix4, _mix1_wide = _mix_kernel(1, 1), _mix_kernel(4, 1), _mix_kernel(1, 4)
_MIX4_VECTORS = 4 if _WIDE else 1
_mix4_wide = _mix_kernel(4, _MIX4_VECTORS)


_pointer_type: Callable[[Any], Any] = types.CPointer


def _pointer_to(kind: Any) -> Any:
    """An address as a pointer that can be indexed."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    @_intrinsic
    def pointer(typingctx, address):  # type: ignore[no-untyped-def]
        return _pointer_type(kind)(types.int64), codegen

    return pointer


_floats, _ints, _bytes = _pointer_to(types.float32), _pointer_to(types.int32), _pointer_to(types.int8)
_longs = _pointer_to(types.int64)


@_intrinsic
def _bits_as_float(typingctx, bits):  # type: ignore[no-untyped-def]
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(args[0], _FLOAT)


@_intrinsic
def _seen(typingctx, address):  # type: ignore[no-untyped-def]
    """What another thread has written there last."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(args[0], _LONG.as_pointer()), ordering="seq_cst", align=8)

    return types.int64(types.int64), codegen


@_intrinsic
def _publish(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Write for other threads; what was written before is there for them, too."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], builder.inttoptr(args[0], _LONG.as_pointer()), ordering="seq_cst", align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@_intrinsic
def _counted(typingctx, address):  # type: ignore[no-untyped-def]
    """Add one, whoever else does."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw(
            "add", builder.inttoptr(args[0], _LONG.as_pointer()), ir.Constant(_LONG, 1), "seq_cst"
        )

    return types.int64(types.int64), codegen


@_intrinsic
def _taken(typingctx, address, old, new):  # type: ignore[no-untyped-def]
    """Replace `old` by `new`; False if it was no longer there."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _LONG.as_pointer())
        return builder.extract_value(builder.cmpxchg(place, args[1], args[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@_intrinsic
def _pause(typingctx):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.call(_known(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return context.get_dummy_value()

    return types.void(), codegen


# Sums here may be taken in another order than written, by vectors; the order depends on their length alone.
_summing = jit(fastmath={"reassoc", "nsz"})


@jit(inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x to two units in the last place, 0 below -87; made of operations that go by vectors."""
    held = min(max(x, np.float32(-87.0)), np.float32(88.0))
    scaled = held * np.float32(1.44269504)
    power = np.int32(scaled + (np.float32(0.5) if scaled >= 0 else np.float32(-0.5)))
    whole = np.float32(power)
    r = held - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = (p * r) * r + r + np.float32(1.0)
    value = p * _bits_as_float(np.int32((power + np.int32(127)) << np.int32(23)))
    return np.float32(0.0) if x <= np.float32(-87.0) else value


@_summing
def _largest(x, first, count):  # type: ignore[no-untyped-def]
    """The largest size of a number; NaN where one is not finite."""
    most, nothing = np.float32(0.0), np.float32(0.0)
    for index in range(first, first + count):
        most = max(most, abs(x[index]))
        nothing += x[index] * np.float32(0.0)
    return most + nothing


@jit()
def _quantise(x, rows, groups, size, out, scales, corrections):  # type: ignore[no-untyped-def]
    for place in range(rows * groups):
        first = place * size
        most = _largest(x, first, size)
        inverse = np.float32(127.0) / most if most > np.float32(0.0) else np.float32(0.0)
        total = np.int32(0)
        for index in range(first, first + size):
            value = x[index] * inverse
            rounded = np.int32(value + (np.float32(0.5) if value >= np.float32(0.0) else np.float32(-0.5)))
            out[index] = np.int8(rounded)
            total += rounded
        scales[place] = most / np.float32(127.0)
        corrections[place] = np.int32(128) * total


@jit()
def _tile_of(tile, rows, groups, quads, tiles, w, x, scales, corrections, w_scales, biases, out):  # type: ignore[no-untyped-def]
    width, outs = 4 * groups * quads, TILE * tiles
    weights, own_scales, own_biases = w + tile * TILE * width, w_scales + 64 * tile, biases + 64 * tile
    row, ahead = 0, _PREFETCH_BYTES
    while row < rows:
        a, b, c = x + row * width, scales + 4 * row * groups, corrections + 4 * row * groups
        place = out + 4 * (row * outs + TILE * tile)
        if _MOST_ROWS >= 8 and rows - row >= 8:
            _tile8(weights, a, b, c, groups, quads, own_scales, own_biases, place, outs, ahead)
            row += 8
        elif _MOST_ROWS >= 4 and rows - row >= 4:
            _tile4(weights, a, b, c, groups, quads, own_scales, own_biases, place, outs, ahead)
            row += 4
        elif rows - row >= 2:
            _tile2(weights, a, b, c, groups, quads, own_scales, own_biases, place, outs, ahead)
            row += 2
        else:
            _tile1(weights, a, b, c, groups, quads, own_scales, own_biases, place, outs, ahead)
            row += 1
        # The weights of these outputs are near by now: ask for the next ones'.
        ahead = TILE * width


@_summing
def _sum(x, first, count):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for index in range(first, first + count):
        total += x[index]
    return total


@_summing
def _squares_from(x, first, count, middle):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for index in range(first, first + count):
        total += (x[index] - middle) * (x[index] - middle)
    return total


# A row of a program's table: code, whether all threads take part, then pairs of (base, byte offset) of the result and
# up to three operands, then numbers. Bases are addresses; base 0 is address 0, for what never moves.
NUMBERS, COLUMNS = 10, 32
COPY, RELU, SILU, ADD, MULTIPLY, ROTATE, LAYER_NORM, RMS_NORM, UNIT_NORM, SOFTMAX, LINEAR_INT8, LINEAR, MATMUL = range(
    13
)


@jit()
def _each(row, code, op, out, a, b, c):  # type: ignore[no-untyped-def]
    """One line (the last dimension) of an operation that goes number by number, at five-dimensional place `row`."""
    rest, to, from_a, from_b = row, 0, 0, 0
    for axis in (3, 2, 1, 0):
        size = op[NUMBERS + axis]
        place = rest % size
        rest //= size
        to += place * op[NUMBERS + 5 + axis]
        from_a += place * op[NUMBERS + 9 + axis]
        from_b += place * op[NUMBERS + 14 + axis]
    count, step_a, step_b = op[NUMBERS + 4], op[NUMBERS + 13], op[NUMBERS + 18]
    x, y, z = _floats(a + 4 * from_a), _floats(b + 4 * from_b), _floats(out + 4 * to)
    if code == COPY:
        if step_a == 1:
            for index in range(count):
                z[index] = x[index]
        else:
            for index in range(count):
                z[index] = x[index * step_a]
    elif code == RELU:
        for index in range(count):
            z[index] = max(x[index * step_a], np.float32(0.0))
    elif code == SILU:
        if step_a == 1:
            for index in range(count):
                z[index] = x[index] / (np.float32(1.0) + _exp(-x[index]))
        else:
            for index in range(count):
                value = x[index * step_a]
                z[index] = value / (np.float32(1.0) + _exp(-value))
    elif code == ADD:
        if step_a == 1 and step_b == 1:
            for index in range(count):
                z[index] = x[index] + y[index]
        else:
            for index in range(count):
                z[index] = x[index * step_a] + y[index * step_b]
    elif code == MULTIPLY:
        if step_a == 1 and step_b == 1:
            for index in range(count):
                z[index] = x[index] * y[index]
        else:
            for index in range(count):
                z[index] = x[index * step_a] * y[index * step_b]
    else:
        sines = _floats(c + 4 * from_b)
        for index in range(count):
            first, second = x[index], x[index + count]
            z[index] = first * y[index] - second * sines[index]
            z[index + count] = first * sines[index] + second * y[index]


@jit()
def _row(row, code, op, out, a, b):  # type: ignore[no-untyped-def]
    """One row of a norm or a softmax."""
    width = op[NUMBERS + 1]
    x, z = _floats(a + 4 * row * width), _floats(out + 4 * row * width)
    eps, size = _bits_as_float(np.int32(op[NUMBERS + 2])), np.float32(width)
    if code == LAYER_NORM:
        mean = _sum(x, 0, width) / size
        scale = np.float32(1.0) / np.sqrt(_squares_from(x, 0, width, mean) / size + eps)
        for index in range(width):
            z[index] = (x[index] - mean) * scale
    elif code == RMS_NORM:
        gain = _floats(b)
        scale = np.float32(1.0) / np.sqrt(_squares_from(x, 0, width, np.float32(0.0)) / size + eps)
        for index in range(width):
            z[index] = x[index] * scale * gain[index]
    elif code == UNIT_NORM:
        square = max(_squares_from(x, 0, width, np.float32(0.0)), eps)
        scale = np.float32(1.0) / np.sqrt(square)
        for index in range(width):
            z[index] = x[index] * scale
    else:
        most = x[0]
        for index in range(1, width):
            most = max(most, x[index])
        for index in range(width):
            z[index] = _exp(x[index] - most)
        scale = np.float32(1.0) / _sum(z, 0, width)
        for index in range(width):
            z[index] = z[index] * scale


@jit()
def _dense(rows, outs, width, w, w_row, x, x_row, bias, out, out_row):  # type: ignore[no-untyped-def]
    """Up to eight outputs of all rows; strides in bytes."""
    for start in range(0, max(width, 1), _SPAN):
        size = min(_SPAN, width - start)
        begin, begin_row = (out, out_row) if start else (bias, 0)
        _dense_span(rows, outs, size, w + 4 * start, w_row, x + 4 * start, x_row, begin, begin_row, out, out_row)


@jit()
def _dense_span(rows, outs, width, w, w_row, x, x_row, begin, begin_row, out, out_row):  # type: ignore[no-untyped-def]
    row = 0
    while row < rows:
        given, place, first, left = x + row * x_row, out + row * out_row, begin + row * begin_row, rows - row
        taken = _MANY if left >= _MANY else min(left, 2)
        step = 1
        if outs == BLOCK:
            step = _OUTS_MANY if taken > 2 else (_OUTS2 if taken == 2 else _OUTS1)
        for column in range(0, outs, step):
            own, offset, spot = w + column * w_row, first + 4 * column, place + 4 * column
            if outs == BLOCK:
                if taken > 2:
                    _block_many(own, w_row, given, x_row, width, offset, begin_row, spot, out_row)
                elif taken == 2:
                    _block2(own, w_row, given, x_row, width, offset, begin_row, spot, out_row)
                else:
                    _block1(own, w_row, given, x_row, width, offset, begin_row, spot, out_row)
            elif taken > 2:
                _last_many(own, w_row, given, x_row, width, offset, begin_row, spot, out_row)
            elif taken == 2:
                _last2(own, w_row, given, x_row, width, offset, begin_row, spot, out_row)
            else:
                _last1(own, w_row, given, x_row, width, offset, begin_row, spot, out_row)
        row += taken


@jit()
def _linear_block(block, op, out, a):  # type: ignore[no-untyped-def]
    """Eight outputs, or what is left, of all rows of a float product."""
    rows, width, outs = op[NUMBERS], op[NUMBERS + 1], op[NUMBERS + 2]
    first = block * BLOCK
    w, bias = op[NUMBERS + 3] + 4 * first * width, op[NUMBERS + 4] + 4 * first
    _dense(rows, min(BLOCK, outs - first), width, w, 4 * width, a, 4 * width, bias, out + 4 * first, 4 * outs)


@jit()
def _mixed(rows, columns, count, shares, share_row, matrix, matrix_row, out):  # type: ignore[no-untyped-def]
    """Rows of shares times a matrix [count, columns]; strides in bytes."""
    row = 0
    while row < rows:
        many = rows - row >= 4
        given, place, column = shares + row * share_row, out + 4 * row * columns, 0
        step = (_MIX4_VECTORS if many else 4) * TILE
        while columns - column >= step:
            if many:
                _mix4_wide(given, share_row, matrix + 4 * column, matrix_row, count, place + 4 * column, 4 * columns)
            else:
                _mix1_wide(given, share_row, matrix + 4 * column, matrix_row, count, place + 4 * column, 4 * columns)
            column += step
        while columns - column >= TILE:
            if many:
                _mix4(given, share_row, matrix + 4 * column, matrix_row, count, place + 4 * column, 4 * columns)
            else:
                _mix1(given, share_row, matrix + 4 * column, matrix_row, count, place + 4 * column, 4 * columns)
            column += TILE
        for line in range(4 if many else 1):
            x, y, z = _floats(given + line * share_row), _floats(matrix), _floats(place + 4 * line * columns)
            for rest in range(column, columns):
                total = np.float32(0.0)
                for inner in range(count):
                    total += x[inner] * y[inner * (matrix_row // 4) + rest]
                z[rest] = total
        row += 4 if many else 1


@jit()
def _matmul_one(place, op, out, a, b):  # type: ignore[no-untyped-def]
    """One matrix of a batch."""
    rest, from_a, from_b = place, 0, 0
    for axis in (2, 1, 0):
        size = op[NUMBERS + axis]
        spot = rest % size
        rest //= size
        from_a += spot * op[NUMBERS + 6 + axis]
        if axis == op[NUMBERS + 15]:
            b = _longs(b)[spot]
        else:
            from_b += spot * op[NUMBERS + 10 + axis]
    n, m, k = op[NUMBERS + 3], op[NUMBERS + 4], op[NUMBERS + 5]
    row_a, row_b, nothing = 4 * op[NUMBERS + 9], 4 * op[NUMBERS + 13], op[NUMBERS + 16]
    a, b, out = a + 4 * from_a, b + 4 * from_b, out + 4 * place * n * m
    if op[NUMBERS + 14]:
        for first in range(0, m, BLOCK):
            outs = min(BLOCK, m - first)
            _dense(n, outs, k, b + first * row_b, row_b, a, row_a, nothing, out + 4 * first, 4 * m)
    else:
        _mixed(n, m, k, a, row_a, b, row_b, out)


# What threads share while they carry out a program, in 64-bit numbers: the ticket (number of the operation, how many
# chunks it has, the next one), chunks that are done, and the operation.
_TICKET, _DONE, _OPERATION, SYNC_NUMBERS = 0, 8, 16, 24
_CHUNK_BITS = 16
_MOST_CHUNKS = 16


@jit()
def _items(operation, first, last):  # type: ignore[no-untyped-def]
    """Some of an operation's items: tiles, lines, rows or matrices."""
    given = _longs(operation)
    op, out, a, b, c = _longs(given[0]), given[1], given[2], given[3], given[4]
    code = op[0]
    if code == LINEAR_INT8:
        rows, groups, quads, tiles = op[NUMBERS], op[NUMBERS + 1], op[NUMBERS + 2], op[NUMBERS + 3]
        w, w_scales, biases = op[NUMBERS + 4], op[NUMBERS + 5], op[NUMBERS + 6]
        scales = b + op[NUMBERS + 7]
        corrections = scales + 4 * rows * groups
        for item in range(first, last):
            _tile_of(item, rows, groups, quads, tiles, w, b, scales, corrections, w_scales, biases, out)
    elif code <= ROTATE:
        for item in range(first, last):
            _each(item, code, op, out, a, b, c)
    elif code <= SOFTMAX:
        for item in range(first, last):
            _row(item, code, op, out, a, b)
    elif code == LINEAR:
        for item in range(first, last):
            _linear_block(item, op, out, a)
    else:
        for item in range(first, last):
            _matmul_one(item, op, out, a, b)


@jit()
def _chunk(sync):  # type: ignore[no-untyped-def]
    """Take a chunk of the operation at hand and do it; False when none is left."""
    ticket = _seen(sync + 8 * _TICKET)
    number, chunks = ticket & ((1 << _CHUNK_BITS) - 1), (ticket >> _CHUNK_BITS) & ((1 << _CHUNK_BITS) - 1)
    if number >= chunks:
        return False
    # The ticket names its operation: one that was taken belongs to what is written there, until it is done.
    if _taken(sync + 8 * _TICKET, ticket, ticket + 1):
        operation = sync + 8 * _OPERATION
        count = _longs(operation)[5]
        _items(operation, number * count // chunks, (number + 1) * count // chunks)
        _counted(sync + 8 * _DONE)
    return True


@jit("void(i8, i8)")
def help_out(sync, patience):  # type: ignore[no-untyped-def]
    """Do chunks of what `run` carries out in another thread, until there was nothing to do `patience` times."""
    waited = 0
    while waited < patience:
        if _chunk(sync):
            waited = 0
        else:
            waited += 1
            _pause()


@jit("void(i8, i8, i8, i8, i8)")
def run(table, count, bases, sync, shared):  # type: ignore[no-untyped-def]
    """Carry out a program's operations one after the other; all are addresses but `count` and whether others help.

    Nobody waits for a thread that has not begun: one that the system has put aside delays at most the chunk it is at.
    """
    places, operation = _longs(bases), sync + 8 * _OPERATION
    given = _longs(operation)
    epoch = _seen(sync + 8 * _TICKET) >> (2 * _CHUNK_BITS)
    for number in range(count):
        address = table + 8 * COLUMNS * number
        op = _longs(address)
        a, b = places[op[4]] + op[5], places[op[6]] + op[7]
        given[0], given[1], given[2], given[3] = address, places[op[2]] + op[3], a, b
        given[4] = places[op[8]] + op[9]
        code = op[0]
        if code == LINEAR_INT8:
            rows, groups, quads = op[NUMBERS], op[NUMBERS + 1], op[NUMBERS + 2]
            scales = b + op[NUMBERS + 7]
            corrections = _ints(scales + 4 * rows * groups)
            _quantise(_floats(a), rows, groups, 4 * quads, _bytes(b), _floats(scales), corrections)
            items = op[NUMBERS + 3]
        elif code <= ROTATE:
            items = op[NUMBERS] * op[NUMBERS + 1] * op[NUMBERS + 2] * op[NUMBERS + 3]
        elif code <= SOFTMAX:
            items = op[NUMBERS]
        elif code == LINEAR:
            items = (op[NUMBERS + 2] + BLOCK - 1) // BLOCK
        else:
            items = op[NUMBERS] * op[NUMBERS + 1] * op[NUMBERS + 2]
        if shared and op[1] and items > 1:
            chunks = min(items, _MOST_CHUNKS)
            given[5] = items
            _publish(sync + 8 * _DONE, 0)
            epoch += 1
            _publish(sync + 8 * _TICKET, (epoch << (2 * _CHUNK_BITS)) | (chunks << _CHUNK_BITS))
            while _chunk(sync):
                pass
            while _seen(sync + 8 * _DONE) < chunks:
                _pause()
        else:
            _items(operation, 0, items)
