"""What the command line's tests share: a way to run it, and small motion files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from kinestream.cli import main
from kinestream.io import write_motion
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
