"""The contract of every streaming module: a tiny module with fixed seed goes in, six promises are checked.

A case says how to build the module, what a whole sequence and its chunks are, and how one step goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from kinestream.nn.streaming import reset_rows, state_from_tensors, state_to_tensors, take_rows

TOLERANCE = 2e-5
BATCH = 3


@dataclass(frozen=True)
class StreamingCase:
    """One streaming module under test.

    init_state(batch) -> state; step(chunk, state, active) -> (output [B, n, ...], state); inputs(batch, seed) -> [B, T,
    ...]; chunk: inputs a step; whole(inputs) -> output of all steps along dimension 1.
    """

    name: str
    init_state: Callable[[int], Any]
    step: Callable[[Tensor, Any, Tensor | None], tuple[Tensor, Any]]
    inputs: Callable[[int, int], Tensor]
    chunk: int
    whole: Callable[[Tensor], Tensor]

    def run(self, inputs: Tensor, state: Any) -> tuple[list[Tensor], Any]:
        outputs = []
        for chunk in inputs.split(self.chunk, dim=1):
            output, state = self.step(chunk, state, None)
            outputs.append(output)
        return outputs, state


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    if got.numel():
        error, size = (got - expected).detach().abs().max(), expected.detach().abs().max()
        assert float(error) <= TOLERANCE * max(1.0, float(size))


def states_equal(one: Any, other: Any) -> bool:
    left, right = state_to_tensors(one), state_to_tensors(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def check_chunks_equal_the_whole(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 1)
    outputs, _ = case.run(inputs, case.init_state(BATCH))
    assert_close(torch.cat(outputs, dim=1), case.whole(inputs))


def check_no_gradient_from_the_future(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 2).requires_grad_()
    steps = inputs.shape[1] // case.chunk
    streamed = torch.cat(case.run(inputs, case.init_state(BATCH))[0], dim=1)
    for output in (case.whole(inputs), streamed):
        middle = steps // 2
        now = output.chunk(steps, dim=1)[middle]
        (gradient,) = torch.autograd.grad(now.sum(), inputs, retain_graph=True)
        assert not gradient[:, (middle + 1) * case.chunk :].any()
        assert gradient[:, : (middle + 1) * case.chunk].any()


def check_inactive_rows_are_unchanged(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 3)
    first, rest = inputs.split([case.chunk, inputs.shape[1] - case.chunk], dim=1)
    _, state = case.step(first, case.init_state(BATCH), None)
    active = torch.tensor([True, False, True])
    chunk = rest[:, : case.chunk].clone()
    output, moved = case.step(chunk, state, active)
    assert states_equal(take_rows(moved, [1]), take_rows(state, [1]))
    assert not states_equal(take_rows(moved, [0]), take_rows(state, [0]))
    assert not output[1].any()
    everyone, all_moved = case.step(chunk, state, None)
    assert_close(output[[0, 2]], everyone[[0, 2]])
    for got, expected in zip(
        state_to_tensors(take_rows(moved, [0, 2])).values(),
        state_to_tensors(take_rows(all_moved, [0, 2])).values(),
        strict=True,
    ):
        assert_close(got.double(), expected.double())


def check_one_row_can_be_reset_alone(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 4)
    _, used = case.run(inputs, case.init_state(BATCH))
    fresh = case.init_state(BATCH)
    state = reset_rows(used, fresh, torch.tensor([False, True, False]))
    assert states_equal(take_rows(state, [1]), take_rows(fresh, [1]))
    assert states_equal(take_rows(state, [0, 2]), take_rows(used, [0, 2]))


def check_state_survives_save_and_restore(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 5)
    half = inputs.shape[1] // case.chunk // 2 * case.chunk
    _, state = case.run(inputs[:, :half], case.init_state(BATCH))
    file = save({name: tensor.contiguous() for name, tensor in state_to_tensors(state).items()})
    restored = state_from_tensors(case.init_state(BATCH), load(file))
    assert type(restored) is type(state)
    going_on, _ = case.run(inputs[:, half:], state)
    again, _ = case.run(inputs[:, half:], restored)
    assert all(torch.equal(a, b) for a, b in zip(going_on, again, strict=True))


def check_batch_equals_singles(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 6)
    together = torch.cat(case.run(inputs, case.init_state(BATCH))[0], dim=1)
    for row in range(BATCH):
        alone = torch.cat(case.run(inputs[row : row + 1], case.init_state(1))[0], dim=1)
        assert_close(together[row : row + 1], alone)


def check_a_step_leaves_the_old_state_as_it_was(case: StreamingCase) -> None:
    inputs = case.inputs(BATCH, 7)
    _, state = case.step(inputs[:, : case.chunk], case.init_state(BATCH), None)
    before = state_to_tensors(state)
    case.run(inputs[:, case.chunk :], state)
    after = state_to_tensors(state)
    assert all(torch.equal(before[name], after[name]) for name in before)
