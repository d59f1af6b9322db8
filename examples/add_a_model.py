"""A network of your own in the training loop: it predicts the next frame, and dances on from a recording's beginning.

The loop brings resuming, averaged weights, logs and many processes; a recipe brings data, a loss and a look at the
result. Needs the extra train.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import kinestream
from kinestream import Motion
from kinestream.features import MOTION272, Statistics, motion272_from_motion, motion_from_motion272
from kinestream.training.config import LoopConfig
from kinestream.training.loop import Batch, run


class NextFrame(nn.Module):
    """Features of the frames so far [B, T, 272] to those of the frames after them, as a change."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.memory = nn.GRU(MOTION272.width, width, batch_first=True)
        self.change = nn.Linear(width, MOTION272.width)

    def forward(self, frames: Tensor) -> Tensor:
        """The frames that follow, [B, T, 272]."""
        return frames + self.change(self.memory(frames)[0])


class NextFrameTask:
    """The recipe: windows of one recording."""

    def __init__(self, recording: Motion) -> None:
        torch.manual_seed(0)
        features = motion272_from_motion(recording)
        self.model, self.statistics = NextFrame(), Statistics.of([features], MOTION272)
        self.features = self.statistics.normalize(features)

    def batch(self, rows: int, rng: np.random.Generator) -> Batch:
        """Windows of 16 frames and the frame after each."""
        firsts = rng.integers(0, len(self.features) - 17, rows)
        return {"frames": torch.stack([self.features[first : first + 17] for first in firsts])}

    def losses(self, batch: Batch, generator: torch.Generator, progress: float) -> dict[str, Tensor]:
        """Squared error of the prediction; "total" carries the gradient."""
        predicted = self.model(batch["frames"][:, :-1])
        return {"total": (predicted - batch["frames"][:, 1:]).square().mean()}

    @torch.no_grad()
    def validate(self, step: int, folder: Path) -> Mapping[str, float]:
        """The same over the whole recording (a real recipe takes held-out ones)."""
        error = self.model(self.features[None, :-1])[0] - self.features[1:]
        return {"val/error": float(error.square().mean())}

    def export(self, folder: Path, step: int) -> None:
        """Weights as safetensors: nothing that could run."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.model.state_dict(), folder / "next_frame.safetensors")


def main(folder: Path) -> list[Motion]:
    """Train for 40 steps and go on from the first half second; gives the recording and what was made."""
    recording = kinestream.generate("walks forward", seconds=3, seed=4)
    task = NextFrameTask(recording)
    loop = LoopConfig(
        steps=40, batch_size=8, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9, precision="fp32",
        log_every=20, save_every=40, validate_every=40,
    )  # fmt: skip
    run(task, loop, folder / "run", resume=False, info={"model": "next-frame"})

    model = NextFrame()
    model.load_state_dict(load_file(folder / "run" / "model" / "next_frame.safetensors"))
    frames = task.features[:15]
    with torch.no_grad():
        while len(frames) < 60:
            frames = torch.cat((frames, model(frames[None])[0, -1:]))
    made = motion_from_motion272(task.statistics.denormalize(frames))
    kinestream.write_motion(made, folder / "made.bvh")
    print(f"error {task.validate(40, folder)['val/error']:.3f} in units of the features' deviation")
    return [recording.slice(0, 60), made]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
