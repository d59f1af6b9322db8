"""The convolutional encoder and decoder between motion frames and quarter-rate vectors, causal or symmetric.

MotionStreamer's Table 8, on which the Causal TAE and the tokenizer of dances are built. Causal nets stream exactly and
keep the streaming protocol; symmetric ones pad evenly on both sides, as the released InfiniteDance tokenizer does, and
only know whole sequences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinestream.errors import BadInputError
from kinestream.nn.causal_conv import CausalConv1d
from kinestream.nn.operations import EAGER, Operations, Value
from kinestream.nn.streaming import select_rows, zero_inactive


class Timeline(Protocol):
    """How a net goes over time: whole sequences, or a chunk and the states of its convolutions.

    What lies first, time or channels, is its own; `operations` work on what it gives.
    """

    @property
    def operations(self) -> Operations:
        """What lies between the convolutions is made of."""
        ...

    def convolve(self, conv: nn.Conv1d, x: Value) -> Value:
        """The next convolution; each is asked for once, in the network's order."""
        ...

    def repeat(self, x: Value) -> Value:
        """Each moment twice."""
        ...


@dataclass(frozen=True)
class ConvSizes:
    """Channels and depth of one net: `in_dim` to `hidden_dim` to `out_dim`, time halved or doubled some times.

    Each halving has one residual block per dilation, in this order. `causal`: no output sees a later input.
    """

    in_dim: int
    hidden_dim: int
    out_dim: int
    num_halvings: int
    dilations: tuple[int, ...]
    causal: bool

    @property
    def frames_per_vector(self) -> int:
        """Frames that one vector stands for."""
        return int(2**self.num_halvings)


class ConvStates(NamedTuple):
    """Inputs that the convolutions still need, one tensor [B, channels, padding] per convolution, in their order."""

    convs: tuple[Tensor, ...]


def _convolution(
    sizes: ConvSizes, in_dim: int, out_dim: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Conv1d:
    if sizes.causal:
        return CausalConv1d(in_dim, out_dim, kernel, stride=stride, dilation=dilation)
    padding = ((kernel - 1) * dilation + 1 - stride + 1) // 2
    return nn.Conv1d(in_dim, out_dim, kernel, stride=stride, dilation=dilation, padding=padding)


class _Whole:
    """Whole sequences, channels first."""

    operations: Operations = EAGER

    def convolve(self, conv: nn.Conv1d, x: Tensor) -> Tensor:
        return conv.forward(x)

    def repeat(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=-1)


class _Steps(_Whole):
    """A chunk; `new` becomes the states after it."""

    def __init__(self, state: ConvStates) -> None:
        self._old = iter(state.convs)
        self.new: list[Tensor] = []

    def convolve(self, conv: nn.Conv1d, x: Tensor) -> Tensor:
        assert isinstance(conv, CausalConv1d)
        out, state = conv.step(x, next(self._old))
        self.new.append(state)
        return out


class _Order(_Whole):
    """Finds out in which order a net asks for its convolutions."""

    def __init__(self) -> None:
        self.found: list[CausalConv1d] = []

    def convolve(self, conv: nn.Conv1d, x: Tensor) -> Tensor:
        assert isinstance(conv, CausalConv1d)
        self.found.append(conv)
        return x.new_empty(1, conv.out_channels, x.shape[-1] // conv.hop)


class ResidualBlock(nn.Module):
    """x + pointwise(relu(dilated(relu(x))))."""

    def __init__(self, sizes: ConvSizes, dilation: int) -> None:
        super().__init__()
        self.dilated = _convolution(sizes, sizes.hidden_dim, sizes.hidden_dim, 3, dilation=dilation)
        self.pointwise = _convolution(sizes, sizes.hidden_dim, sizes.hidden_dim, 1)

    def describe(self, time: Timeline, x: Value) -> Value:
        """The block, over any timeline."""
        ops = time.operations
        inner = ops.relu(time.convolve(self.dilated, ops.relu(x)))
        return ops.add(x, time.convolve(self.pointwise, inner))


class ResizeStage(nn.Module):
    """One halving (encoder) or doubling (decoder) of time with its residual blocks."""

    def __init__(self, sizes: ConvSizes, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.resize = _convolution(sizes, sizes.hidden_dim, sizes.hidden_dim, kernel_size, stride=stride)
        self.blocks = nn.ModuleList(ResidualBlock(sizes, dilation) for dilation in sizes.dilations)

    def describe_blocks(self, time: Timeline, x: Value) -> Value:
        """The residual blocks, over any timeline."""
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            x = block.describe(time, x)
        return x


class _ConvNet(nn.Module, ABC):
    """What encoder and decoder share: the two ways to run, and the state of all convolutions."""

    def __init__(self, sizes: ConvSizes, chunk: int) -> None:
        super().__init__()
        self.sizes, self._chunk = sizes, chunk

    @abstractmethod
    def describe(self, time: Timeline, x: Value) -> Value:
        """The network, over any timeline."""

    def run(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b u e"]:
        """Run over whole sequences."""
        out: Tensor = self.describe(_Whole(), x.transpose(1, 2)).transpose(1, 2)
        return out

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ConvStates:
        """Give the state before the first input: zeros, as the whole-sequence form pads. Causal nets only."""
        if not self.sizes.causal:
            raise BadInputError("This network looks into the future, so it can't stream; run it on whole sequences.")
        order = _Order()
        # The meta device would do, but costs a second: it imports torch's compiler.
        self.describe(order, torch.zeros(1, self.sizes.in_dim, self._chunk))
        return ConvStates(tuple(conv.init_state(batch_size, device=device, dtype=dtype) for conv in order.found))

    def run_step(
        self, x: Float[Tensor, "b n d"], state: ConvStates, active: Tensor | None = None
    ) -> tuple[Float[Tensor, "b m e"], ConvStates]:
        """Run over the next inputs; gives their outputs and the next state."""
        if not x.shape[1] or x.shape[1] % self._chunk:
            raise BadInputError(f"A step takes a multiple of {self._chunk} inputs, at least one, got {x.shape[1]}.")
        steps = _Steps(state)
        out: Tensor = self.describe(steps, x.transpose(1, 2)).transpose(1, 2)
        return zero_inactive(active, out), select_rows(active, ConvStates(tuple(steps.new)), state)


class ConvEncoder(_ConvNet):
    """Frames to vectors: conv, then (halve time, residual blocks) per halving, conv."""

    def __init__(self, sizes: ConvSizes) -> None:
        super().__init__(sizes, sizes.frames_per_vector)
        self.input = _convolution(sizes, sizes.in_dim, sizes.hidden_dim, 3)
        self.stages = nn.ModuleList(ResizeStage(sizes, kernel_size=4, stride=2) for _ in range(sizes.num_halvings))
        self.output = _convolution(sizes, sizes.hidden_dim, sizes.out_dim, 3)

    def describe(self, time: Timeline, x: Value) -> Value:
        """The encoder, over any timeline."""
        x = time.operations.relu(time.convolve(self.input, x))
        for stage in self.stages:
            assert isinstance(stage, ResizeStage)
            x = stage.describe_blocks(time, time.convolve(stage.resize, x))
        return time.convolve(self.output, x)


class ConvDecoder(_ConvNet):
    """Vectors to frames: conv, then (residual blocks, repeat each step, conv) per doubling, two convs."""

    def __init__(self, sizes: ConvSizes) -> None:
        super().__init__(sizes, 1)
        self.input = _convolution(sizes, sizes.in_dim, sizes.hidden_dim, 3)
        self.stages = nn.ModuleList(ResizeStage(sizes, kernel_size=3, stride=1) for _ in range(sizes.num_halvings))
        self.before_output = _convolution(sizes, sizes.hidden_dim, sizes.hidden_dim, 3)
        self.output = _convolution(sizes, sizes.hidden_dim, sizes.out_dim, 3)

    def describe(self, time: Timeline, x: Value) -> Value:
        """The decoder, over any timeline."""
        relu = time.operations.relu
        x = relu(time.convolve(self.input, x))
        for stage in self.stages:
            assert isinstance(stage, ResizeStage)
            x = time.convolve(stage.resize, time.repeat(stage.describe_blocks(time, x)))
        return time.convolve(self.output, relu(time.convolve(self.before_output, x)))
