"""A tiny model whose matrices are nevertheless large enough to be stored as int8."""

from __future__ import annotations

import pytest
import torch

from kinestream.checkpoints import TextToMotionModel
from kinestream.features import MOTION272, Statistics
from kinestream.inference.graph import Runtime
from kinestream.inference.runtimes import has_kernels
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig


def small_model(width: int = 32, *, normalize_qk: bool = True) -> TextToMotionModel:
    """Random weights; no layer leaves its input as it is."""
    torch.manual_seed(5)
    config = ARDiffusionConfig(
        latent_dim=4,
        text_dim=12,
        hidden_dim=width,
        num_layers=2,
        num_heads=2,
        context_latents=9,
        head_width=width,
        head_layers=2,
        diffusion_steps=8,
        text_scale=1.5,
        normalize_qk=normalize_qk,
    )
    ar = ARDiffusion(config).eval()
    with torch.no_grad():
        for parameter in ar.head.parameters():
            parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
        ar.empty_text.normal_()
        ar.latent_std.fill_(0.1)
    return TextToMotionModel(
        tae=CausalTAE(CausalTAEConfig(hidden_dim=width, latent_dim=4, depth=2)).eval(),
        ar=ar,
        statistics=Statistics(torch.zeros(MOTION272.width), torch.full((MOTION272.width,), 0.1)),
        end_latent=torch.zeros(4),
        stop_threshold=0.0,
        text_encoder="hash",
    )


@pytest.fixture(scope="module", params=["kernels", "openvino"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Each runtime that this machine can use, on one thread."""
    if request.param == "kernels":
        if not has_kernels():
            pytest.skip("our kernels don't run on this processor")
        from kinestream.inference.cpu.runtime import KernelRuntime

        return KernelRuntime(1)
    pytest.importorskip("openvino", reason="needs the extra fast")
    from kinestream.inference.openvino import OpenVINORuntime

    return OpenVINORuntime(1)


@pytest.fixture(scope="module")
def model() -> TextToMotionModel:
    """The model; nobody changes it."""
    return small_model()
