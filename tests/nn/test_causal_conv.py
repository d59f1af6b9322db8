"""Causal convolution: left padding as the paper gives it, and chunks of the right length only."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.nn.causal_conv import CausalConv1d


@pytest.mark.parametrize(("kernel", "stride", "dilation", "padding"), [(3, 1, 9, 18), (4, 2, 1, 2), (1, 1, 1, 0)])
def test_padding_is_the_papers(kernel: int, stride: int, dilation: int, padding: int) -> None:
    conv = CausalConv1d(2, 2, kernel, stride=stride, dilation=dilation)
    assert conv.left_padding == padding
    assert conv.init_state(3).shape == (3, 2, padding)
    assert conv(torch.randn(1, 2, 12)).shape[-1] == 12 // stride


def test_a_chunk_that_is_no_multiple_of_the_stride_is_refused() -> None:
    conv = CausalConv1d(2, 2, 4, stride=2)
    with pytest.raises(BadInputError, match="multiple of 2"):
        conv.step(torch.randn(1, 2, 3), conv.init_state(1))


def test_a_kernel_shorter_than_its_stride_is_refused() -> None:
    with pytest.raises(BadInputError):
        CausalConv1d(2, 2, 1, stride=3)


def test_places_made_without_gradients_serve_training() -> None:
    conv = CausalConv1d(2, 2, 3, dilation=5)
    with torch.inference_mode():
        conv.step(torch.randn(1, 2, 7), conv.init_state(1))
    x = torch.randn(1, 2, 7, requires_grad=True)
    conv.step(x, conv.init_state(1))[0].sum().backward()
    assert x.grad is not None
