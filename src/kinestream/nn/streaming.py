"""The streaming protocol: a whole-sequence form, a step form, and explicit state that is passed in and out.

A state is a tree of tensors: a tensor, a (named) tuple of states, or None. Dimension 0 of every tensor is the batch
row, so rows can be frozen, reset, taken out and put together without knowing the module they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from kinestream.errors import BadInputError

State = TypeVar("State")


class Streaming(Protocol[State]):
    """What every streaming module offers beside its whole-sequence form."""

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Give the state before the first step."""
        ...

    def step(self, chunk: Tensor, state: State, active: Tensor | None = None) -> tuple[Any, State]:
        """Consume one chunk; rows where `active` is False keep their state and give zeros."""
        ...


def map_state(function: Callable[..., Tensor], *states: State) -> State:
    """Apply a function to the corresponding tensors of states of equal structure."""
    first: Any = states[0]
    if first is None:
        return cast(State, None)
    if isinstance(first, Tensor):
        return cast(State, function(*states))
    parts = [map_state(function, *children) for children in zip(*cast(Any, states), strict=True)]
    return cast(State, type(first)(*parts) if hasattr(first, "_fields") else tuple(parts))


def select_rows(active: Tensor | None, new: State, old: State) -> State:
    """Take the rows where `active` [B] is True from `new` and the others from `old`; None means all rows are active."""
    if active is None:
        return new

    def select(new_tensor: Tensor, old_tensor: Tensor) -> Tensor:
        rows = active.to(new_tensor.device).view(-1, *[1] * (new_tensor.dim() - 1))
        return torch.where(rows, new_tensor, old_tensor)

    return map_state(select, new, old)


def zero_inactive(active: Tensor | None, output: State) -> State:
    """Give zeros in the rows that did not move, so that nobody takes stale values for a result."""
    if active is None:
        return output
    return select_rows(active, output, map_state(torch.zeros_like, output))


def reset_rows(state: State, fresh: State, rows: Tensor) -> State:
    """Set the rows where `rows` [B] is True back to `fresh` (an `init_state` of equal batch size)."""
    return select_rows(rows, fresh, state)


def take_rows(state: State, rows: Sequence[int] | Tensor) -> State:
    """Give a state that holds only these batch rows, in this order."""
    index = torch.as_tensor(rows, dtype=torch.long)
    return map_state(lambda tensor: tensor.index_select(0, index.to(tensor.device)), state)


def join_rows(states: Sequence[State]) -> State:
    """Put states of equal structure together along the batch: the inverse of `take_rows`."""
    if not states:
        raise BadInputError("join_rows needs at least one state, got none.")
    return map_state(lambda *tensors: torch.cat(tensors, dim=0), *states)


def _walk(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif state is not None:
        names = getattr(state, "_fields", range(len(state)))
        for part, child in zip(names, state, strict=True):
            yield from _walk(child, f"{name}.{part}" if name else str(part))


def state_to_tensors(state: State) -> dict[str, Tensor]:
    """Flatten a state to named tensors that can be saved, for example with safetensors."""
    return {name or "state": tensor.detach().clone() for name, tensor in _walk(state, "")}


def state_from_tensors(template: State, tensors: Mapping[str, Tensor]) -> State:
    """Rebuild a state saved by `state_to_tensors`.

    `template` is an `init_state` of the same module and batch size. Raises BadInputError where names or shapes differ.
    """
    names = {name or "state": tensor for name, tensor in _walk(template, "")}
    if set(names) != set(tensors):
        wrong = sorted(set(names) ^ set(tensors))
        raise BadInputError(f"The saved state doesn't belong to this model: {', '.join(wrong[:4])} don't match.")
    for name, expected in names.items():
        got = tensors[name]
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise BadInputError(
                f"The saved state doesn't belong to this model: {name} should be {tuple(expected.shape)} "
                f"{expected.dtype}, got {tuple(got.shape)} {got.dtype}."
            )
    saved = iter([tensors[name].to(expected.device) for name, expected in names.items()])
    return map_state(lambda _: next(saved).clone(), template)
