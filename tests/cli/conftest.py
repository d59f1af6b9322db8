"""What the command line's tests share: a way to run it, and small motion files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from kinestream.checkpoints import TextToMotionModel, save_text_to_motion
from kinestream.cli import main
from kinestream.conditioning.text import MINILM_NAME
from kinestream.features import MOTION272, Statistics
from kinestream.io import write_motion
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig
from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec
from kinestream.skeleton import smpl22


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_command(*argv: str | Path) -> Ended:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run_command


@pytest.fixture(scope="session")
def swaying() -> Motion:
    """Half a second of a body that sways and lifts its arms, standing on the floor."""
    frames = 15
    phase = torch.linspace(0.0, 3.0, frames)
    rotvec = torch.zeros(frames, 22, 3)
    rotvec[:, 0, 1] = 0.2 * torch.sin(phase)
    rotvec[:, smpl22().index("left_shoulder"), 2] = -0.5 - 0.3 * torch.sin(phase)
    rotvec[:, smpl22().index("right_shoulder"), 2] = 0.5 + 0.3 * torch.sin(phase)
    root = torch.zeros(frames, 3)
    root[:, 1] = 0.95
    return Motion(smpl22(), quat_from_rotvec(rotvec), root, 30.0, name="swaying")


@pytest.fixture
def clip_bvh(swaying: Motion, tmp_path: Path) -> Path:
    """`swaying` as a BVH file."""
    path = tmp_path / "clip.bvh"
    write_motion(swaying, path)
    return path


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random text-to-motion model on the packaged sentence encoder; no prompt ends by itself."""
    torch.manual_seed(3)
    tae = CausalTAE(CausalTAEConfig(hidden_dim=8, latent_dim=4, depth=2))
    ar = ARDiffusion(
        ARDiffusionConfig(
            latent_dim=4,
            text_dim=384,
            hidden_dim=16,
            num_layers=2,
            num_heads=2,
            context_latents=12,
            head_width=16,
            head_layers=2,
            diffusion_steps=4,
        )
    )
    with torch.no_grad():
        ar.latent_std.fill_(0.01)
    still = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    mean = torch.zeros(MOTION272.width)
    mean[MOTION272.slices["positions"]] = torch.rand(66)
    mean[MOTION272.slices["heading_change_rot6d"]] = still
    mean[MOTION272.slices["rotations_rot6d"]] = still.repeat(22)
    model = TextToMotionModel(
        tae=tae,
        ar=ar,
        statistics=Statistics(mean, torch.full((MOTION272.width,), 0.1)),
        end_latent=torch.full((4,), 100.0),
        stop_threshold=0.0,
        text_encoder=MINILM_NAME,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_text_to_motion(folder, model)
    return folder
