"""Copies of modules with other weights, or none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from kinestream.inference.graph import array
from kinestream.inference.paged import PagedMemory

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def twin_of(module: AnyModule, weight: Callable[[nn.Module, Tensor], Tensor | None]) -> AnyModule:
    """A twin of the module, and of all inside, with the same buffers; its weights are what `weight` makes of them.

    weight: from a module and one of its own parameters to the twin's; None for none.
    """
    twin = copy.copy(module)
    made = {name: own if own is None else weight(module, own) for name, own in module._parameters.items()}
    twin._parameters = {name: nn.Parameter(own, False) for name, own in made.items() if own is not None}
    # What is missing by design, like the bias of a layer without one, stays known.
    twin._parameters |= {name: None for name, own in module._parameters.items() if own is None}
    twin._modules = {name: None if child is None else twin_of(child, weight) for name, child in module._modules.items()}
    return twin


def hollow(module: AnyModule) -> AnyModule:
    """A twin that has none of the weights."""
    return twin_of(module, lambda owner, own: None)


def paged(module: AnyModule) -> AnyModule:
    """A twin whose weights lie in paged memory."""
    memory = PagedMemory()
    twin = twin_of(module, lambda owner, own: torch.from_numpy(memory.store(array(own))))
    memory.release()
    return twin
