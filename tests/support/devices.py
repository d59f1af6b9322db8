"""Where networks on a device are tested: as they are on the processor, captured there, and on a GPU where there is one.

On the processor a captured run is a traced one: the operations on the very tensors that were there when it was traced,
as a CUDA graph has them. Tracing fails where a number of a tensor is asked for: there a GPU would be waited for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from kinestream.checkpoints import TextToMotionModel
from kinestream.inference.cuda import graphs as device_graphs

PLACES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
# Tracing takes seconds, so only some tests are run captured on the processor.
CAPTURED = [*PLACES, "captured"]


class TracedGraph:
    """Stands in for a captured CUDA graph: inputs and output keep their places, nothing of Python is run again."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self._inputs = [values.clone() for values in inputs]
        function(*self._inputs)
        self._run = make_fx(lambda *tensors: function(*tensors))(*self._inputs)

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        out: Tensor = self._run(*self._inputs)
        return out


def prepared(place: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of torch's device; skips where it is not there."""
    if place == "captured":
        monkeypatch.setattr(device_graphs, "captures", lambda device: True)
        monkeypatch.setattr(device_graphs, "CapturedGraph", TracedGraph)
        return "cpu"
    if place == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; there is none here")
    return place


def on(model: TextToMotionModel, device: str) -> TextToMotionModel:
    """The model on a device; on the processor itself."""
    if device == "cpu":
        return model
    return replace(model, tae=copy.deepcopy(model.tae).to(device), ar=copy.deepcopy(model.ar).to(device))
