"""What the machine allows: how fast it reads memory and multiplies, and how long a latent has to take at least."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.engine.models import Size
from kinestream.errors import MissingExtraError
from kinestream.inference import load_runtime
from kinestream.models.ar_diffusion import ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig
from kinestream.nn.operations import Affine

READ_BYTES = 400_000_000
PRODUCT_WIDTH = 1536


@dataclass(frozen=True)
class Machine:
    """Measured rates: bytes read a second, and operations (two for each multiplication) a second."""

    threads: int
    bandwidth: float
    float32: float
    int8: float


@dataclass(frozen=True)
class Work:
    """What one latent of one stream takes: weights read, and products of a number with a weight."""

    weights: int
    products: int

    def seconds(self, machine: Machine, bytes_a_weight: int, rate: float) -> float:
        """The least time, where either memory or arithmetic is busy all the time."""
        return max(self.weights * bytes_a_weight / machine.bandwidth, 2 * self.products / rate)


def measured_machine(threads: int, clock: Callable[[], float] = time.perf_counter) -> Machine:
    """Take the best of several short runs each."""
    torch.set_num_threads(threads)
    numbers = torch.ones(READ_BYTES // 4)
    bandwidth = READ_BYTES / _best(numbers.sum, clock)
    matrix = torch.randn(PRODUCT_WIDTH, PRODUCT_WIDTH)
    operations = 2 * PRODUCT_WIDTH**3
    float32 = operations / _best(lambda: matrix @ matrix, clock)
    try:
        graph = load_runtime(threads).graph("int8")
    except MissingExtraError:
        return Machine(threads, bandwidth, float32, float32)
    weight = np.random.default_rng(0).standard_normal((PRODUCT_WIDTH, PRODUCT_WIDTH), np.float32)
    program = graph.compile(graph.linear(graph.input(-1, PRODUCT_WIDTH), [Affine(torch.from_numpy(weight))]))
    return Machine(threads, bandwidth, float32, operations / _best(lambda: program(weight), clock))


def _best(work: Callable[[], object], clock: Callable[[], float], repeats: int = 6) -> float:
    work()
    taken = []
    for _ in range(repeats):
        start = clock()
        work()
        taken.append(clock() - start)
    return min(taken)


def parts_of_a_latent(size: Size, steps: int) -> dict[str, Work]:
    """The work of each part with guidance (two rows), all modulations made at once, in the middle of a context."""
    ar = ARDiffusionConfig.default() if size == "default" else ARDiffusionConfig.paper()
    tae = CausalTAEConfig.default() if size == "default" else CausalTAEConfig.paper()
    width, blocks, rows = ar.head_width, ar.head_layers, 2
    modulations = (3 * blocks + 2) * width**2
    chain = 2 * blocks * width**2 + 2 * width * ar.latent_dim
    layers = ar.num_layers * (4 * ar.hidden_dim**2 + 3 * ar.hidden_dim * ar.mlp_dim) + ar.hidden_dim**2
    decoder = CausalTAE(tae).decoder
    decoding = sum(parameter.numel() for parameter in decoder.parameters())
    # After each doubling a convolution works on twice as many frames.
    stage = sum(parameter.numel() for parameter in decoder.stages[0].parameters())
    last = sum(p.numel() for layer in (decoder.before_output, decoder.output) for p in layer.parameters())
    doublings = len(decoder.stages)
    products = sum(stage * 2**number for number in range(doublings)) + last * 2**doublings
    return {
        "transformer": Work(layers, rows * layers),
        "modulations": Work(modulations, steps * rows * modulations),
        "sampling steps": Work(steps * chain, steps * rows * chain),
        "decoder": Work(decoding, products),
    }


def floor_seconds(size: Size, steps: int, machine: Machine, *, int8: bool) -> dict[str, float]:
    """The least time of each part and of all."""
    parts = {
        name: work.seconds(machine, 1 if int8 else 4, machine.int8 if int8 else machine.float32)
        for name, work in parts_of_a_latent(size, steps).items()
    }
    return {**parts, "latent": sum(parts.values())}
