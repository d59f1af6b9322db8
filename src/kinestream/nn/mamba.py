"""A Mamba block in plain PyTorch: a selective state-space layer that runs on CPUs and GPUs, whole and streaming.

Equations of Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), algorithm 2. Where
the compiled `mamba_ssm` package is installed and the tensors are on its device, its scan is used instead of the loop.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kinestream.nn.streaming import select_rows, zero_inactive

_MIN_STEP, _MAX_STEP = 1e-3, 1e-1


class MambaState(NamedTuple):
    """Inputs the convolution still needs [B, D, kernel - 1], and the hidden state of the scan [B, D, S] in float32."""

    inputs: Tensor
    hidden: Tensor


class MambaBlock(nn.Module):
    """Gate(silu) * scan(silu(depthwise causal conv)): [B, T, dim] to [B, T, dim], each output sees the past only.

    dim: channels in and out. state_dim: numbers of hidden state per channel. Names of the parameters are those of the
    compiled package, so that its weights load.
    """

    def __init__(self, dim: int, *, state_dim: int = 16, kernel_size: int = 4, expand: int = 2) -> None:
        super().__init__()
        self.inner_dim, self.state_dim = expand * dim, state_dim
        self.rank = -(-dim // 16)
        self.in_proj = nn.Linear(dim, 2 * self.inner_dim, bias=False)
        self.conv1d = nn.Conv1d(self.inner_dim, self.inner_dim, kernel_size, groups=self.inner_dim)
        self.x_proj = nn.Linear(self.inner_dim, self.rank + 2 * state_dim, bias=False)
        self.dt_proj = nn.Linear(self.rank, self.inner_dim)
        self.A_log = nn.Parameter(torch.arange(1.0, state_dim + 1).log().repeat(self.inner_dim, 1))
        self.D = nn.Parameter(torch.ones(self.inner_dim))
        self.out_proj = nn.Linear(self.inner_dim, dim, bias=False)
        self._initialise_steps()

    @torch.no_grad()
    def _initialise_steps(self) -> None:
        """Step sizes after the softplus are spread evenly in the logarithm over [0.001, 0.1]."""
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        share = torch.rand(self.inner_dim)
        step = torch.exp(math.log(_MIN_STEP) + share * (math.log(_MAX_STEP) - math.log(_MIN_STEP)))
        self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> MambaState:
        """Give the state before the first input: zeros."""
        weight = self.conv1d.weight
        device = device if device is not None else weight.device
        history = weight.shape[-1] - 1
        return MambaState(
            torch.zeros(batch_size, self.inner_dim, history, device=device, dtype=dtype or weight.dtype),
            torch.zeros(batch_size, self.inner_dim, self.state_dim, device=device, dtype=torch.float32),
        )

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Run over whole sequences."""
        out, _ = self._run(x, None)
        return out

    def step(
        self, x: Float[Tensor, "b n d"], state: MambaState, active: Tensor | None = None
    ) -> tuple[Float[Tensor, "b n d"], MambaState]:
        """Run over the next inputs (one or more); gives their outputs and the next state."""
        out, new = self._run(x, state)
        return zero_inactive(active, out), select_rows(active, new, state)

    def _run(self, x: Tensor, state: MambaState | None) -> tuple[Tensor, MambaState]:
        inner, gate = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)
        history = self.conv1d.kernel_size[0] - 1
        before = inner.new_zeros(*inner.shape[:2], history) if state is None else state.inputs.to(inner.dtype)
        padded = torch.cat((before, inner), dim=-1)
        inner = functional.silu(self.conv1d(padded))
        rank, size = self.rank, self.state_dim
        step, to_state, from_state = self.x_proj(inner.transpose(1, 2)).split((rank, size, size), dim=-1)
        step = functional.linear(step, self.dt_proj.weight).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            scanned, hidden = self._scan(inner, step, to_state, from_state, None if state is None else state.hidden)
        out = self.out_proj((scanned.to(gate.dtype) * functional.silu(gate)).transpose(1, 2))
        kept = padded[..., padded.shape[-1] - history :]
        return out, MambaState(kept if state is None else kept.to(state.inputs.dtype), hidden)

    def _scan(
        self, inner: Tensor, step: Tensor, to_state: Tensor, from_state: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """inner, step [B, D, T]; to_state, from_state [B, T, S]; hidden [B, D, S]. Gives [B, D, T] and the last hidden
        state, in float32."""
        decay = -torch.exp(self.A_log.float())
        skip, bias = self.D.float(), self.dt_proj.bias.float()
        compiled = _compiled_scan() if hidden is None and inner.is_cuda else None
        if compiled is not None:
            scanned, last = compiled(
                inner, step, decay, to_state.transpose(1, 2).contiguous(), from_state.transpose(1, 2).contiguous(),
                skip, delta_bias=bias, delta_softplus=True, return_last_state=True,
            )  # fmt: skip
            return scanned, last
        inner, to_state, from_state = inner.float(), to_state.float(), from_state.float()
        sizes = functional.softplus(step.float() + bias[:, None]).transpose(1, 2)  # [B, T, D]
        steps_in = (sizes * inner.transpose(1, 2))[..., None] * to_state[:, :, None]  # [B, T, D, S]
        kept = torch.exp(sizes[..., None] * decay)
        if hidden is None:
            hidden = torch.zeros_like(steps_in[:, 0])
        states = []
        for share, new in zip(kept.unbind(1), steps_in.unbind(1), strict=True):
            hidden = torch.addcmul(new, share, hidden)
            states.append(hidden)
        read = torch.einsum("btds,bts->bdt", torch.stack(states, dim=1), from_state)
        return read + skip[:, None] * inner, hidden


@lru_cache(maxsize=1)
def _compiled_scan() -> Callable[..., Any] | None:
    """The compiled package's scan, or None where it isn't installed."""
    try:
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    except ImportError:
        return None
    scan: Callable[..., Any] = module.selective_scan_fn
    return scan
