"""A change of a network is one edit: the trained module, every runtime and the device follow it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.inference import CompiledNetworks, DeviceNetworks, ModuleNetworks, Networks
from kinestream.inference.graph import Runtime
from kinestream.models.ar_diffusion import head, transformer
from kinestream.models.ar_diffusion.head import draw_sampling_noise
from kinestream.nn import motion_convs
from kinestream.nn.motion_convs import ResidualBlock, Timeline
from kinestream.nn.operations import Layer, Operations, Value
from tests.inference.conftest import small_model
from tests.support.devices import prepared


def relu_head(ops: Operations, x: Value) -> Value:
    return ops.relu(x)


def relu_gate(ops: Operations, x: Value, gate: Layer, up: Layer, down: Layer) -> Value:
    return ops.linear(ops.multiply(ops.relu(ops.linear(x, [gate])), ops.linear(x, [up])), [down])


def silu_block(block: ResidualBlock, time: Timeline, x: Value) -> Value:
    ops = time.operations
    inner = ops.silu(time.convolve(block.dilated, ops.silu(x)))
    return ops.add(x, time.convolve(block.pointwise, inner))


EDITS: dict[str, tuple[object, str, Callable[..., Value]]] = {
    "head": (head, "activated", relu_head),
    "transformer": (transformer, "swiglu", relu_gate),
    "decoder": (motion_convs.ResidualBlock, "describe", silu_block),
}


@torch.no_grad()
def values(networks: Networks) -> dict[str, Tensor]:
    """What each network gives: the second condition of a context, a latent, the frames of two latents."""
    random = torch.Generator().manual_seed(0)
    text, history, latents = (torch.randn(shape, generator=random) for shape in ((2, 12), (2, 3, 4), (2, 1, 4)))
    _, state = networks.prefill(text, history)
    condition, _ = networks.step(latents, state)
    if isinstance(networks, DeviceNetworks):
        condition = networks.conditions(condition)
    given = torch.randn(2, 32, generator=random)
    noise = draw_sampling_noise(1, 8, 4, random)
    latent = networks.sample(given[:1], given[1:], torch.tensor([2.0]), noise, 8)
    frames, decoder = networks.decode(latents[:1], MODEL.tae.decoder.init_state(1))
    return {"transformer": condition, "head": latent, "decoder": networks.decode(latents[1:], decoder)[0] + frames}


MODEL: TextToMotionModel = small_model()


def all_agree(others: list[Networks]) -> dict[str, Tensor]:
    expected = values(ModuleNetworks(MODEL))
    for networks in others:
        for name, value in values(networks).items():
            assert float((value - expected[name]).abs().max()) <= 1e-4 * float(expected[name].abs().max()), name
    return expected


# Captured on the processor means traced, which takes seconds: once is enough.
@pytest.mark.parametrize(("edited", "place"), [*((edited, "cpu") for edited in EDITS), ("head", "captured")])
def test_all_runtimes_follow_one_edit(
    edited: str, place: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def others() -> list[Networks]:
        return [CompiledNetworks(MODEL, "exact", runtime), DeviceNetworks(MODEL, "exact")]

    assert prepared(place, monkeypatch) == "cpu"
    before = all_agree(others())
    monkeypatch.setattr(*EDITS[edited])
    after = all_agree(others())
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == (name != edited), name
