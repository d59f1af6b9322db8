"""Every streaming module of nn and models keeps the streaming contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig
from kinestream.nn.causal_conv import CausalConv1d
from tests.contracts import streaming as contract
from tests.contracts.streaming import StreamingCase

TAE = CausalTAEConfig(feature_dim=6, hidden_dim=8, latent_dim=4, depth=2)
AR = ARDiffusionConfig(
    latent_dim=4, text_dim=6, hidden_dim=16, num_layers=2, num_heads=2, context_latents=12, head_width=16,
    head_layers=2, diffusion_steps=5,
)  # fmt: skip


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolution_case(stride: int, dilation: int) -> StreamingCase:
    torch.manual_seed(0)
    conv = CausalConv1d(3, 5, 4 if stride == 2 else 3, stride=stride, dilation=dilation)

    def step(chunk: Tensor, state: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
        out, state = conv.step(chunk.transpose(1, 2), state, active)
        return out.transpose(1, 2), state

    return StreamingCase(
        name=f"convolution stride {stride} dilation {dilation}",
        init_state=conv.init_state,
        step=step,
        inputs=lambda batch, seed: draw(batch, 12, 3, seed=seed),
        chunk=2,
        whole=lambda x: conv(x.transpose(1, 2)).transpose(1, 2),
    )


def encoder_case() -> StreamingCase:
    torch.manual_seed(0)
    encoder = CausalTAE(TAE).encoder

    def step(chunk: Tensor, state: Any, active: Tensor | None) -> tuple[Tensor, Any]:
        posterior, state = encoder.step(chunk, state, active)
        return torch.cat(posterior, dim=-1), state

    return StreamingCase(
        name="encoder",
        init_state=encoder.init_state,
        step=step,
        inputs=lambda batch, seed: draw(batch, 48, 6, seed=seed),
        chunk=4,
        whole=lambda x: torch.cat(encoder(x), dim=-1),
    )


def decoder_case() -> StreamingCase:
    torch.manual_seed(0)
    decoder = CausalTAE(TAE).decoder
    return StreamingCase(
        name="decoder",
        init_state=decoder.init_state,
        step=decoder.step,
        inputs=lambda batch, seed: draw(batch, 12, 4, seed=seed),
        chunk=1,
        whole=decoder,
    )


def transformer_case() -> StreamingCase:
    """The transformer after its text: one text for all rows, so that a state doesn't depend on the row."""
    torch.manual_seed(0)
    model = ARDiffusion(AR)
    text = draw(1, 6, seed=9)

    def init_state(batch: int) -> Any:
        return model.prefill(text.expand(batch, -1), None, model.init_state(batch))[1]

    def step(chunk: Tensor, state: Any, active: Tensor | None) -> tuple[Tensor, Any]:
        condition, state = model.step(chunk, state, active)
        return condition[:, None], state

    return StreamingCase(
        name="transformer",
        init_state=init_state,
        step=step,
        inputs=lambda batch, seed: draw(batch, 10, 4, seed=seed),
        chunk=1,
        whole=lambda x: model.conditions(text.expand(len(x), -1), x)[:, 1:],
    )


CASES = [
    convolution_case(1, 1),
    convolution_case(1, 3),
    convolution_case(2, 1),
    encoder_case(),
    decoder_case(),
    transformer_case(),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_chunks_equal_the_whole(case: StreamingCase) -> None:
    contract.check_chunks_equal_the_whole(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_gradient_from_the_future(case: StreamingCase) -> None:
    contract.check_no_gradient_from_the_future(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inactive_rows_are_unchanged(case: StreamingCase) -> None:
    contract.check_inactive_rows_are_unchanged(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_row_can_be_reset_alone(case: StreamingCase) -> None:
    contract.check_one_row_can_be_reset_alone(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_state_survives_save_and_restore(case: StreamingCase) -> None:
    contract.check_state_survives_save_and_restore(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_batch_equals_singles(case: StreamingCase) -> None:
    contract.check_batch_equals_singles(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_leaves_the_old_state_as_it_was(case: StreamingCase) -> None:
    contract.check_a_step_leaves_the_old_state_as_it_was(case)
