"""Causal one-dimensional convolution with an exact streaming form (MotionStreamer, section 3.2)."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError
from kinestream.nn.streaming import select_rows, zero_inactive


class CausalConv1d(nn.Conv1d):
    """Convolution that pads (k - 1) d + (1 - s) zeros on the left only, so no output sees a later input group.

    Tensors are channels first. With stride s the output i sees the inputs up to s i + s - 1: s inputs make one output.
    The state of the streaming form is the last (k - 1) d + 1 - s inputs, [B, C, padding]; zeros at the start.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1):
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation)
        self.left_padding = (kernel_size - 1) * dilation + 1 - stride
        if self.left_padding < 0:
            raise BadInputError(f"A causal convolution of kernel {kernel_size} can't have stride {stride}.")
        self.hop = stride

    def forward(self, x: Float[Tensor, "b c t"]) -> Float[Tensor, "b d u"]:
        """Convolve a whole sequence; gives T // stride outputs."""
        padded = functional.pad(x, (self.left_padding, 0)) if self.left_padding else x
        return functional.conv1d(padded, self.weight, self.bias, self.stride, 0, self.dilation)

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Float[Tensor, "b c p"]:
        """Give the zeros that stand before the first input."""
        return torch.zeros(
            batch_size,
            self.in_channels,
            self.left_padding,
            device=device if device is not None else self.weight.device,
            dtype=dtype if dtype is not None else self.weight.dtype,
        )

    def step(
        self, x: Float[Tensor, "b c n"], state: Float[Tensor, "b c p"], active: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Convolve the next n inputs (a multiple of the stride); gives n / stride outputs and the next state.

        A step is a few rows only, where one matrix product over gathered taps is much faster than a convolution call.
        """
        if x.shape[-1] % self.hop:
            raise BadInputError(f"A chunk must be a multiple of {self.hop} long, got {x.shape[-1]}.")
        window = torch.cat([state, x], dim=-1) if self.left_padding else x
        places = _tap_places(x.shape[-1], self.hop, self.kernel_size[0], self.dilation[0], x.device)
        rows = window[:, :, places].transpose(1, 2).flatten(2)
        out = functional.linear(rows, self.weight.flatten(1), self.bias).transpose(1, 2)
        last = window[:, :, window.shape[-1] - self.left_padding :]
        return zero_inactive(active, out), select_rows(active, last, state)


@lru_cache(maxsize=256)
def _tap_places(num_inputs: int, stride: int, kernel_size: int, dilation: int, device: torch.device) -> Tensor:
    """Give which places of state and inputs each output reads, [num_inputs / stride, kernel_size]."""
    with torch.inference_mode(False):  # made once, and used with gradients too
        starts = torch.arange(0, num_inputs, stride, device=device)
        return starts[:, None] + torch.arange(kernel_size, device=device) * dilation
