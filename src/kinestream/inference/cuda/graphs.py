"""What keeps the processor from waiting for a device: captured graphs, and copies that run beside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

_WARM_UP = 3


class Replayed:
    """A function of tensors of fixed shapes; on a CUDA device it is captured once for each size and then replayed.

    The function must do the same when it is run twice. Where it can't be captured it is run as it is, which is said
    once. It may write to tensors of its own; when these are replaced, the caller gives another `memory`, and what was
    captured is forgotten.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device, *, captured: bool = True) -> None:
        self._function = function
        self._captured = captured and captures(device)
        self._memory: Hashable = None
        self._graphs: dict[int, CapturedGraph] = {}

    def __call__(self, size: int, memory: Hashable, *inputs: Tensor) -> Tensor:
        """The function's value; inputs of one size have the same shapes."""
        if not self._captured:
            return self._function(*inputs)
        if memory != self._memory:
            self._graphs.clear()
            self._memory = memory
        if size not in self._graphs:
            try:
                self._graphs[size] = CapturedGraph(self._function, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._captured = False
                self._graphs.clear()
                reason = str(error).splitlines()[0]
                warnings.warn(
                    f"Steps can't be captured on this device ({reason}); they run one operation after the other, which "
                    "is slower.",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return self._function(*inputs)
        return self._graphs[size](inputs)


class CapturedGraph:
    """One captured run. Its input and output lie where they lay when it was captured."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self._inputs = [values.clone() for values in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(inputs[0].device):
            current, side = torch.cuda.current_stream(), torch.cuda.Stream()
            # Libraries set themselves up in the first runs, which can't be captured.
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    function(*self._inputs)
            current.wait_stream(side)
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._output = function(*self._inputs)

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        # The next replay writes over it.
        return self._output.clone()


def captures(device: torch.device) -> bool:
    """Whether runs on a device can be captured."""
    return device.type == "cuda"


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; the processor does not wait for the copy."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def to_host(values: Tensor) -> Tensor:
    """The tensor in main memory; the processor waits for it."""
    if values.device.type != "cuda":
        return values.cpu()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return host
