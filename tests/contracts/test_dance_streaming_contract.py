"""The streaming modules of music to motion keep the streaming contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from kinestream.models.choreo_llama.backbone import LlamaBackbone
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.models.rvq_vae import RVQVAE, RVQVAEConfig
from kinestream.nn.mamba import MambaBlock
from kinestream.nn.motion_convs import ConvEncoder
from tests.contracts import streaming as contract
from tests.contracts.streaming import StreamingCase

TOKENS = RVQVAEConfig(feature_dim=6, hidden_dim=8, code_dim=4, num_codes=8, depth=2, velocity_columns=(1, 3))
LLAMA = ChoreoLlamaConfig(
    hidden_dim=16, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=4, mlp_dim=24, window_steps=4,
    window_music_frames=6, window_reference_frames=12,
)  # fmt: skip


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def case(name: str, module: Any, inputs: tuple[int, int], chunk: int) -> StreamingCase:
    step, whole = (module.run_step, module.run) if isinstance(module, ConvEncoder) else (module.step, module)
    length, width = inputs
    module.requires_grad_(False)
    return StreamingCase(
        name=name,
        init_state=module.init_state,
        step=step,
        inputs=lambda batch, seed: draw(batch, length, width, seed=seed),
        chunk=chunk,
        whole=whole,
    )


def build() -> list[StreamingCase]:
    torch.manual_seed(0)
    tokenizer = RVQVAE(TOKENS).eval()
    return [
        case("token encoder", tokenizer.encoder.net, (48, 6), 4),
        case("token decoder", tokenizer.decoder, (12, 4), 1),
        case("mamba", MambaBlock(6, state_dim=4), (12, 6), 2),
        case("llama", LlamaBackbone(LLAMA).eval(), (12, 16), 2),
    ]


CHECKS = [
    contract.check_chunks_equal_the_whole,
    contract.check_no_gradient_from_the_future,
    contract.check_inactive_rows_are_unchanged,
    contract.check_one_row_can_be_reset_alone,
    contract.check_state_survives_save_and_restore,
    contract.check_batch_equals_singles,
    contract.check_a_step_leaves_the_old_state_as_it_was,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("tested", build(), ids=lambda tested: tested.name)
def test_dance_module_keeps_the_contract(tested: StreamingCase, check: Callable[[StreamingCase], None]) -> None:
    check(tested)


def test_codes_of_chunks_are_the_codes_of_the_whole() -> None:
    torch.manual_seed(0)
    tokenizer = RVQVAE(TOKENS).eval()
    tokenizer.quantizer.codebooks.normal_(std=0.1)
    motion = draw(2, 48, 6, seed=1)
    state, codes = tokenizer.encoder.init_state(2), []
    for chunk in motion.split(8, dim=1):
        out, state = tokenizer.encoder.step(chunk, state)
        codes.append(out)
    whole = tokenizer.encode(motion)
    assert torch.equal(torch.cat(codes, dim=1), whole)
    assert len(whole.unique()) > 3
    out, _ = tokenizer.encoder.step(motion[:, :4], state, torch.tensor([True, False]))
    assert not out[1].any()
