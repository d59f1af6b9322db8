"""Our kernels give numpy's numbers, the same bits in any company, on any number of threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.inference.graph import Array, Graph, Node, Program, quantised
from kinestream.inference.runtimes import has_kernels
from kinestream.nn.operations import Affine

if not has_kernels():
    pytest.skip("our kernels don't run on this processor", allow_module_level=True)

from kinestream.inference.cpu import threads as kernel_threads
from kinestream.inference.cpu.runtime import KernelRuntime


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def program(build: Callable[[Graph, list[Node]], Node], inputs: int, threads: int = 1) -> Program:
    graph = KernelRuntime(threads).graph("float32")
    nodes = [graph.input(-1) for _ in range(inputs)]
    return graph.compile(build(graph, nodes))


def int8_product(width: int, outs: int, threads: int = 1) -> tuple[Program, tuple[Array, Array]]:
    weight, bias = random(outs, width), random(outs, seed=1)
    layer = Affine(torch.from_numpy(weight), torch.from_numpy(bias))
    graph = KernelRuntime(threads).graph("int8")
    return graph.compile(graph.linear(graph.input(-1, width), [layer])), (weight, bias)


def rounded(x: Array, width: int) -> tuple[Array, Array]:
    """Rows as whole numbers and the scale of each group, as the runtime rounds them."""
    group = max(size for size in range(16, 257, 16) if width % size == 0)
    parts = x.reshape(len(x), -1, group)
    most = np.abs(parts).max(axis=-1, keepdims=True)
    # Half of a unit goes away from zero.
    scaled = parts * (np.float32(127.0) / most)
    return np.trunc(scaled + np.copysign(np.float32(0.5), scaled)), most / np.float32(127.0)


@pytest.mark.parametrize(("width", "outs"), [(256, 256), (1040, 64), (384, 272), (64, 1024)])
def test_int8_products_are_those_of_rounded_rows(width: int, outs: int) -> None:
    product, (weight, bias) = int8_product(width, outs)
    x = random(5, width, seed=2)
    (got,) = product(x)
    whole, scales = rounded(x, width)
    weights, weight_scales = quantised([weight])
    by_group = np.einsum("rgk,ogk->rgo", whole, weights.reshape(outs, whole.shape[1], -1).astype(np.float64))
    expected = (by_group * scales).sum(axis=1) * weight_scales[:, 0] + bias
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
    exact = x @ weight.T + bias
    assert np.linalg.norm(got - exact) < 0.02 * np.linalg.norm(exact)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 23), threads=st.integers(1, 3), seed=st.integers(0, 9))
def test_a_rows_bits_do_not_depend_on_its_company_or_on_threads(rows: int, threads: int, seed: int) -> None:
    product, _ = _LARGE[threads]
    x = random(rows, 512, seed=seed)
    (together,) = product(x)
    for row in range(rows):
        np.testing.assert_array_equal(product(x[row : row + 1])[0][0], together[row])
    np.testing.assert_array_equal(_LARGE[1][0](x)[0], together)


_LARGE = {threads: int8_product(512, 2048, threads) for threads in (1, 2, 3)}


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def _softmax(x: Array) -> Array:
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def _halves_turned(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


GAIN = random(24, seed=5)
SHAPE = (2, 3, 5, 24)
_GAIN = torch.from_numpy(GAIN)
LAYERS = [Affine(_GAIN[:8].reshape(2, 4)), Affine(_GAIN[8:20].reshape(3, 4), _GAIN[:3])]
CASES: dict[str, tuple[Callable[[Graph, list[Node]], Node], Callable[..., Array], list[tuple[int, ...]]]] = {
    "add": (lambda g, n: g.add(*n), np.add, [SHAPE, (5, 24)]),
    "add spreads both": (lambda g, n: g.add(*n), np.add, [(2, 3, 5, 1), (1, 5, 24)]),
    "multiply": (lambda g, n: g.multiply(*n), np.multiply, [SHAPE, (3, 1, 1)]),
    "multiply by a constant": (lambda g, n: g.multiply(n[0], g.constant(3.5)), lambda x: 3.5 * x, [SHAPE]),
    "relu": (lambda g, n: g.relu(n[0]), lambda x: np.maximum(x, 0), [SHAPE]),
    "silu": (lambda g, n: g.silu(n[0]), _silu, [SHAPE]),
    "silu of a transposed": (
        lambda g, n: g.silu(g.transpose(n[0], 3, 1, 0, 2)),
        lambda x: _silu(x.transpose(3, 1, 0, 2)),
        [SHAPE],
    ),
    "softmax": (lambda g, n: g.softmax(n[0]), _softmax, [SHAPE]),
    "softmax of a part": (lambda g, n: g.softmax(g.slice(n[0], 3, 2, 9)), lambda x: _softmax(x[..., 2:9]), [SHAPE]),
    "layer norm with gain and bias": (
        lambda g, n: g.layer_norm(n[0], 1e-5, _GAIN, _GAIN),
        lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * GAIN + GAIN,
        [SHAPE],
    ),
    "layer norm": (
        lambda g, n: g.layer_norm(n[0], 1e-5),
        lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5),
        [SHAPE],
    ),
    "rms norm": (
        lambda g, n: g.rms_norm(n[0], _GAIN, 1e-5),
        lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * GAIN,
        [SHAPE],
    ),
    "unit norm": (
        lambda g, n: g.unit_norm(n[0]),
        lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
        [SHAPE],
    ),
    "rotate": (lambda g, n: g.rotate(n[0], (n[1], n[2])), _halves_turned, [SHAPE, (1, 5, 12), (1, 5, 12)]),
    "matmul": (lambda g, n: g.matmul(*n), np.matmul, [(2, 3, 5, 7), (2, 3, 7, 4)]),
    "matmul transposed": (
        lambda g, n: g.matmul(n[0], n[1], transpose_b=True),
        lambda a, b: a @ np.swapaxes(b, -1, -2),
        [(2, 3, 5, 7), (2, 3, 4, 7)],
    ),
    "matmul of views": (
        lambda g, n: g.matmul(g.transpose(n[0], 0, 2, 1, 3), g.transpose(n[1], 0, 2, 1, 3), transpose_b=True),
        lambda a, b: a.transpose(0, 2, 1, 3) @ b.transpose(0, 2, 3, 1),
        [(2, 5, 3, 8), (2, 6, 3, 8)],
    ),
    "linear": (
        lambda g, n: g.linear(n[0], LAYERS),
        lambda x: np.concatenate([x @ GAIN[:8].reshape(2, 4).T, x @ GAIN[8:20].reshape(3, 4).T + GAIN[:3]], axis=-1),
        [(3, 2, 4)],
    ),
    "concatenate": (
        lambda g, n: g.concatenate(n, 1),
        lambda *parts: np.concatenate(parts, axis=1),
        [(2, 3, 4), (2, 1, 4), (2, 5, 4)],
    ),
    "concatenate along the last": (
        lambda g, n: g.concatenate(n, -1),
        lambda *parts: np.concatenate(parts, axis=-1),
        [(2, 3, 4), (2, 3, 1)],
    ),
    "reshape of a transposed": (
        lambda g, n: g.reshape(g.transpose(n[0], 0, 2, 1, 3), 0, 0, -1),
        lambda x: x.transpose(0, 2, 1, 3).reshape(2, 5, 72),
        [SHAPE],
    ),
    "split": (lambda g, n: g.add(*g.split(n[0], [12, 12], 3)), lambda x: x[..., :12] + x[..., 12:], [SHAPE]),
    "slice from the end": (lambda g, n: g.slice(n[0], 2, -2, None), lambda x: x[:, :, -2:], [SHAPE]),
    "divide": (
        lambda g, n: g.concatenate(list(reversed(g.divide(n[0], 1, n[1], 0))), 1),
        lambda x, y: np.concatenate([x[:, 3:], x[:, :3]], axis=1),
        [(2, 5, 4), (3, 1)],
    ),
    "long lines": (lambda g, n: g.add(*n), np.add, [(3, 9_000), (9_000,)]),
    "one number": (lambda g, n: g.silu(n[0]), _silu, [(1, 1)]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_operations_give_numpys_numbers(case: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small as they are, they are shared among threads.
    monkeypatch.setattr("kinestream.inference.cpu.plan._SHARED_VALUES", 2)
    monkeypatch.setattr("kinestream.inference.cpu.plan._SHARED_PRODUCTS", 2)
    build, expected, shapes = CASES[case]
    inputs = [random(*shape, seed=number) for number, shape in enumerate(shapes)]
    compiled = program(build, len(shapes), threads)
    for _ in range(2):
        (got,) = compiled(*inputs)
        wanted = expected(*inputs)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)
        inputs = [part + 1 for part in inputs]


def test_exponentials_are_right_everywhere() -> None:
    x = np.linspace(-100, 80, 20_001, dtype=np.float32)[:, None].repeat(2, axis=1)
    x[:, 1] = 0
    (got,) = program(lambda g, n: g.softmax(n[0]), 1)(x)
    # Less than e^-87 is nothing at all.
    np.testing.assert_allclose(got, _softmax(x.astype(np.float64)), rtol=1e-6, atol=2e-38)
    hidden = np.array([[0.0, -1e30]], np.float32)
    np.testing.assert_array_equal(program(lambda g, n: g.softmax(n[0]), 1)(hidden)[0], [[1.0, 0.0]])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(broken: float) -> None:
    x = random(3, 512)
    x[1, 200] = broken
    (got,) = _LARGE[1][0](x)
    assert not np.isfinite(got[1]).any()
    assert np.isfinite(got[[0, 2]]).all()
    for case in ("silu", "softmax", "layer norm", "rms norm"):
        build, _, shapes = CASES[case]
        given_ = random(*shapes[0])
        given_[0, 0, 0, 3] = np.nan
        assert np.isnan(program(build, 1)(given_)[0][0, 0, 0, 3])


def test_what_is_over_makes_room() -> None:
    graph = KernelRuntime(1).graph("float32")
    x = graph.input(-1)
    for _ in range(50):
        x = graph.silu(graph.reshape(graph.transpose(x, 1, 0), -1, 64))
    compiled = graph.compile(x)
    compiled(random(64, 64))
    assert next(iter(compiled._plans.values())).room <= 4 * 64 * 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("programs", [1, 3])
def test_programs_run_by_many_threads_at_once_give_the_same(programs: int) -> None:
    compiled = [int8_product(512, 2048, 2)[0] for _ in range(programs)]
    inputs = [random(4, 512, seed=number) for number in range(3)]
    expected = [compiled[0](x)[0] for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        run, x = compiled[number % programs], inputs[number]
        wrong.extend(number for _ in range(60) if not np.array_equal(run(x)[0], expected[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_helpers_sleep_wake_and_do_their_share() -> None:
    product, _ = _LARGE[2]
    x = random(40, 512)
    (expected,) = _LARGE[1][0](x)
    (helper,) = kernel_threads.helpers(1)._helpers
    for _ in range(3):
        np.testing.assert_array_equal(product(x)[0], expected)
        deadline = time.monotonic() + 20
        while not helper.asleep and time.monotonic() < deadline:
            time.sleep(0.005)
        assert helper.asleep


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not place threads")
def test_with_one_processor_nobody_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_threads, "_other_processors", set)
    product, _ = int8_product(512, 2048, 4)
    np.testing.assert_array_equal(product(random(4, 512))[0], _LARGE[1][0](random(4, 512))[0])
    assert all(helper.asleep for helper in kernel_threads.helpers(3)._helpers)


@pytest.mark.parametrize("transposed", [True, False])
def test_rows_of_a_matrix_product_may_lie_in_several_arrays(transposed: bool) -> None:
    compiled = program(lambda g, n: g.matmul(n[0], n[1], transpose_b=transposed), 2)
    left, right = random(6, 2, 3, 8), random(6, 2, 8, 8, seed=1)
    (expected,) = compiled(left, right)
    parts = [right[:1].copy(), np.stack([right[1:3]] * 2, axis=1)[:, 0], right[3:].copy()]
    np.testing.assert_array_equal(compiled(left, parts)[0], expected)
    # A part with strides of its own is put beside the others first.
    parts[1] = right[1:3].transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
    np.testing.assert_array_equal(compiled(left, parts)[0], expected)
    np.testing.assert_array_equal(compiled(left, [right])[0], expected)


def test_plans_of_many_sizes_are_bounded() -> None:
    compiled = program(lambda g, n: g.silu(n[0]), 1)
    for rows in range(1, 200):
        compiled(random(rows, 2))
    assert len(compiled._plans) <= 128  # type: ignore[attr-defined]
