"""The Mamba block: causal, streaming, and equal to a scan written out."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch.nn import functional

from kinestream.nn import mamba
from kinestream.nn.mamba import MambaBlock


def by_hand(block: MambaBlock, x: torch.Tensor) -> torch.Tensor:
    """The recurrence of algorithm 2, one channel, one state and one time step after the other."""
    inner, gate = block.in_proj(x).chunk(2, dim=-1)
    kernel = block.conv1d.weight[:, 0]
    out = torch.zeros_like(inner)
    for row in range(len(x)):
        hidden = torch.zeros(block.inner_dim, block.state_dim)
        for t in range(x.shape[1]):
            u = block.conv1d.bias.clone()
            for tap in range(4):
                if t - 3 + tap >= 0:
                    u = u + kernel[:, tap] * inner[row, t - 3 + tap]
            u = functional.silu(u)
            step, b, c = block.x_proj(u).split((block.rank, block.state_dim, block.state_dim))
            size = functional.softplus(block.dt_proj(step))
            hidden = torch.exp(size[:, None] * -torch.exp(block.A_log)) * hidden + (size * u)[:, None] * b
            out[row, t] = hidden @ c + block.D * u
    return block.out_proj(out * functional.silu(gate))


@torch.no_grad()
def test_block_equals_the_recurrence() -> None:
    block = MambaBlock(6, state_dim=4)
    x = torch.randn(2, 9, 6)
    torch.testing.assert_close(block(x), by_hand(block, x))


def test_gradients_reach_every_parameter() -> None:
    block = MambaBlock(6, state_dim=4)
    block(torch.randn(2, 9, 6)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())


def test_the_compiled_scan_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    package.selective_scan_fn = lambda *tensors, **settings: "compiled"  # type: ignore[attr-defined]
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    mamba._compiled_scan.cache_clear()
    try:
        scan = mamba._compiled_scan()
        assert scan is not None
        assert scan() == "compiled"
        assert torch.isfinite(MambaBlock(6)(torch.randn(1, 3, 6))).all()  # a CPU tensor takes the loop
    finally:
        mamba._compiled_scan.cache_clear()


def test_steps_start_between_a_thousandth_and_a_tenth() -> None:
    steps = functional.softplus(MambaBlock(64).dt_proj.bias.detach())
    assert 0.9e-3 < float(steps.min()) < float(steps.max()) < 1.1e-1
